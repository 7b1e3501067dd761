"""The key that this installation signs manifests with: all servers of a database have the same.

It is made when it is first asked for, and read anew each time, so that no server holds one that the others do not
know. Its private half rests in the database, sealed (`web/auth/sessions.py`).
"""

from __future__ import annotations

import msgspec
import structlog

from actors.mailbox import ask
from actors.messages import AddSigningKey
from blobforge.installation import PrivateHalf, SigningKey, fingerprint, new_private_half, public_text
from blobforge.refusals import Refusal
from web.services import Services

log = structlog.get_logger()


class Signing(msgspec.Struct, frozen=True):
    """The key in force, its private half, and those that cannot be opened any more, the latest first."""

    key: SigningKey
    private: PrivateHalf
    former: list[SigningKey]


async def signing(services: Services) -> Signing | Refusal:
    """The key in force. Where none of the keys can be opened, a new one is made."""
    while True:
        keys = await services.reads.run(lambda reader: reader.signing_keys())
        for place, key in enumerate(keys):
            private = services.sealer.open(key.sealed, PrivateHalf)
            if private is not None:
                return Signing(key, private, keys[:place] + keys[place + 1 :])
        made = new_private_half()
        public = public_text(made.key())
        told = await ask(services.writer, AddSigningKey(public, services.sealer.seal(made), known=len(keys)))
        if isinstance(told, Refusal):
            return told
        if keys:
            log.warning(
                "the signing key cannot be opened, as the signing secret is another: manifests have a new key now",
                former=fingerprint(keys[0].public_key),
                key=fingerprint(public),
            )
