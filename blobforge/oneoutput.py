"""The one output of a job that has no more: what it is called."""

from __future__ import annotations

import msgspec

from blobforge.objects.keys import OUTPUT_NAME
from blobforge.outputs import wrong_name


def name_of(result: str | None) -> str:
    """The name of a job's one output, as the result that its worker sent has it."""
    try:
        said = msgspec.json.decode(result) if result is not None else None
    except msgspec.DecodeError:  # a number beyond all bounds
        said = None
    name = said.get("filename") if isinstance(said, dict) else None
    last = name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else OUTPUT_NAME
    return last if wrong_name(last) is None else OUTPUT_NAME
