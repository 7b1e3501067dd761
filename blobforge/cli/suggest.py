"""What the shell completes from the server: types, tags, ids of workers and of jobs.

The shell waits for it, and shows what it prints: so it takes a moment at most, and is silent whatever goes wrong.
Answers are kept for some seconds, since a person presses the key several times for one word.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from blobforge.cli.common import CliSession

if TYPE_CHECKING:
    import click

    from blobforge.client import AsyncClient

KEPT = 10  # seconds
DEADLINE = 2.0  # seconds until the shell is told nothing
_RECENT = 100  # jobs, the latest changed of which are looked at: one page

Suggestions = list[list[str]]
"""Pairs of a word and what it means."""


class Words:
    """The words of one kind that begin as what was typed: a `shell_complete` of click."""

    def __init__(self, kind: str, ask: Callable[[AsyncClient], Awaitable[Suggestions]]) -> None:
        self._kind = kind
        self._ask = ask

    def __call__(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = self._found(ctx.find_object(CliSession) or CliSession())
        except Exception:
            return []
        given = ctx.params.get(param.name or "")
        taken = {str(each) for each in given} if isinstance(given, tuple) else set()
        return [
            CompletionItem(word, help=meaning or None)
            for word, meaning in found
            if word.startswith(incomplete) and word not in taken
        ]

    def _found(self, session: CliSession) -> Suggestions:
        kept = self._kept(session)
        if kept is not None and (fresh := _fresh(kept)) is not None:
            return fresh
        found = _within(DEADLINE, session, self._ask)
        if kept is not None and found:
            with contextlib.suppress(OSError):
                _keep(kept, found)
        return found

    def _kept(self, session: CliSession) -> Path | None:
        """Where the answer of this server to this caller is kept; None: nowhere."""
        from blobforge.login import folders

        folder = folders.cache()
        whose = hashlib.sha256(f"{session.url}\n{session.token or ''}".encode()).hexdigest()[:16]
        return folder / "completion" / f"{self._kind}-{whose}.json" if folder is not None else None


def _within(seconds: float, session: CliSession, ask: Callable[[AsyncClient], Awaitable[Suggestions]]) -> Suggestions:
    import trio

    async def once() -> Suggestions:
        with trio.move_on_after(seconds):
            async with session.client() as client:
                return await ask(client.with_patience(0))
        return []

    found: Suggestions = trio.run(once)
    return found


def _fresh(path: Path) -> Suggestions | None:
    try:
        if not 0 <= time.time() - path.stat().st_mtime < KEPT:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return [[str(word), str(meaning)] for word, meaning in found]


def _keep(path: Path, found: Suggestions) -> None:
    """In one step and for its owner only: another shell may read at this moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(number, "w") as file:
        json.dump(found, file)
    os.replace(name, path)


async def _types(client: AsyncClient) -> Suggestions:
    by_type = (await client.stats()).by_type
    return [[name, ""] for name in by_type] if isinstance(by_type, dict) else []


async def _tags(client: AsyncClient) -> Suggestions:
    page = await client.list_jobs(limit=_RECENT)
    return [[tag, ""] for tag in sorted({tag for job in page.jobs for tag in job.tags or []})]


async def _workers(client: AsyncClient) -> Suggestions:
    return [[worker.id, f"{worker.status}, {worker.type}"] for worker in await client.list_workers()]


async def _jobs(client: AsyncClient) -> Suggestions:
    from blobforge.cli.output import one_line

    page = await client.list_jobs(limit=_RECENT)
    return [[str(job.id), one_line(f"{job.status} {job.source_path or job.type}")] for job in page.jobs]


types = Words("types", _types)
tags = Words("tags", _tags)
workers = Words("workers", _workers)
jobs = Words("jobs", _jobs)
