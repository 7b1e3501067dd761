"""The source of the job in hand: fetched from the store, verified, with a fresh URL where the claim's has expired."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from blobforge.client import ApiError, AsyncClient, ChecksumMismatch, ClientError, TransferRefused
from blobforge.outputs import LONGEST_NAME, wrong_name
from blobforge.runner.events import say
from blobforge.runner.holdings import Held
from blobforge.runner.job import JobFailed, WorkerTrouble
from blobforge.runner.upload import LOST

DOWNLOAD_PATIENCE = 600.0  # seconds without an answer from the store, after which the job goes back
_DAMAGED_LOOKS = (1.0, 5.0)  # seconds before a source whose hash is wrong is fetched again: it may not be the store's
_FRESH_URLS = 4  # asked for one after the other, with growing pauses, before the job goes back
_MISSING, _GONE = 404, 410
_LONGEST_INPUT = 2 * LONGEST_NAME + 1  # bytes: the name of an output that a job came of, and of the job's own


async def fetch_source(client: AsyncClient, held: Held, target: Path) -> None:
    """Fetch the source of the job in hand. Raises JobFailed and WorkerTrouble; abandons a job that is lost."""
    try:
        await _Fetch(client.with_patience(DOWNLOAD_PATIENCE), held, target).run()
    except ChecksumMismatch as error:
        raise JobFailed(f"the source is damaged: {error}", kind="ChecksumMismatch") from error
    except TransferRefused as error:
        if error.status in {_MISSING, _GONE}:
            raise JobFailed(f"the source is not in the store: {error}", kind="SourceMissing") from error
        raise WorkerTrouble(f"the source cannot be downloaded: {error}") from error
    except (ClientError, OSError) as error:
        if isinstance(error, ApiError) and error.type in LOST:
            held.abandon()
            await trio.lowlevel.checkpoint()
        raise WorkerTrouble(f"the source cannot be downloaded: {error}") from error


async def fetch_inputs(client: AsyncClient, held: Held, folder: Path) -> None:
    """Fetch what a job joins, below the folder. Raises JobFailed, for what is damaged or not there, and
    WorkerTrouble: also where the URLs have expired meanwhile, for the next claim brings fresh ones."""
    patient, inputs = client.with_patience(DOWNLOAD_PATIENCE), held.claim.inputs or []
    for done, each in enumerate(inputs):
        held.report({"stage": "downloading", "done": done, "total": len(inputs)})
        if (wrong := wrong_name(each.name, longest=_LONGEST_INPUT)) is not None:
            raise JobFailed(f"an input cannot be called {each.name!r}: {wrong}", kind="InputMissing")
        target = folder / each.name
        try:
            await trio.to_thread.run_sync(partial(target.parent.mkdir, parents=True, exist_ok=True))
            await patient.download(each.url, target, sha256=each.sha256)
        except ChecksumMismatch as error:
            raise JobFailed(f"the input {each.name!r} is damaged: {error}", kind="ChecksumMismatch") from error
        except TransferRefused as error:
            if error.status == _MISSING:
                raise JobFailed(f"the input {each.name!r} is not in the store", kind="InputMissing") from error
            raise WorkerTrouble(f"an input cannot be downloaded: {error}") from error
        except (ClientError, OSError) as error:
            raise WorkerTrouble(f"an input cannot be downloaded: {error}") from error


class _Fetch:
    """One attempt's. State owned here: the URL to fetch from, and how many bytes have come."""

    def __init__(self, patient: AsyncClient, held: Held, target: Path) -> None:
        self._patient = patient
        self._held = held
        self._target = target
        self._beginning = target.with_name(f".{target.name}.part")  # a fresh URL goes on where the old one ended
        self._url = held.claim.source_url
        self._done = 0

    async def run(self) -> None:
        for pause in _DAMAGED_LOOKS:
            try:
                await self._whole()
            except ChecksumMismatch:
                await trio.sleep(pause)
            else:
                return
        await self._whole()

    async def _whole(self) -> None:
        for fresh in range(_FRESH_URLS):
            try:
                await self._once()
            except TransferRefused as error:
                if error.status == _MISSING or (error.status == _GONE and fresh):
                    raise
                await self._refresh(error, fresh)
            else:
                return
        await self._once()

    async def _once(self) -> None:
        sha256 = self._held.claim.job.source_hash
        await self._patient.download(
            self._url, self._target, sha256=sha256, on_bytes=self._count, beginning=self._beginning
        )

    async def _refresh(self, refused: TransferRefused, before: int) -> None:
        """Ask the server for another URL. Raises `refused` where the server's release knows no such request."""
        claim = self._held.claim
        say("download-refused", f"job {claim.job.id}: {refused}; asking for a fresh URL of the source")
        await trio.sleep(min(2.0**before - 1, 30.0))
        try:
            self._url = (await self._patient.fresh_source_url(claim.job.id, claim.lease)).url
        except ApiError as error:
            if error.status == 404 and error.type not in LOST:
                raise refused from error
            raise

    def _count(self, more: int) -> None:
        self._done += more
        total = self._held.claim.job.source_size
        known = {"done": self._done} if total is None else {"done": self._done, "total": total}
        self._held.report({"stage": "downloading", **known})
