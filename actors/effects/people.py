"""Signing in and out."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import (
    Done,
    EndSession,
    EndSessions,
    Person,
    RenewSession,
    SessionRenewed,
    SessionsEnded,
    SignedIn,
    SignIn,
    TouchSession,
)
from blobforge.events import AccessChanged
from blobforge.people import Session, User
from blobforge.refusals import Refusal, RefusalCode


def sign_in(step: Transaction, message: SignIn) -> SignedIn | Refusal:
    """A new session, under a new id; the one from before, if any, ends. The token may have been deleted meanwhile."""
    if message.token_id is not None and step.store.token(message.token_id) is None:
        return Refusal(RefusalCode.UNAUTHENTICATED, "This token has been deleted. Sign in with another one.")
    user_id = None
    if message.person is not None:
        _revoke_if_changed(step, message.person)
        user_id = step.store.save_user(_user(message.person, step.now))
    new = message.session
    if message.replaces is not None and step.store.delete_session(message.replaces):
        step.revoke(message.replaces)
    step.store.insert_session(
        Session(
            hash=new.hash,
            user_id=user_id,
            token_id=message.token_id,
            created_at=step.now,
            seen_at=step.now,
            checked_at=step.now,
            expires_at=new.expires_at,
            sealed=new.sealed,
            address=new.address,
            agent=new.agent,
        )
    )
    step.facts.append(AccessChanged())
    return SignedIn(user_id, message.token_id)


def renew_session(step: Transaction, message: RenewSession) -> SessionRenewed | Refusal:
    if step.store.session(message.hash) is None:
        return Refusal(RefusalCode.UNAUTHENTICATED, "This session has ended. Sign in again.")
    _revoke_if_changed(step, message.person)
    step.store.update_user(_user(message.person, step.now))
    step.store.check_session(message.hash, message.sealed, now=step.now)
    step.facts.append(AccessChanged())
    return SessionRenewed()


def touch_session(step: Transaction, message: TouchSession) -> Done:
    step.store.touch_session(message.hash, now=step.now)
    return Done()


def end_session(step: Transaction, message: EndSession) -> Done:
    """Ending what has ended already is no error."""
    if step.store.delete_session(message.hash):
        step.revoke(message.hash)
        step.facts.append(AccessChanged())
    return Done()


def end_sessions(step: Transaction, message: EndSessions) -> SessionsEnded | Refusal:
    if step.store.user(message.user_id) is None:
        return Refusal(RefusalCode.NO_SUCH_USER, f"There is no user {message.user_id}.")
    step.revoke(*step.store.session_hashes(user_id=message.user_id))
    count = step.store.delete_sessions_of(message.user_id)
    step.facts.append(AccessChanged())
    return SessionsEnded(count)


def _revoke_if_changed(step: Transaction, person: Person) -> None:
    """A person's sessions go on with other rights than what waits by them was let in with: that ends."""
    before = step.store.user_of(person.issuer, person.subject)
    if before is not None and before.is_admin != person.is_admin:
        step.revoke(*step.store.session_hashes(user_id=before.id))


def _user(person: Person, now: int) -> User:
    return User(
        id=0,
        issuer=person.issuer,
        subject=person.subject,
        email=person.email,
        name=person.name,
        groups=person.groups,
        is_admin=person.is_admin,
        created_at=now,
        last_login_at=now,
    )
