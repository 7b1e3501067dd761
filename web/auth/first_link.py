"""The link that signs the first administrator in: a code that works once, at any server. State owned here: the caller
that it signs in."""

from __future__ import annotations

import secrets

from blobforge.access import Caller
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.commons import Secret
from web.shared import Shared

USED_LINK = Refusal(
    RefusalCode.UNAUTHENTICATED,
    "This link was used already, or is from before a restart. Sign in with an API token.",
)


class FirstLink:
    """Until `stands_for` was called, the code opens nothing."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._caller: Caller | None = None

    async def stands_for(self, caller: Caller) -> str:
        """From now on the code signs in this caller. Returns the code."""
        self._caller = caller
        return await self._shared.ask(lambda commons: commons.secret(Secret.FIRST_LINK, _new_code))

    async def use(self, code: str) -> Caller | Refusal:
        """The caller that the code signs in; only the first time that it is used. Raises DatabaseError."""
        if self._caller is None or not await self._shared.ask(lambda commons: commons.spend(Secret.FIRST_LINK, code)):
            return USED_LINK
        return self._caller


def _new_code() -> str:
    return secrets.token_urlsafe(32)
