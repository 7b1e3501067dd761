"""`AsyncClient`: what a script asks for in one word, on top of the endpoints: submit, wait, jobs, results, save.

    async with AsyncClient() as client:
        report = await client.submit("report.pdf")
        job = await client.wait(report)
        await client.save(job, "results/")

`Client` is the same without `async` and `await`.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, Final, Literal, Unpack

import msgspec
import trio

from blobforge.client.api import Endpoints
from blobforge.client.connection import DEFAULT_PATIENCE, without_none
from blobforge.client.errors import ApiError, ServerUnreachable
from blobforge.client.events import ServerEvent
from blobforge.client.submission import SubmittedFile, submit_file
from blobforge.client.transfer import naming
from blobforge.client.transport import OnRetry, unreachable_as_client_error
from blobforge.client.types import FINAL_STATUSES, BatchInfo, FileLink, Job, JobFilters, Submission
from blobforge.login import credentials, login_file
from blobforge.machinery.groups import unwrapped
from blobforge.manifest import MANIFEST_TYPE, is_end
from blobforge.safenames import safe

AJob = int | Job | SubmittedFile | Submission
"""A job, by its id or by what told of it."""

_PAGE: Final = 100  # jobs: the server's own limit
_WINDOW: Final = 64  # jobs that are looked at in one round: the oldest end first, the others have their turn
_SIDE_BY_SIDE: Final = 8
_FIRST_LOOK: Final = 0.2  # seconds; it looks again at growing intervals
_RAREST_LOOK: Final = 3.0
_SILENCE: Final = 120.0  # seconds without a byte of a long answer: the server looks for the next job that matches
_TABLES: Final = {"csv": "text/csv", "ndjson": "application/x-ndjson"}  # media types of formats
_LAST_LINE: Final = 4096  # bytes; it is much shorter


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `job`, as it can be fetched: its name, its size in bytes and its SHA-256, as far as they are
    known. `url` opens it for as long as the server signs for. `name`: which of several outputs it is, with its
    folders; None for the only one."""

    job: Job
    filename: str
    url: str
    name: str | None = None
    size: int | None = None
    sha256: str | None = None


class AsyncClient(Endpoints):
    """An async (trio) client of one server, with one credential.

    `base_url` and `token` are the server's URL and an API token. Without a URL, both are those that the `blobforge`
    command would take: `BLOBFORGE_SERVER_URL` and `BLOBFORGE_API_TOKEN`, what `blobforge login` kept, or this
    machine's.
    `worker` is a pair of worker id and secret. `patience` is how many seconds a call is repeated for while the server
    does not answer or says "later"; see `with_patience`.
    Raises ValueError for a base URL or a credential that is none.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        worker: tuple[str, str] | None = None,
        patience: float = DEFAULT_PATIENCE,
        on_retry: OnRetry | None = None,
    ) -> None:
        if base_url is None:
            base_url, token = _found(token, anonymous=worker is not None)
        super().__init__(base_url, token=token, worker=worker, patience=patience, on_retry=on_retry)

    async def submit(
        self,
        file: str | os.PathLike[str] | bytes,
        type: str | None = None,
        *,
        name: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        requires: Sequence[str] | None = None,
        not_before: datetime | None = None,
        group: str | None = None,
        expires_at: datetime | None = None,
        batch: int | None = None,
        then: Sequence[Mapping[str, Any]] | None = None,
    ) -> SubmittedFile:
        """Submit a file, or bytes under a `name`, as a job, and upload what the server does not have yet.

        `type` is the job's, by default what the suffix says; `options` are what the converter is to do, `requires`
        what the labels of its worker must hold, `group` whose job it is: groups take turns; no worker is given the
        job before `not_before`, and it is dead if none was by `expires_at` (without a zone: of this machine's). It
        comes to the `batch` with this id (`make_batch`). `then` are the steps that follow it (`submit_job`). The same
        bytes submitted twice with the same type and options are one job (`existing`).
        Raises ValueError (no suffix that tells the type), OSError, ChecksumMismatch (the file changed meanwhile) and
        what all calls raise.
        """
        shown = name or ("" if isinstance(file, bytes) else os.fspath(file))
        type = type or PurePath(shown).suffix.lower().lstrip(".")
        if not type:
            raise ValueError(
                f"nothing tells the type of {shown or 'these bytes'}: give type, or a name with a suffix"
            )
        about: dict[str, Any] = {
            "priority": priority,
            "max_attempts": max_attempts,
            "tags": tags,
            "metadata": metadata,
            "options": options,
            "requires": requires,
            "not_before": not_before,
            "group": group,
            "expires_at": expires_at,
            "batch": batch,
            "then": then,
            "name": name,
        }
        if not isinstance(file, bytes):
            return await submit_file(self, Path(file), type, **about)
        with tempfile.TemporaryDirectory(prefix="blobforge-") as folder:
            path = Path(folder) / "source"
            path.write_bytes(file)
            return await submit_file(self, path, type, **about | {"name": shown or None})

    async def jobs(self, **filters: Unpack[JobFilters]) -> AsyncIterator[Job]:
        """All jobs that match, by priority and then newest first, page after page as they are read."""
        cursor = None
        while True:
            page = await self.list_jobs(**filters, limit=_PAGE, cursor=cursor)
            for job in page.jobs:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    async def wait(self, job: AJob, *, timeout: float | None = None) -> Job:
        """The job when it has ended: completed, dead or cancelled. Raises TimeoutError after `timeout` seconds."""
        async for ended in self.wait_each([job], timeout=timeout):
            return ended
        raise AssertionError("one was asked for")

    async def wait_batch(self, batch_id: int, *, timeout: float | None = None) -> BatchInfo:
        """The batch when it has ended; it does once it is closed. Raises TimeoutError after `timeout` seconds."""
        deadline = trio.current_time() + timeout if timeout is not None else float("inf")
        pause = _FIRST_LOOK
        while not (batch := await self.get_batch(batch_id)).ended:
            if trio.current_time() >= deadline:
                raise TimeoutError(
                    f"batch {batch_id} has not ended after {timeout:g} s: {batch.unfinished} jobs left"
                )
            pause = min(pause * 1.5, _RAREST_LOOK)
            await trio.sleep(min(pause, max(deadline - trio.current_time(), 0)))
        return batch

    async def wait_each(self, jobs: Iterable[AJob], *, timeout: float | None = None) -> AsyncIterator[Job]:
        """Each of these jobs when it has ended, in the order in which they are seen to end.

        Raises TimeoutError when some have not after `timeout` seconds in all, and ApiError for one that was deleted.
        """
        pending = deque(dict.fromkeys(_id_of(job) for job in jobs))
        deadline = trio.current_time() + timeout if timeout is not None else float("inf")
        pause = _FIRST_LOOK
        while pending:
            looked = [pending.popleft() for _ in range(min(_WINDOW, len(pending)))]
            found = await self._look_at(looked)
            left = [job.id for job in found if job.status not in FINAL_STATUSES]
            for job in found:
                if job.status in FINAL_STATUSES:
                    yield job
            pending.extendleft(reversed(left))
            if not left:
                continue
            if trio.current_time() >= deadline:
                raise TimeoutError(f"{len(pending)} jobs have not ended after {timeout:g} s; the first is {left[0]}")
            pause = _FIRST_LOOK if len(left) < len(looked) else min(pause * 1.5, _RAREST_LOOK)
            await trio.sleep(min(pause, max(deadline - trio.current_time(), 0)))

    async def results(self, **filters: Unpack[JobFilters]) -> AsyncIterator[JobResult]:
        """The results of all jobs that match, of completed ones unless `status` says otherwise; `fetch` and `save`
        take them. Of several outputs it is the main one; `outputs` has all."""
        cursor = None
        while True:
            wanted: Any = {"status": "completed"} | filters
            page = await self.list_jobs(**wanted, limit=_PAGE, cursor=cursor)
            jobs = [job for job in page.jobs if job.output_key is not None]
            links = await self.download_urls([job.id for job in jobs]) if jobs else []
            for job, link in zip(jobs, links, strict=True):
                if link.error is None:  # else it was deleted in between
                    yield _result(job, link)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def follow(self, *, types: Sequence[str] = (), job: int | None = None) -> AsyncIterator[ServerEvent]:
        """The live events as they come, of these types (all), about this job (all), without end. After `resync`, some
        may have been missed."""
        async with self.events(types=types, job=job) as stream:
            while True:
                yield await stream.next()

    async def result_of(self, job: AJob) -> JobResult:
        """The result of one job. ApiError `no-such-object` (404): it has none."""
        return _result(*await self._main_of(job))

    async def outputs(self, job: AJob) -> AsyncIterator[JobResult]:
        """All outputs of one job's result: the main one first, then by name; the only one of most jobs. `fetch` and
        `save` take them.

        ApiError `no-such-object` (404): it has none. `replaced` (409): the job was converted again meanwhile, so that
        the others would be another result's.
        """
        whole, main = await self._main_of(job)
        yield _result(whole, main)
        if main.name is None:
            return
        cursor: str | None = ""
        while cursor is not None:
            page = await self.output_page(whole.id, cursor=cursor)
            named = [(whole.id, each.name) for each in page.outputs if each.name != main.name]
            links = await self.output_urls(named) if named else []
            for link in links:
                if link.error is not None or link.attempt_key != main.attempt_key:
                    raise ApiError(409, "replaced", f"Job {whole.id} was converted again meanwhile.")
                yield _result(whole, link)
            cursor = page.next_cursor

    async def fetch(self, result: JobResult | AJob) -> bytes:
        """The bytes of a result, verified: for small ones."""
        found = result if isinstance(result, JobResult) else await self.result_of(result)
        return await self.read(found.url, sha256=found.sha256)

    async def save(self, result: JobResult | AJob, to: str | os.PathLike[str] = ".") -> Path:
        """Write a result to the file `to`, or into the folder `to` under the worker's name for it; returns the path.

        It appears there whole and verified, or not at all, and replaces what was there. One of `outputs` keeps the
        folders of its name. Of a job with several outputs it is the main one.
        """
        found = result if isinstance(result, JobResult) else await self.result_of(result)
        path = await trio.to_thread.run_sync(_target, to, found)
        await self.download(found.url, path, sha256=found.sha256)
        return path

    async def manifest(
        self, *, completed_since: str | None = None, **filters: Unpack[JobFilters]
    ) -> AsyncIterator[bytes]:
        """The manifest of all jobs that match, piece by piece, to be written to a file as it comes.

        Raises ServerUnreachable where it ends without its last line, which signs it.
        """
        path, tail = "/api/results/manifest", b""
        params = without_none(completed_since=completed_since, **filters)
        async with aclosing(self._pieces(path, MANIFEST_TYPE, params)) as pieces:
            async for chunk in pieces:
                tail = (tail + chunk)[-_LAST_LINE:]
                yield chunk
        if not is_end(_last_line(tail)):
            raise ServerUnreachable(f"{self.base_url}{path}", "the manifest ended before its last line")

    async def export_jobs(
        self, *, format: Literal["csv", "ndjson"] = "csv", columns: Sequence[str] = (), **filters: Unpack[JobFilters]
    ) -> AsyncIterator[bytes]:
        """All jobs that match as a table, by id, piece by piece: `csv`, or `ndjson` (a JSON object a line).

        `columns`: those of `GET /api/jobs/export`, the id before them; none: all. Raises ServerUnreachable where the
        server had to end it early.
        """
        path, tail = "/api/jobs/export", b""
        params = without_none(format=format, columns=",".join(columns) or None, **filters)
        async with aclosing(self._pieces(path, _TABLES[format], params)) as pieces:
            async for chunk in pieces:
                tail = (tail + chunk)[-_LAST_LINE:]
                yield chunk
        if _ended_early(_last_line(tail)):
            raise ServerUnreachable(f"{self.base_url}{path}", "the server ended the table early")

    async def _pieces(self, path: str, kind: str, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """An answer of this media type that takes as long as it takes."""
        response = await self._transport.open(
            path,
            params=params,
            headers={"Accept": kind, "Cache-Control": "no-store"},
            silence=_SILENCE,
            patience=self._patience,
        )
        try:
            chunks = response.aiter_bytes()
            while True:
                with unreachable_as_client_error(response.url):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            with trio.move_on_after(1, shield=True):
                await response.aclose()

    async def save_manifest(
        self, to: str | os.PathLike[str], *, completed_since: str | None = None, **filters: Unpack[JobFilters]
    ) -> Path:
        """Write the manifest of all jobs that match to the file `to`, whole or not at all, and return its path.

        `blobforge results verify` says whether a folder holds what it lists.
        """
        return await _save_pieces(self.manifest(completed_since=completed_since, **filters), to)

    async def save_export(
        self,
        to: str | os.PathLike[str],
        *,
        format: Literal["csv", "ndjson"] = "csv",
        columns: Sequence[str] = (),
        **filters: Unpack[JobFilters],
    ) -> Path:
        """Write all jobs that match as a table to the file `to`, whole or not at all, and return its path."""
        return await _save_pieces(self.export_jobs(format=format, columns=columns, **filters), to)

    async def _main_of(self, job: AJob) -> tuple[Job, FileLink]:
        whole = job if isinstance(job, Job) else await self.get_job(_id_of(job))
        (link,) = await self.download_urls([whole.id])
        if link.error is not None:
            raise ApiError(link.status_code, link.type.rpartition(":")[2], link.error)
        return whole, link

    async def _look_at(self, ids: Sequence[int]) -> list[Job]:
        slots = trio.Semaphore(_SIDE_BY_SIDE)
        jobs: dict[int, Job] = {}

        async def look(job_id: int) -> None:
            async with slots:
                jobs[job_id] = await self.get_job(job_id)

        with unwrapped():
            async with trio.open_nursery() as nursery:
                for job_id in ids:
                    nursery.start_soon(look, job_id)
        return [jobs[job_id] for job_id in ids]


def _result(job: Job, link: FileLink) -> JobResult:
    return JobResult(
        job=job,
        filename=link.filename,
        url=link.url,
        name=link.name,
        size=link.size,
        sha256=link.sha256,
    )


def _target(to: str | os.PathLike[str], result: JobResult) -> Path:
    """The file to write to; a folder is made."""
    path = Path(to)
    if not os.fspath(to).endswith(("/", os.sep)) and not path.is_dir():
        return path
    *folders, name = result.name.split("/") if result.name is not None else [result.filename]
    path = path.joinpath(*filter(None, map(safe, folders)))
    path.mkdir(parents=True, exist_ok=True)
    return path / (safe(name) or f"job-{result.job.id}.output")


def _id_of(job: AJob) -> int:
    match job:
        case int():
            return job
        case Job():
            return job.id
        case _:
            return job.job_id


def _found(token: str | None, *, anonymous: bool) -> tuple[str, str | None]:
    """The server that is meant where none is named, and the token for it. Raises ValueError."""
    try:
        login = login_file.load()
        server = credentials.server(os.environ.get("BLOBFORGE_SERVER_URL"), login)
        token = token or os.environ.get("BLOBFORGE_API_TOKEN") or None
        if token is None and not anonymous:
            kept = credentials.token(server, login)
            token = kept.token if kept is not None else None
    except login_file.LoginError as error:
        raise ValueError(str(error)) from error
    return server, token


async def _save_pieces(pieces: AsyncIterator[bytes], to: str | os.PathLike[str]) -> Path:
    """Write them to that file, whole or not at all."""
    path = Path(to)
    part = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with naming(path):
            async with await trio.open_file(part, "xb") as file:
                async for chunk in pieces:
                    await file.write(chunk)
        await trio.to_thread.run_sync(os.replace, part, path)
    finally:
        with trio.move_on_after(1, shield=True):
            await trio.Path(part).unlink(missing_ok=True)
    return path


def _ended_early(line: bytes) -> bool:
    """Whether a table's last line says so. A text of several lines that ends alike has the quote that ends it."""
    return line.startswith(b'{"cut_off":') or (line.startswith(b"CUT OFF: ") and b'"' not in line)


def _last_line(tail: bytes) -> bytes:
    return tail[tail[:-1].rfind(b"\n") + 1 :]
