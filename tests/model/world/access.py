"""Credentials: tokens, people and their sessions; and what was done by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.model.world.state import State
from tests.model.world.things import DRILLS_KEPT, Audited, No, Person, Session, Token, Who, Worker


class Access(State):
    def may_act(self, worker_id: str, who: Who) -> Worker | No:
        worker = self.workers.get(worker_id)
        if worker is None:
            return No("no-such-worker")
        if not worker.enabled:
            return No("worker-disabled")
        mine = who.worker == worker_id if who.worker is not None else who.admin or who.token == worker.token
        if not mine:
            return No("not-yours")
        replaced = who.instance is not None and worker.instance not in (None, who.instance)
        return No("instance-replaced") if replaced else worker

    def revoked(self, who: Who) -> No | None:
        """What is said to a request whose credential is good no longer when it is its turn."""
        if who.token is not None:
            return None if who.token in self.tokens else No("unauthenticated")
        worker = self.workers.get(who.worker or "")
        if worker is None or worker.secret != who.secret:
            return No("unauthenticated")
        return None if worker.enabled else No("worker-disabled")

    # ------------------------------------------------------------------ tokens

    def create_token(self, token_id: int, name: str, hash_: str, admin: bool) -> Any:
        assert token_id not in self.tokens, "the id of a token was given again"
        self.tokens[token_id] = Token(name, hash_, admin)
        return ("TokenCreated", token_id, name, "")

    def ensure_admin_token(self, token_id: int, name: str, hash_: str) -> Any:
        """`token_id` is what was answered."""
        for stale in [each for each, token in self.tokens.items() if token.of_the_start and token.hash != hash_]:
            self.drop_token(stale)
        known = next((each for each, token in self.tokens.items() if token.hash == hash_), None)
        if known is None:
            self.create_token(token_id, name, hash_, True)
            known = token_id
        self.tokens[known].admin = self.tokens[known].of_the_start = True
        return ("TokenCreated", known, self.tokens[known].name, "")

    def drop_token(self, token_id: int) -> None:
        """Who signed in with it is signed out."""
        del self.tokens[token_id]
        for hash_ in [hash_ for hash_, session in self.sessions.items() if session.token == token_id]:
            del self.sessions[hash_]

    def touch_tokens(self, uses: Sequence[tuple[int, int]]) -> Any:
        for token_id, at in uses:
            if token_id in self.tokens:
                self.tokens[token_id].used_at = at
        return ("Done",)

    # ------------------------------------------------------------------ people

    def sign_in(
        self, hash_: str, expires_at: int, person: Any, token_id: int | None, replaces: str | None, user_id: int,
        now: int,
    ) -> Any:  # fmt: skip
        """`user_id` is what was answered, for who was never here."""
        if token_id is not None and token_id not in self.tokens:
            return No("unauthenticated")
        known = None
        if person is not None:
            known = self.met(person, user_id, now)
            known.last_login_at = now
        self.sessions.pop(replaces or "", None)
        self.sessions[hash_] = Session(known.id if known else None, token_id, now, now, expires_at)
        return ("SignedIn", known.id if known else None, token_id)

    def met(self, person: Any, user_id: int, now: int) -> Person:
        who = (person.issuer, person.subject)
        known = self.people.get(who)
        if known is None:
            assert all(each.id != user_id for each in self.people.values())
            known = self.people[who] = Person(user_id, None, (), False, now)
        known.name, known.groups, known.admin = person.name, person.groups, person.is_admin
        return known

    def renew_session(self, hash_: str, person: Any, now: int) -> Any:
        session = self.sessions.get(hash_)
        if session is None:
            return No("unauthenticated")
        if (person.issuer, person.subject) in self.people:
            self.met(person, 0, now)
        session.checked_at = session.seen_at = now
        return ("SessionRenewed",)

    def touch_session(self, hash_: str, now: int) -> Any:
        if hash_ in self.sessions:
            self.sessions[hash_].seen_at = now
        return ("Done",)

    def end_session(self, hash_: str) -> Any:
        self.sessions.pop(hash_, None)
        return ("Done",)

    def end_sessions(self, user_id: int) -> Any:
        if all(person.id != user_id for person in self.people.values()):
            return No("no-such-user")
        ended = [hash_ for hash_, session in self.sessions.items() if session.user == user_id]
        for hash_ in ended:
            del self.sessions[hash_]
        return ("SessionsEnded", len(ended))

    def purge_sessions(self, now: int, idle_ms: int) -> None:
        self.sessions = {
            hash_: session
            for hash_, session in self.sessions.items()
            if session.seen_at >= now - idle_ms and session.expires_at > now
        }

    # ------------------------------------------------------------------ records

    def on_record(self, now: int, actor: str, action: str, subject: str) -> None:
        self.audits.append(Audited(now, actor, action, subject))

    def record_drill(self, started_at: int, ok: bool) -> Any:
        if not ok:
            self.happened.append(("backup.drill_failed", None, None, ()))
        self.drills = [*self.drills, (started_at, ok)][-DRILLS_KEPT:]
        return ("Done",)
