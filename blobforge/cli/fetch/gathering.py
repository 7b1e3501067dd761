"""The files of one job's result, until all of them are in the folder. State owned here: how many are under way, and
whether one has failed."""

from __future__ import annotations

from typing import NamedTuple

import trio

from blobforge.cli.fetch.folder import Written
from blobforge.cli.fetch.ledger import GivenPath, WantedResult, WholeResult
from blobforge.client import FileLink


class Gathering:
    """The main output comes last: where it is, all are, and of one attempt. A failure of one is that of the whole."""

    def __init__(self, wanted: WantedResult, main: FileLink) -> None:
        self.whole = WholeResult(wanted, main.key, main.name or "")
        self.main = main
        self.moved = False
        self.bytes = 0
        self.failed = False
        self.withdrawn = False  # the former result's main output is not there any more
        self._under_way = 0
        self._settled: trio.Event | None = None

    @property
    def job_id(self) -> int:
        return self.whole.wanted.job_id

    def begun(self) -> None:
        """A file more is under way."""
        self._under_way += 1

    def ended(self) -> None:
        """One is not under way any more."""
        self._under_way -= 1
        if not self._under_way and self._settled is not None:
            self._settled.set()

    async def settled(self) -> bool:
        """Wait until none is under way; whether all went well."""
        if self._under_way:
            self._settled = trio.Event()
            await self._settled.wait()
        return not self.failed


class FileToFetch(NamedTuple):
    """One output, and each path at which it is to stand, with what stands there already (None: nothing of it).
    `last`: with it the result is whole."""

    gathering: Gathering
    link: FileLink
    paths: list[tuple[GivenPath, Written | None]]
    last: bool
