"""The steps of a chain as they are written in a terminal, and as they are shown there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click


def read_json(said: str) -> Any:
    """JSON as it stands there, or @ and the file that has it."""
    try:
        return json.loads(Path(said[1:]).read_text() if said.startswith("@") else said)
    except OSError as error:
        raise click.BadParameter(f"{said[1:]}: {error.strerror}") from error
    except ValueError as error:
        raise click.BadParameter(f"this is no JSON: {error}") from error


def said_steps(_ctx: click.Context, _param: click.Parameter, said: Sequence[str]) -> list[dict[str, Any]] | None:
    """Steps as TYPE or TYPE=PATTERN, each behind the one before; or all as JSON, or @ and the file that has it.
    None: nothing was said."""
    if not said:
        return None
    if len(said) == 1 and said[0][:1] in ("@", "["):
        found = read_json(said[0])
        if not isinstance(found, list):
            raise click.BadParameter('steps are a JSON array, as [{"type": "summary", "outputs": "*.md"}]')
        return found
    then: list[dict[str, Any]] = []
    for each in reversed(said):
        type_, equals, outputs = each.partition("=")
        if not type_ or (equals and not outputs) or each[:1] in ("@", "["):
            raise click.BadParameter(f"{each!r} is not TYPE or TYPE=PATTERN; steps as JSON are given once")
        step: dict[str, Any] = {"type": type_, "outputs": outputs or "*"}
        then = [step | ({"then": then} if then else {})]
    return then


def in_words(then: Sequence[Mapping[str, Any]]) -> str:
    """What follows, in one line: `ocr (pages/*.png) -> summary`."""
    return ", ".join(
        f"{each.get('type')} ({each.get('outputs', '*')})"
        + (f" -> {in_words(each['then'])}" if each.get("then") else "")
        + (f", joined by {in_words([each['join'] | {'outputs': 'all'}])}" if each.get("join") else "")
        for each in then
    )
