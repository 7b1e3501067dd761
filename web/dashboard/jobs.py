"""Jobs: the list with its filters, one job with all that is known of it, and its files."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from quart import Response
from werkzeug.datastructures import MultiDict

from blobforge.access import Scope
from blobforge.job import Job, JobStatus, no_such_job
from blobforge.life import cancelled_for
from blobforge.refusals import Refusal, RefusalCode
from blobforge.requirements import words
from blobforge.store.lists import MOST_FOUND, NEWEST, PAGE_BYTES
from blobforge.store.reading import MOST_LOOKED_AT, MOST_SPLIT, Reader
from blobforge.store.sorting import took
from blobforge.texts import job_id
from web.api import chains, encode, families, files, logs, wire_jobs, wire_logs
from web.api import jobs as api
from web.api.insights import read_failure
from web.api.timeline import reading_timeline
from web.api.wire_chains import MOST_NAMES, ChainCheckBody, ChainCheckWire
from web.api.wire_insights import FailureDetailWire
from web.dashboard import comparison, suggestions
from web.dashboard.jobtable import COLUMNS, DENSITIES, choose, order_words, table_of
from web.dashboard.page import framed, page
from web.dashboard.remedies import remedies
from web.decode import query
from web.html import redirect
from web.routing import Access, Call, Route

LOCAL = len("2026-11-23T10:00")  # what a browser's field for a time sends: no zone
MOST_COUNTED = 100_000  # jobs that are not in the index of texts yet
TIMES = ("created_since", "created_until", "updated_since", "updated_until")


async def listed(call: Call) -> Response | Refusal:
    given = {
        name: value
        for name, value in call.request.args.items()
        if value and name in wire_jobs.ListQuery.__struct_fields__
    }
    wanted = query(MultiDict({name: _zoned(name, value) for name, value in given.items()}), wire_jobs.ListQuery)
    if isinstance(wanted, Refusal):
        return wanted
    if wanted.status is not None and wanted.status not in set(JobStatus):
        # To a program it is a list of none; a person is told, for the form could not show what was asked.
        text = f"There is no status {wanted.status!r}. There are {', '.join(JobStatus)}."
        return Refusal(RefusalCode.INVALID, text, field="status")
    find = api.finding(wanted)
    if isinstance(find, Refusal):
        return find
    now = call.services.now()
    number = job_id(wanted.q) if wanted.q is not None else None

    def read(reader: Reader) -> tuple[Any, Any, FailureDetailWire | None, Job | None, int, list[str], Any]:
        """The page of jobs, the cause that they were asked for by, the job whose number was looked for, how many jobs
        are not in the index of texts yet, where that has to do with what was found, the types, and what filters may
        be about."""
        found, ends = api.with_ends(find, reader, now=now)
        cause = read_failure(reader, wanted.failure) if wanted.failure is not None else None
        numbered = reader.job_in_short(number) if number is not None else None
        behind = reader.texts.unindexed(most=MOST_COUNTED) if wanted.q is not None and found.next else 0
        return found, ends, cause, numbered, behind, reader.types.names(), suggestions.first(reader)

    totals, (found, ends, cause, numbered, behind, types, suggested) = await framed(call, read)
    table = table_of(call, wanted.sort)
    filters = {name: value for name, value in given.items() if name not in ("cursor", "limit", "offset", "sort")}
    zoned = {name: _zoned(name, value) for name, value in filters.items()}
    kept = {name: value for name, value in given.items() if name not in ("cursor", "offset")} | table.said
    unsorted = {name: value for name, value in kept.items() if name != "sort"}
    following = urlencode(kept | {"cursor": api.encode_cursor(found.next)}) if found.next is not None else None
    return await page(
        call,
        "jobs.html",
        title="Jobs",
        place="/jobs",
        totals=totals,
        found=found,
        ends=ends,
        cause=cause,
        numbered=numbered,
        behind=behind if behind > MOST_FOUND else 0,
        most_behind=MOST_COUNTED,
        looked_at=MOST_LOOKED_AT if found.total > MOST_LOOKED_AT else None,
        most_split=MOST_SPLIT,
        given=filters,
        zoned=zoned,
        exports={
            kind: f"/api/jobs/export?{urlencode(zoned | {'format': kind, 'columns': table.exported})}"
            for kind in ("csv", "ndjson")
        },
        manifest=f"/api/results/manifest?{urlencode(zoned)}",
        statuses=list(JobStatus),
        types=types,
        table=table,
        suggestions=suggested,
        columns=COLUMNS,
        densities=DENSITIES,
        orders=order_words(wanted.sort),
        sorted_by=lambda sort: f"/jobs?{urlencode(unsorted | {'sort': sort})}",
        took=took,
        first=f"/jobs?{urlencode(kept)}" if wanted.cursor is not None else None,
        following=f"/jobs?{following}" if following is not None else None,
    )


def _zoned(name: str, value: str) -> str:
    """A time of a form is in UTC, as all times of the pages are."""
    return f"{value}:00Z" if name in TIMES and len(value) == LOCAL else value


MOST_LOG = 16_384  # characters of a log that the page of its job begins with
MOST_PATHS = 50  # that the page of one job lists
MOST_CHILDREN = 50  # the same
MOST_BELOW = 200  # that are looked at to say how many have not ended


async def shown(call: Call) -> Response | Refusal:
    job_id = call.params["job_id"]

    given = call.request.args.get("before", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else NEWEST
    wanted = query(MultiDict({"cursor": call.request.args.get("events", "")}), wire_jobs.TimelineQuery)
    read_timeline = wanted if isinstance(wanted, Refusal) else reading_timeline(job_id, wanted)
    if isinstance(read_timeline, Refusal):
        return read_timeline
    now, source_until = call.services.now(), api.awaited_until(call, job_id)

    def read(reader: Reader) -> dict[str, Any] | None:
        found, happened = (
            reader.job_with_attempts(job_id, before=before, most_result=PAGE_BYTES),
            read_timeline(reader),
        )
        if found is None or happened is None:
            return None
        job, attempts = found
        return {
            "job": job,
            "paths": [path for _, path in reader.paths(job.id, limit=MOST_PATHS)] if job.more_paths else [],
            "attempts": [encode.cut(each) for each in reversed(attempts)],
            "older": attempts[0].attempt if attempts and attempts[0].attempt > 1 and len(attempts) > 1 else None,
            "events": list(reversed(happened[0])),
            "earlier": happened[1],
            "requires": words(job.requires),
            "children": api.children_of(reader, job, limit=MOST_CHILDREN + 1),
            "would_start": _would_start(call, reader, job),
            "below": families.open_below(reader, job, most=MOST_BELOW),
            "waits_to_start": job.waits_to_start,
            "expires_at": job.expiry,
            "cancelled_for": cancelled_for(job),
            "expected": api.expected_ends(reader, [job], now=now).get(job_id),
            "waiting": api.why_waiting(reader, job, source_until=source_until, now=now),
            **comparison.of_page(reader, job),
        }

    totals, found = await framed(call, read)
    if found is None:
        return no_such_job(job_id)
    chosen = call.request.args.get("diff", "")
    live = _live_log(call, found["job"])
    caller, waiting = call.caller, found["waiting"]
    ways = remedies(found["job"], waiting, may_act=caller.may(Scope.SUBMIT), admin=caller.is_admin) if waiting else []
    return await page(
        call, "job.html", title=f"Job {job_id}", place="/jobs", totals=totals, chosen=chosen, live=live,
        remedies=ways, before=before != NEWEST, events_before="events" in call.request.args, **found,
    )  # fmt: skip


def _would_start(call: Call, reader: Reader, job: Job) -> ChainCheckWire | None:
    """What a completion of the job would start; None: nothing follows it, or it is completed. With the outputs that
    its attempt has told of so far, unless they are very many."""
    if job.chain is None or not job.chain.then or job.status is JobStatus.COMPLETED:
        return None
    asked, most_types = ChainCheckBody(job=job.id), call.services.settings.max_types
    found = chains.would_start(reader, asked, most_types=most_types, most_names=MOST_NAMES)
    return None if isinstance(found, Refusal) else found


def _live_log(call: Call, job: Job) -> dict[str, Any] | None:
    """The end of what the attempt that runs has printed; the page's script goes on from there."""
    if job.status is not JobStatus.RUNNING:
        return None
    log = call.services.live_logs.of(job.id, job.lease)
    text = log.after(log.end - MOST_LOG).text if log is not None else ""
    return {"text": text, "end": log.end if log is not None else 0, "alone": not call.services.presence.has_company}


async def log_text(call: Call) -> Response | Refusal:
    """The log of the latest attempt as a file, as far as it is known."""
    found = await logs.log_of(call, wire_logs.LogQuery())
    if isinstance(found, Refusal):
        return found
    name = f"job-{found.job_id}-attempt-{found.attempt or 0}.log"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(found.text, headers=headers, content_type="text/plain; charset=utf-8")


async def file(call: Call) -> Response | Refusal:
    """Redirect to the signed URL of the source or the output."""
    outcome = await files.download(call)
    return outcome if isinstance(outcome, Refusal) else redirect(outcome.url)


ROUTES = [
    Route("GET", "/jobs", Access.READ, listed, "The jobs page", gives=str, page=True, query=wire_jobs.ListQuery),
    Route("POST", "/do/jobs/view", Access.READ, choose, "Choose the columns and the density of the table of jobs",
          gives=str, page=True, hidden=True),
    Route("GET", "/jobs/<id:job_id>", Access.READ, shown, "The page of one job", gives=str, page=True),
    Route("GET", "/jobs/<id:job_id>/log", Access.READ, log_text, "The log of its latest attempt, as a file",
          gives=str, page=True),
    Route("GET", "/jobs/<id:job_id>/<any(source,output):kind>", Access.READ, file,
          "Leads to the source or the output", gives=str, page=True),
]  # fmt: skip
