"""The results of a batch with signed URLs to fetch them by: as JSON lines, and as a shell script.

Read page by page, as the manifest is, and signed page by page: what is held is one page, however large the batch is,
and no URL is older than the line that it stands in. Names are those of `blobforge results download`: of two results
with one name the second goes by `apart`, which has its job's id in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any, Final

import msgspec
from quart import Response

from blobforge import resultnames
from blobforge.batch import no_such_batch
from blobforge.chain import known_hash
from blobforge.job import MOST_PATHS, Job, JobStatus
from blobforge.manifest import MANIFEST_TYPE
from blobforge.objects.keys import name_in
from blobforge.outputs import MOST
from blobforge.refusals import Refusal
from blobforge.store.filters import JobFilter
from blobforge.store.reading import Reader
from web.api import encode, fetchscript, files, wire_batches, wire_files
from web.decode import query
from web.limits import SMALL
from web.long_answers import StillAllowed, long_answer
from web.routing import Access, Call, Route

SCRIPT_TYPE: Final = "application/x-sh"
PAGE: Final = 500  # jobs
SIGNED: Final = 500  # in one request
MOST_OUTPUTS: Final = 10_000  # of one page, and those of its last job
_GONE: Final = "no-such-job"


class ToFetch(msgspec.Struct, frozen=True):
    """A job that has a result. `paths`: the further ones of its source. `named`: its several outputs; None: it has
    one, without a name of its own."""

    job: Job
    paths: list[str]
    named: list[str] | None


class Results(msgspec.Struct, frozen=True):
    """Some lines, how many of them are files, and the job behind which to go on (None: these were all)."""

    lines: list[wire_batches.BatchResult]
    following: int | None


async def listed(call: Call) -> Response | Refusal:
    """A line of JSON for each file, by the ids of the jobs, and a last line that says that nothing is missing."""
    wanted = query(call.request.args, wire_batches.BatchResultsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    return await _streamed(call, lambda batch_id: _json_lines(call, batch_id, wanted.cursor), MANIFEST_TYPE, "ndjson")


async def script(call: Call) -> Response | Refusal:
    """A script for `sh` that fetches all of them: with the URLs of the first page, and the way to ask for the others.
    `part`: only the commands for one page, which that script asks for."""
    wanted = query(call.request.args, wire_batches.BatchScriptQuery)
    if isinstance(wanted, Refusal):
        return wanted
    return await _streamed(call, lambda batch_id: _shell_lines(call, batch_id, wanted), SCRIPT_TYPE, "sh")


async def _streamed(
    call: Call, lines: Callable[[int], AsyncIterator[bytes]], type_: str, suffix: str
) -> Response | Refusal:
    batch_id = call.params["batch_id"]
    if await call.services.reads.run(lambda reader: reader.batches.get(batch_id)) is None:
        return no_such_batch(batch_id)
    name = f"results-of-batch-{batch_id}.{suffix}"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return long_answer(call, lambda room: _held(room, lines(batch_id)), headers=headers, type_=type_)


async def _held(room: ExitStack, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines, in pieces that no reader is held to be slow for."""
    with room:
        waiting = bytearray()
        async for each in lines:
            waiting += each
            while len(waiting) >= SMALL:
                yield bytes(waiting[:SMALL])
                del waiting[:SMALL]
        if waiting:
            yield bytes(waiting)


async def _json_lines(call: Call, batch_id: int, after: int) -> AsyncIterator[bytes]:
    count, following = 0, after
    allowed = StillAllowed(call)
    while True:
        if not await allowed.look():
            return  # without a last line
        page = await _page(call, batch_id, following)
        for each in page.lines:
            count += each.url is not None
            yield msgspec.json.encode(each) + b"\n"
        if page.following is None:
            break
        following = page.following
    yield msgspec.json.encode(wire_batches.BatchResultsEnd(files=count)) + b"\n"


async def _shell_lines(call: Call, batch_id: int, wanted: wire_batches.BatchScriptQuery) -> AsyncIterator[bytes]:
    ends = call.services.now() // 1000 + round(call.services.settings.url_lifetime)
    page = await _page(call, batch_id, wanted.cursor)
    if not wanted.part:
        yield fetchscript.head(call.base_url, batch_id, ends=ends, whole=page.following is None).encode()
    for each in page.lines:
        yield fetchscript.line(each).encode()
    yield fetchscript.following(page.following).encode()
    if not wanted.part:
        yield fetchscript.foot().encode()


async def _page(call: Call, batch_id: int, after: int) -> Results:
    filter_ = JobFilter(batch=batch_id, status=JobStatus.COMPLETED)
    jobs, following = await call.services.reads.moment(_reading(filter_, after))
    wanted = [
        (each, wire_files.WantedUrl(each.job.id, "output", name))
        for each in jobs
        for name in (each.named if each.named is not None else [None])
    ]
    lines: list[wire_batches.BatchResult] = []
    for start in range(0, len(wanted), SIGNED):
        some = wanted[start : start + SIGNED]
        until = encode.rfc3339(call.services.now() + round(call.services.settings.url_lifetime) * 1000)
        answers = await files.download_many(call, wire_files.WantedUrls([asked for _, asked in some]))
        for (each, asked), answer in zip(some, answers.items, strict=True):
            lines += _lines(each, asked.name, answer, until)
    return Results(lines, following)


def _reading(filter_: JobFilter, after: int) -> Callable[[Reader], tuple[list[ToFetch], int | None]]:
    def read(reader: Reader) -> tuple[list[ToFetch], int | None]:
        found, following = reader.jobs_by_id(filter_, after=after, limit=PAGE)
        jobs: list[ToFetch] = []
        many = 0
        for job in found:
            if job.output_key is None:
                continue
            if many >= MOST_OUTPUTS:
                return jobs, jobs[-1].job.id
            named = None
            if name_in(job.output_key) is not None and job.result_attempt is not None:
                page = reader.outputs.page(job.id, job.result_attempt, after="", limit=MOST)
                named = [each.name for each in page]
            paths = [path for _, path in reader.paths(job.id, limit=MOST_PATHS)] if job.more_paths else []
            jobs.append(ToFetch(job, paths, named))
            many += (1 if named is None else len(named)) * (1 + len(paths))
        return jobs, following

    return read


def _lines(wanted: ToFetch, name: str | None, answer: dict[str, Any], until: str) -> list[wire_batches.BatchResult]:
    """A line for each path of the source beside which the file belongs; one that says why where there is no URL, and
    none where the job is gone by now."""
    job = wanted.job
    if "url" not in answer:
        if str(answer.get("type", "")).endswith(_GONE):
            return []
        return [wire_batches.BatchResult(job.id, error=str(answer.get("error")))]
    paths = [job.source_path, *wanted.paths]
    placed = dict.fromkeys(_names(job, path, name, answer["filename"]) for path in paths)
    return [
        wire_batches.BatchResult(
            job.id, name=own, apart=apart, url=answer["url"], size=answer.get("size"), sha256=answer.get("sha256"),
            expires_at=until,
        )
        for own, apart in placed
    ]  # fmt: skip


def _names(job: Job, path: str | None, name: str | None, filename: str) -> tuple[str, str]:
    """Where a file goes, and where it goes if another job's is there. Several outputs have a folder of their job."""
    source_hash = known_hash(job.source_hash)
    if name is not None:
        folder, inside = resultnames.place_of_several(
            "path", job_id=job.id, source_hash=source_hash, source_path=path, name=name
        )
        own = "/".join((*folder[:-1], resultnames.apart(folder[-1], job.id), *inside))
        return own, own
    called = resultnames.name_beside(path, first=job.source_path, filename=filename)
    *folders, last = resultnames.place(
        "path", job_id=job.id, source_hash=source_hash, source_path=path, filename=called
    )
    return "/".join((*folders, last)), "/".join((*folders, resultnames.apart(last, job.id)))


ROUTES = [
    Route("GET", "/api/batches/<id:batch_id>/results", Access.READ, listed,
          "The results of a batch, each with its name and a signed URL: JSON lines", gives=str,
          kinds=(MANIFEST_TYPE,), query=wire_batches.BatchResultsQuery),
    Route("GET", "/api/batches/<id:batch_id>/results.sh", Access.READ, script,
          "A shell script that fetches the results of a batch by signed URLs", gives=str,
          kinds=(SCRIPT_TYPE,), query=wire_batches.BatchScriptQuery),
]  # fmt: skip
