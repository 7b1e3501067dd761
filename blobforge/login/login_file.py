"""What `blobforge login` keeps on this machine: one server, and the token for it.

State owned here: `login.json` in the user's configuration folder (mode 0600), and one entry in the keyring where
there is one. A token is given out for the server that it was kept for, and for no other.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from blobforge.login import folders

SERVICE = "blobforge"
NAME = "login.json"


class Login(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`token` is None where the keyring has it."""

    server: str
    token: str | None = None
    in_keyring: bool = False


class LoginError(Exception):
    """The stored login cannot be read or kept. The message says why and what to do."""


def path() -> Path:
    """Where it is. Raises LoginError where there is no such place."""
    folder = folders.config()
    if folder is None:
        raise LoginError(folders.NO_HOME)
    return folder / NAME


def load() -> Login | None:
    """The login there is, its token still in the keyring. Raises LoginError."""
    if folders.config() is None:
        return None
    try:
        return msgspec.json.decode(path().read_bytes(), type=Login)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoginError(f"cannot read {path()}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise LoginError(f"{path()} is damaged ({error}); `blobforge login` writes it anew") from error


def token_of(login: Login) -> str | None:
    """The token, from where it is kept. Raises LoginError."""
    if not login.in_keyring:
        return login.token
    try:
        import keyring

        return keyring.get_password(SERVICE, login.server)
    except Exception as error:  # a keyring's backend may raise anything
        raise LoginError(f"the keyring does not give out the token: {error}; `blobforge login` again") from error


def save(server: str, token: str, *, use_keyring: bool) -> str:
    """Keep the login, in place of the one before; returns where the token is. Raises LoginError."""
    from blobforge.machinery.datadir import write_private

    before = _if_readable()
    kept = use_keyring and _into_keyring(server, token)
    login = Login(server=server, token=None if kept else token, in_keyring=kept)
    try:
        path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path(), msgspec.json.encode(login).decode())
    except OSError as error:
        raise LoginError(f"cannot write {path()}: {error.strerror}") from error
    if before is not None and before.in_keyring and not (kept and before.server == server):
        _out_of_keyring(before.server)
    return "the keyring" if kept else str(path())


def forget() -> bool:
    """Remove the login, if there is one. Raises LoginError."""
    if folders.config() is None:
        return False
    login = _if_readable()
    if login is not None and login.in_keyring:
        _out_of_keyring(login.server)
    try:
        path().unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LoginError(f"cannot remove {path()}: {error.strerror}") from error
    return True


def _if_readable() -> Login | None:
    """The login there is; one that is damaged can still be replaced or removed."""
    try:
        return load()
    except LoginError:
        return None


def _into_keyring(server: str, token: str) -> bool:
    """Whether a keyring is installed, works, and gives back what it was given."""
    try:
        import keyring

        if keyring.get_keyring().priority < 1:  # those that keep nothing, or keep it in the clear
            return False
        keyring.set_password(SERVICE, server, token)
        return keyring.get_password(SERVICE, server) == token
    except Exception:  # not installed, locked, no desktop to ask on: the file does
        return False


def _out_of_keyring(server: str) -> None:
    try:
        import keyring

        keyring.delete_password(SERVICE, server)
    except Exception:  # it is not there, or the keyring is not: either way it is out of our reach
        return
