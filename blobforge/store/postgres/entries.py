"""What a transaction tells, as it stands in the log: JSON, because a progress is JSON as its worker sent it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from blobforge.events import Event, Fact
from blobforge.store.following import Entry


class UnknownEntry(Exception):
    """Of a newer release. Whatever was remembered of the history is to be read anew."""


def encode(events: Sequence[Event], facts: Sequence[Fact]) -> str:
    return msgspec.json.encode([[_tagged(each) for each in events], [_tagged(each) for each in facts]]).decode()


def decode(told: str) -> tuple[list[Event], list[Fact]]:
    """Raises UnknownEntry."""
    if not told:
        return [], []
    try:
        events, facts = _decode(told)
        return [_made(_EVENTS, *each) for each in events], [_made(_FACTS, *each) for each in facts]
    except (msgspec.ValidationError, KeyError, ValueError) as error:
        raise UnknownEntry(str(error)) from error


def entry(n: int, server: str, _nonce: bytes, at: int, told: str, _settled: str) -> Entry:
    """A row of the log."""
    try:
        events, facts = decode(told)
    except UnknownEntry:
        return Entry(n, server, at, (), (), known=False)
    return Entry(n, server, at, events, facts)


def _kinds(base: type[Any]) -> dict[str, type[Any]]:
    return {kind.__name__: kind for kind in base.__subclasses__()}


_EVENTS, _FACTS = _kinds(Event), _kinds(Fact)
_decode = msgspec.json.Decoder(list[list[tuple[str, msgspec.Raw]]]).decode


def _tagged(each: Event | Fact) -> tuple[str, Any]:
    return type(each).__name__, each


def _made(kinds: dict[str, type[Any]], name: str, fields: msgspec.Raw) -> Any:
    return msgspec.json.decode(fields, type=kinds[name], strict=True)
