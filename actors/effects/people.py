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

# Sessions of a person, or by a token, that there are at once: the oldest ends when another begins. All of them end in
# one transaction where the person is signed out everywhere, or the token is deleted.
MOST_SESSIONS = 1000
ENDED_AT_ONCE = 100  # of an older database, which may have any number


def sign_in(tx: Transaction, message: SignIn) -> SignedIn | Refusal:
    """A new session, under a new id; the one from before, if any, ends. The token may have been deleted meanwhile."""
    if message.token_id is not None and tx.store.token(message.token_id) is None:
        return Refusal(RefusalCode.UNAUTHENTICATED, "This token has been deleted. Sign in with another one.")
    user_id = None
    if message.person is not None:
        _revoke_if_changed(tx, message.person)
        user_id = tx.store.save_user(_user(message.person, tx.now))
    new = message.session
    if message.replaces is not None and tx.store.delete_session(message.replaces):
        tx.revoke(message.replaces)
    tx.store.insert_session(
        Session(
            hash=new.hash,
            user_id=user_id,
            token_id=message.token_id,
            created_at=tx.now,
            seen_at=tx.now,
            checked_at=tx.now,
            expires_at=new.expires_at,
            sealed=new.sealed,
            address=new.address,
            agent=new.agent,
        )
    )
    for hash_ in tx.store.sessions_beyond(
        MOST_SESSIONS, user_id=user_id, token_id=message.token_id, limit=ENDED_AT_ONCE
    ):
        tx.store.delete_session(hash_)
        tx.revoke(hash_)
    tx.facts.append(AccessChanged())
    return SignedIn(user_id, message.token_id)


def renew_session(tx: Transaction, message: RenewSession) -> SessionRenewed | Refusal:
    if tx.store.session(message.hash) is None:
        return Refusal(RefusalCode.UNAUTHENTICATED, "This session has ended. Sign in again.")
    _revoke_if_changed(tx, message.person)
    tx.store.update_user(_user(message.person, tx.now))
    tx.store.check_session(message.hash, message.sealed, now=tx.now)
    tx.facts.append(AccessChanged())
    return SessionRenewed()


def touch_session(tx: Transaction, message: TouchSession) -> Done:
    tx.store.touch_session(message.hash, now=tx.now)
    return Done()


def end_session(tx: Transaction, message: EndSession) -> Done:
    """Ending what has ended already is no error."""
    if tx.store.delete_session(message.hash):
        tx.revoke(message.hash)
        tx.facts.append(AccessChanged())
    return Done()


def end_sessions(tx: Transaction, message: EndSessions) -> SessionsEnded | Refusal:
    if tx.store.user(message.user_id) is None:
        return Refusal(RefusalCode.NO_SUCH_USER, f"There is no user {message.user_id}.")
    tx.revoke(*tx.store.session_hashes(user_id=message.user_id))
    count = tx.store.delete_sessions_of(message.user_id)
    tx.facts.append(AccessChanged())
    return SessionsEnded(count)


def _revoke_if_changed(tx: Transaction, person: Person) -> None:
    """A person's sessions go on with other rights than what waits by them was let in with: that ends."""
    before = tx.store.user_of(person.issuer, person.subject)
    if before is not None and before.is_admin != person.is_admin:
        tx.revoke(*tx.store.session_hashes(user_id=before.id))


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
