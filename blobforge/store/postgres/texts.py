"""Texts as PostgreSQL can keep them: it has no NUL. The API refuses it in names and takes it out of what is said at
length; whatever comes with one another way must not cost the transaction."""

from __future__ import annotations

from typing import Any, Final

import msgspec

INSTEAD: Final = "\ufffd"


def without_nul(text: str) -> str:
    return text.replace("\0", INSTEAD)


def as_json(values: Any) -> str:
    """JSON of lists, records, texts and numbers."""
    text = msgspec.json.encode(values).decode()
    if "\\u0000" in text:  # or a text of ours that holds JSON which says so
        text = msgspec.json.encode(_cleaned(msgspec.to_builtins(values))).decode()
    return text


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return without_nul(value)
        case list() | tuple():
            return [_cleaned(each) for each in value]
        case dict():
            return {key: _cleaned(each) for key, each in value.items()}
        case _:
            return value
