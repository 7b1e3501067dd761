"""The Content-Disposition of a download: RFC 6266, with the extended notation of RFC 8187 for what is not ASCII."""

from __future__ import annotations

import os.path
import re
import unicodedata
from urllib.parse import quote

# File systems stop at 255 bytes, and a browser may add " (1)"; a URL carries each byte up to three times over.
_MAX_BYTES = 180
_MAX_SUFFIX_BYTES = 20

# Quotes end the quoted-string early in lax parsers; C0, C1 and line separators split headers; surrogates cannot be
# encoded; the bidirectional controls make `gpj.exe` read as `exe.jpg`.
_UNWANTED = re.compile('["\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_ATTR_CHARS = "!#$&+^`|"  # RFC 8187 attr-char beyond what quote() leaves alone anyway
_IN_FALLBACK = re.compile(r'["\\/%\x00-\x1f\x7f]')
# What most files are called: nothing to clean, to replace or to encode.
_SIMPLE = re.compile(rf"[A-Za-z0-9_~-][A-Za-z0-9._~-]{{0,{_MAX_BYTES - 1}}}")


def attachment(filename: str | None) -> str:
    """The header's value that makes a browser save what it gets, under `filename` where one is given.

    `filename` may be any text, a whole path too: only its last component is kept, cleaned and shortened.
    """
    name = filename or ""
    if _SIMPLE.fullmatch(name):
        return f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    name = _clean(name)
    if not name:
        return "attachment"
    return f"attachment; filename=\"{_fallback(name)}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def attachment_in_query(filename: str) -> str:
    """The same for a query: percent-encoded, which for what most files are called takes no look at each character."""
    if _SIMPLE.fullmatch(filename):
        return f"attachment%3B%20filename%3D%22{filename}%22%3B%20filename%2A%3DUTF-8%27%27{filename}"
    return quote(attachment(filename), safe="")


def _clean(filename: str) -> str:
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = unicodedata.normalize("NFC", _UNWANTED.sub("", base)).strip()
    if not name.strip(". "):  # "..", "." and the like name no file
        return ""
    stem, suffix = os.path.splitext(name)
    if len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, suffix = name, ""
    room = _MAX_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


def _fallback(name: str) -> str:
    """ASCII for clients that do not know filename*: letters lose their accents, the rest becomes `_`.

    `%` goes as well: some clients decode `%41` in the plain parameter (RFC 6266, appendix D).
    """
    return "".join(map(_plain, name)) if not name.isascii() else _IN_FALLBACK.sub("_", name)


def _plain(char: str) -> str:
    ascii_part = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return _IN_FALLBACK.sub("_", ascii_part) or "_"
