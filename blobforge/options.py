"""Options of a job: what the converter is to do with the source, as one text for one meaning.

A job is unique by its source, its type and its options. The text is canonical JSON (RFC 8785), so that the order of
members and the spelling of numbers make no other job; `{}` and null are no options.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import rfc8785

MOST_OPTIONS: Final = 16 * 1024  # bytes of canonical JSON
OPTIONS: Final = "options"  # the word by which a claim says that its worker heeds them

Lane = int  # of the queue: jobs of one lane are for the same claims
PLAIN: Final[Lane] = 0
WITH_OPTIONS: Final[Lane] = 1


class UnfitOptions(ValueError):
    """These options cannot be kept, for the reason that it says."""


def canonical(options: Mapping[str, Any] | None) -> str | None:
    """The one text of these options; None: there are none. Raises UnfitOptions."""
    if not options:
        return None
    try:
        text = rfc8785.dumps(dict(options))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise UnfitOptions(f"{error}; a number beyond 2^53 can be sent as text") from error
    if len(text) > MOST_OPTIONS:
        raise UnfitOptions(f"{len(text)} bytes of JSON, and at most {MOST_OPTIONS} are kept")
    return text.decode()


def digest(options: str | None) -> str:
    """The SHA-256 of canonical options, in hex; empty where there are none."""
    return hashlib.sha256(options.encode()).hexdigest() if options is not None else ""


class QueueLine(NamedTuple):
    """The ready jobs of one type and one lane, of which a claim takes the first ones."""

    type: str
    lane: Lane = PLAIN


LineGroup = tuple[QueueLine, ...]  # lines that are read together, as one in claim order


def lanes(accepts: Collection[str]) -> tuple[Lane, ...]:
    """The lanes from which a claim takes jobs; `accepts` is what its worker heeds beside the source."""
    return (PLAIN, WITH_OPTIONS) if OPTIONS in accepts else (PLAIN,)


@lru_cache(maxsize=1024)
def lines_of(types: tuple[str, ...], accepts: tuple[str, ...]) -> LineGroup:
    """The lines of these types. Workers ask for the same ones again and again."""
    accepted = lanes(accepts)
    return tuple([QueueLine(type_, lane) for type_ in types for lane in accepted])
