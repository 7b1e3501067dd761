"""Secrets taken out of what a converter prints, before any of it is sent: those of the server's own logs, those that
stand in this process's environment, and what programs print in known forms.

Texts are taken line by line: each is whole, so that no secret is cut in two. A private key has many lines; of those
the state is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Self

from blobforge.machinery.redaction import GONE, SHORTEST, redact

_SECRET_NAME = re.compile(r"(?i)secret|token|passw|credential|private|api_?key|access_?key|dsn$|_pat$|_auth$")
_KNOWN = re.compile(
    r"(?P<url>\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s/@:]{0,128}:)[^\s/]{1,256}(?=@)"
    r"|(?P<header>(?i:authorization|cookie|x-api-key|x-worker-secret)[\"']?\s{0,3}[:=]\s{0,3})\S.*"
    r"|(?P<name>(?:(?i:passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key)[\w-]{0,32}[\"']?\s{0,3}[=:]\s{0,3}"
    # A number is how many tokens a model has read.
    r"|(?i:token)[\w-]{0,32}[\"']?\s{0,3}[=:]\s{0,3}(?![\"']?\d+(?:[.,]\d+)*(?![\w.-])))[\"']?)"
    # In quotes it may have anything.
    r"(?:(?<=\")(?:\\.|[^\"\\\n]){4,}|(?<=')(?:\\.|[^'\\\n]){4,}|[^\s\"',;&]{4,})"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bhf_[A-Za-z0-9]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
)
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----")
_LONGEST_KEY = 400  # lines: one that has no end hides no whole log


def beginning(text: str, most: int) -> str:
    """The beginning of what is too long, cut between two words: half of a secret would not be known for one."""
    cut = text[:most]
    return text if text == cut else "".join(cut.rsplit(None, 1)[:1])


def ending(text: str, most: int) -> str:
    """The end of what is too long: as `beginning`, with whole lines where there are any."""
    cut = text[-most:]
    return text if text == cut else cut.partition("\n")[2] or "".join(cut.split(None, 1)[-1:])


class Redactor:
    """`patterns` are regular expressions of the operator's; what they match is taken out. Raises ValueError for what
    is none. `values` stand for themselves, and each line of one that has several."""

    def __init__(self, values: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        lines = {line.strip() for each in values for line in each.splitlines()}
        self._values = sorted((each for each in lines if len(each) >= SHORTEST), key=len, reverse=True)
        self._patterns = [_compiled(each) for each in patterns]

    @classmethod
    def of(cls, environment: Mapping[str, str], patterns: Iterable[str] = ()) -> Self:
        """With the values of the variables whose names say that they are secret."""
        return cls((value for name, value in environment.items() if _SECRET_NAME.search(name)), patterns)

    def line(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, GONE)
        for pattern in self._patterns:
            text = pattern.sub(GONE, text)
        return redact(_KNOWN.sub(_left, text))

    def text(self, text: str) -> str:
        """Several lines, perhaps the end of more: it may begin within a key."""
        redaction = Redaction(self)
        redaction.skip()
        return redaction.lines(text)


class Redaction:
    """One text on its way through a Redactor, some lines at a time. State owned here: whether it is within a key."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._cut = False
        self._key_lines = 0  # of the key that has begun; 0: none has

    def skip(self) -> None:
        """Lines are left out here: what follows may begin within a key."""
        self._cut = True

    def lines(self, text: str) -> str:
        lines = text.splitlines(keepends=True)
        if self._cut:
            self._cut = False
            lines = self._behind_cut(lines)
        return "".join(each for line in lines if (each := self._one(line)) is not None)

    def _behind_cut(self, lines: list[str]) -> list[str]:
        """Without the rest of a key whose beginning was left out."""
        self._key_lines = 0
        for place, line in enumerate(lines):
            if _KEY_BEGINS.search(line):
                break
            if _KEY_ENDS.search(line):
                return [f"{GONE}\n", *lines[place + 1 :]]
        return lines

    def _one(self, line: str) -> str | None:
        if self._key_lines:
            self._key_lines += 1
            if _KEY_ENDS.search(line) or self._key_lines > _LONGEST_KEY:
                self._key_lines = 0
            return None
        if (begins := _KEY_BEGINS.search(line)) is not None:
            self._key_lines = 0 if _KEY_ENDS.search(line, begins.end()) else 1
            return f"{GONE}\n"
        return self._redactor.line(line)


def _left(match: re.Match[str]) -> str:
    return (match["url"] or match["header"] or match["name"] or "") + GONE


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
