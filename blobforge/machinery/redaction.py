"""Secrets taken out of texts: tokens, signatures of URLs, and configured values. State owned here: the
configured secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

GONE = "[redacted]"
_SECRETS = re.compile(
    r"(?P<token>bfw?_[A-Za-z0-9_-]{12,}={0,2})"
    r"|(?P<webhook>whsec_[A-Za-z0-9+/]{12,}={0,2})"
    # 256 random bits in base64url, in both cases: what a session's cookie and the first-start code are.
    r"|(?P<random>(?<![A-Za-z0-9_-])(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-]))"
    r"|(?P<bearer>(?i:bearer)\s+(?!bf_\.\.\.)\S+)"  # our own texts say how a token is sent: `Bearer bf_...`
    r"|(?P<name>(?i:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|sig|code|state|token|secret)=)[^&\s\"'<>]+"
)

# What stands in every text that the above matches: a fifth of its time to look for, and in most texts there is none.
_SUSPECT = re.compile(r"[A-Za-z0-9_-]{12}|=|(?i:bearer)")

# State owned here: the secrets of this process's configuration, which have no form to be known by.
_configured: list[str] = []
SHORTEST = 8  # characters; something shorter is a word of other texts, too


def hide(secrets: Iterable[str]) -> None:
    """Redact these values, too, from now on."""
    _configured[:] = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)


def redact(text: str) -> str:
    """The text without tokens, worker secrets, session ids, signatures of URLs, and what `hide` was told."""
    for secret in _configured:
        text = text.replace(secret, GONE)
    if _SUSPECT.search(text) is None:
        return text
    return _SECRETS.sub(lambda match: (match["name"] or "") + GONE, text)
