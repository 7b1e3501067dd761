"""The corpus of malformed requests, read from `corpus/`: a character is a byte, and <<x * 3>> is xxx."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_FOLDER = Path(__file__).with_name("corpus")
_REPEATED = re.compile(rb"<<(.+?) \* (\d+)>>", re.DOTALL)
GOOD_BODY = b'{"type":"pdf","source_hash":"' + b"a" * 64 + b'",'  # of a job, but for its end


def corpus(name: str, key: str) -> list[bytes]:
    texts = tomllib.loads((_FOLDER / f"{name}.toml").read_text())[key]
    return [_REPEATED.sub(lambda found: found[1] * int(found[2]), text.encode("latin-1")) for text in texts]
