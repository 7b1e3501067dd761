"""Tokens, people who sign in and out, and records."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from actors import messages as m
from tests.model.plans.asked import Asked
from tests.model.plans.choices import seldom
from tests.model.plans.retention import Retention
from tests.store.making import hash_of

PEOPLE = st.builds(
    m.Person,
    issuer=st.just("https://id.example"),
    subject=st.sampled_from(["ann", "bob"]),
    email=st.none(),
    name=st.sampled_from([None, "A name"]),
    groups=st.sampled_from([(), ("staff",)]),
    is_admin=st.booleans(),
)
WHICH = st.integers(0, 2)


class People(Retention):
    """State owned here: the sessions that were ever begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    def session(self, which: int) -> str:
        """One of the last, or one that never was."""
        return self.begun[-1 - which] if which < len(self.begun) else "none"

    @seldom
    @rule(
        person=st.none() | PEOPLE,
        token=st.sampled_from([1, 2, 3, 4]),
        replaces=st.none() | WHICH,
        hours=st.sampled_from([1, 48]),
    )
    def sign_in(self, person: m.Person | None, token: int, replaces: int | None, hours: int) -> None:
        """A token that has been deleted while somebody signs in with it opens nothing."""
        new = m.NewSession(hash_of(f"session {len(self.begun)}"), self.now + hours * 3_600_000)
        token_id = token if person is None else None
        former = self.session(replaces) if replaces is not None else None
        self.begun.append(new.hash)
        self.do(
            Asked(
                m.SignIn(new, person, token_id, former),
                lambda answer: self.world.sign_in(
                    new.hash, new.expires_at, person, token_id, former, getattr(answer, "user_id", 0), self.now
                ),
            )
        )

    @seldom
    @rule(person=PEOPLE, hours=st.sampled_from([1, 48]), rested=st.sampled_from([1, 3599, 3601, 86_400]))
    def sessions_end_by_themselves(self, person: m.Person, hours: int, rested: int) -> None:
        """One of a token and one of a person: not used for long, or at their end."""
        self.sign_in(None, 1, None, 48)
        self.sign_in(person, 1, None, hours)
        self.now += rested * 1000
        self.a_session(0, "touch", person)
        self.forget()

    @seldom
    @rule(which=WHICH, what=st.sampled_from(["renew", "touch", "end", "end all"]), person=PEOPLE)
    def a_session(self, which: int, what: str, person: m.Person) -> None:
        session = self.session(which)
        match what:
            case "renew":
                message = m.RenewSession(session, person)
                self.do(Asked(message, lambda _: self.world.renew_session(session, person, self.now)))
            case "touch":
                self.do(Asked(m.TouchSession(session), lambda _: self.world.touch_session(session, self.now)))
            case "end":
                self.do(Asked(m.EndSession(session), lambda _: self.world.end_session(session)))
            case _:
                self.do(Asked(m.EndSessions(which), lambda _: self.world.end_sessions(which)))

    @seldom
    @rule(what=st.sampled_from(["create", "ensure", "delete", "use"]), which=st.integers(1, 6))
    def tokens(self, what: str, which: int) -> None:
        match what:
            case "create":
                self.create_token(f"token {self.steps} at {self.now}", admin=False)
            case (
                "ensure"
            ):  # the server starts with one token and then with another; one that was there before, perhaps
                self.ensure("admin" if which == 1 else "of the start")
                self.ensure("of another start")
            case "delete":
                self.do(Asked(m.DeleteToken(which + 1), lambda _: self.world.delete_token(which + 1, self.now)))
            case _:
                uses = ((which, self.now), (which + 1, self.now - 1))
                self.do(Asked(m.TouchTokens(uses), lambda _: self.world.touch_tokens(uses)))

    def ensure(self, name: str) -> None:
        self.do(
            Asked(
                m.EnsureAdminToken(name, hash_of(name), "bf_"),
                lambda answer: self.world.ensure_admin_token(answer.token_id, name, hash_of(name)),
            )
        )

    @seldom
    @rule(what=st.sampled_from(["note", "drill", "bulk", "key"]), ok=st.booleans())
    def record(self, what: str, ok: bool) -> None:
        match what:
            case "note":
                self.do(Asked(m.Note(), lambda _: ("Done",)))
            case "key":
                key = m.AddSigningKey(f"key {self.steps}", b"sealed", known=0)
                self.do(Asked(key, lambda _: ("Done",)))
            case "drill":
                self.do(self.drill(ok))
            case _:
                done = m.BulkDone(self.steps, 1, 0, "a")
                self.do(Asked(m.RecordBulk(done), lambda _: ("BulkDone", done.matched, 1, 0, "a", None)))
