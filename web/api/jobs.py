"""Jobs: submit, look, and what people do to them one by one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from actors.messages import (
    Batch,
    ChangeTags,
    JobChanged,
    Message,
    NewJob,
    ObjectSeen,
    Retry,
    Retype,
    SetPriority,
    SetRequirements,
    Submit,
    Submitted,
)
from blobforge import life
from blobforge.chain import Kin
from blobforge.forecast import Durations, Expected, expected_end
from blobforge.job import Job, JobStatus, no_such_job
from blobforge.objects.keys import source_key
from blobforge.objects.local import LocalStore
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import NEWEST, PAGE_BYTES, Cursor, Page
from blobforge.store.reading import Reader
from blobforge.waiting import Surroundings, Waiting, waiting
from web.api import encode, families, former, wire_common, wire_jobs
from web.api.grants import absolute
from web.api.secrets import new_undo
from web.api.seen import look, look_at_sources, looked_at
from web.decode import query
from web.problems import item_problem
from web.routing import Access, Call, Route

CHILDREN_SHOWN = 50
FIRST_CHILD = (0, -(2**31), "")  # behind which all are
MOST_CHILDREN = 100_000  # are counted
PATHS_SHOWN = 50  # of one job, beside what else there is of it


async def submit(call: Call, body: wire_jobs.SubmitBody) -> tuple[int, wire_jobs.SubmitAnswer] | Refusal:
    source = await look(
        call.services.objects,
        source_key(body.source_hash),
        expected_sha256=body.source_hash,
        epoch=call.services.janitor.epoch,
    )
    outcome = await call.ask(Submit(_new_job(call, body), source))
    if isinstance(outcome, Refusal):
        return outcome
    return (200 if outcome.existing else 201), _submitted(call, outcome, bind=body.bind_checksum)


async def submit_many(call: Call, body: wire_jobs.SubmitMany) -> wire_jobs.SubmittedItems | Refusal:
    # The store is asked about the sources that are held to be there: one that has vanished is sent again. Of the
    # others what we know decides, and the intake finds the rest.
    hashes = {item.source_hash for item in body.jobs}
    epoch = call.services.janitor.epoch
    held = await call.services.reads.run(lambda reader: reader.held_sources(hashes))
    seen = await look_at_sources(call.services.objects, held, epoch=epoch) if held else {}
    done = await call.ask(
        Batch(tuple(Submit(_new_job(call, item), seen.get(item.source_hash, ObjectSeen())) for item in body.jobs))
    )
    if isinstance(done, Refusal):
        return done
    items: list[wire_jobs.SubmitAnswer | dict[str, object]] = []
    for item, outcome in zip(body.jobs, done.items, strict=True):
        if isinstance(outcome, Refusal):
            items.append(item_problem(outcome))
        else:
            assert isinstance(outcome, Submitted)
            items.append(_submitted(call, outcome, bind=item.bind_checksum))
    return wire_jobs.SubmittedItems(items, small_sources=isinstance(call.services.objects, LocalStore))


def _new_job(call: Call, body: wire_jobs.SubmitBody) -> NewJob:
    options = encode.options_text(body.options)
    return NewJob(
        body.type,
        body.source_hash,
        body.source_path,
        body.source_size,
        body.priority,
        body.max_attempts,
        tuple(filter(None, body.tags or ())),
        encode.json_text(body.metadata, field="metadata", most=wire_common.MOST_METADATA),
        call.caller.subject,
        options,
        encode.requires_text(body.requires),
        *encode.times_ms(body.not_before, body.expires_at, now=call.services.now()),
        body.group,
        body.batch,
        encode.steps_of(body.type, options, body.then),
    )


def _submitted(call: Call, outcome: Submitted, *, bind: bool) -> wire_jobs.SubmitAnswer:
    if not outcome.upload:
        return wire_jobs.SubmitAnswer(
            job_id=outcome.job_id,
            existing=outcome.existing,
            status=outcome.status,
            left_out=outcome.left_out,
            requires=outcome.requires,
            ignored=outcome.ignored,
            batches=outcome.batches,
        )
    # Without being asked to, no header is signed: existing clients PUT with their own Content-Type and nothing else.
    objects = call.services.objects
    upload = objects.sign_upload(
        source_key(outcome.source_hash) if bind else objects.plain_source_key(outcome.source_hash),
        expires_in=round(call.services.settings.url_lifetime),
        sha256=outcome.source_hash if bind else None,
    )
    return wire_jobs.SubmitAnswer(
        job_id=outcome.job_id,
        existing=outcome.existing,
        status=outcome.status,
        upload_url=absolute(call, upload.url),
        upload_headers={"Content-Type": "application/octet-stream"} | upload.headers,
        left_out=outcome.left_out,
        requires=outcome.requires,
        ignored=outcome.ignored,
        batches=outcome.batches,
    )


async def uploaded(call: Call) -> wire_common.Status | Refusal:
    """The client says that the source is there; answered once it has been checked, or is being checked."""
    job_id = call.params["job_id"]
    job = await call.services.reads.run(lambda reader: reader.job(job_id))
    if job is None:
        return no_such_job(job_id)
    if job.status is not JobStatus.UPLOADING:
        if life.has_expired(job):
            return Refusal(
                RefusalCode.JOB_NOT_UPLOADING,
                f"Job {job_id} has expired: its source had not come by the time that its submission said. Submit it "
                "again, with another time or none.",
            )
        if life.never_started(job):
            return Refusal(
                RefusalCode.JOB_NOT_UPLOADING, f"Job {job_id} waited too long for its source. Submit it again."
            )
        return wire_common.Status(job.status)
    if job.waits_for_proof:
        return wire_common.Status(job.status)  # it is not uploaded: the server reads it
    outcome = await looked_at(call, job.source_hash)
    if isinstance(outcome, Refusal):
        return outcome
    now = await call.services.reads.run(lambda reader: reader.job(job_id))
    return wire_common.Status(now.status) if now is not None else no_such_job(job_id)


def finding(wanted: wire_jobs.ListQuery) -> Callable[[Reader], Page] | Refusal:
    """What reads one page of the jobs that match."""
    if wanted.status is not None and wanted.status not in set(JobStatus):
        return lambda reader: Page([], 0, True, None)
    filter_ = encode.job_filter(wanted, priority=wanted.priority)
    cursor = decode_cursor(wanted.cursor)
    if isinstance(cursor, Refusal):
        return cursor
    sort = wanted.sort
    if cursor.sort is not sort and wanted.cursor is not None:
        return WRONG_CURSOR
    if sort is None:
        return lambda reader: reader.list_jobs(filter_, limit=wanted.limit, cursor=cursor, offset=wanted.offset)
    if wanted.offset:
        return Refusal(RefusalCode.INVALID, "offset: a sorted list goes on by `cursor`.", field="offset")
    return lambda reader: reader.sorted_jobs(filter_, sort, limit=wanted.limit, cursor=cursor)


async def listed(call: Call) -> wire_jobs.JobsWire | Refusal:
    wanted = query(call.request.args, wire_jobs.ListQuery)
    if isinstance(wanted, Refusal):
        return wanted
    find = finding(wanted)
    if isinstance(find, Refusal):
        return find
    page, ends = await call.services.reads.moment(partial(with_ends, find, now=call.services.now()))
    return wire_jobs.JobsWire(
        jobs=[encode.job_wire(job, expected=ends.get(job.id)) for job in page.jobs],
        total=page.total,
        limit=wanted.limit,
        offset=wanted.offset,
        total_exact=page.exact,
        next_cursor=encode_cursor(page.next) if page.next is not None else None,
    )


async def shown(call: Call) -> wire_jobs.JobWire | Refusal:
    job_id, now = call.params["job_id"], call.services.now()
    source_until = awaited_until(call, job_id)

    def read(reader: Reader) -> wire_jobs.JobWire | None:
        found = reader.job_with_attempts(job_id, most_result=PAGE_BYTES)
        if found is None:
            return None
        job, attempts = found
        return encode.job_wire(
            job,
            attempts,
            attempts_total=reader.count_attempts(job_id),
            expected=expected_ends(reader, [job], now=now).get(job_id),
            waiting=why_waiting(reader, job, source_until=source_until, now=now),
            paths=paths_of(reader, job, limit=PATHS_SHOWN) if job.more_paths else None,
            children=children_of(reader, job, limit=CHILDREN_SHOWN),
            children_total=reader.kin.count(job.id, most=MOST_CHILDREN) if job.chain is not None else 0,
        )

    return await call.services.reads.moment(read) or no_such_job(job_id)


async def attempts(call: Call) -> wire_jobs.AttemptsWire | Refusal:
    """The records of a job's attempts, whole, page by page."""
    job_id = call.params["job_id"]
    wanted = query(call.request.args, wire_jobs.AttemptsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    before = wanted.cursor if wanted.cursor is not None else NEWEST

    def read(reader: Reader) -> wire_jobs.AttemptsWire | None:
        if reader.job(job_id) is None:
            return None
        found = reader.attempts(job_id, before=before, limit=wanted.limit)
        more = found and reader.attempts(job_id, before=found[-1].attempt, limit=1)
        shown = [encode.attempt_wire(each) for each in found]
        following = found[-1].attempt if more else None
        return wire_jobs.AttemptsWire(attempts=shown, total=reader.count_attempts(job_id), next_cursor=following)

    return await call.services.reads.moment(read) or no_such_job(job_id)


async def paths(call: Call) -> wire_jobs.PathsWire | Refusal:
    """All paths of a job's source, page by page."""
    job_id = call.params["job_id"]
    wanted = query(call.request.args, wire_jobs.PathsQuery)
    if isinstance(wanted, Refusal):
        return wanted

    def read(reader: Reader) -> wire_jobs.PathsWire | None:
        job = reader.job_in_short(job_id)
        if job is None:
            return None
        # The first one stands in the job itself.
        first = [job.source_path] if wanted.cursor is None and job.source_path is not None else []
        found = reader.paths(job_id, after=wanted.cursor or 0, limit=wanted.limit - len(first))
        last = found[-1][0] if found else wanted.cursor or 0
        total = job.more_paths + (job.source_path is not None)
        following = last if last < job.more_paths else None
        return wire_jobs.PathsWire(paths=[*first, *(path for _, path in found)], total=total, next_cursor=following)

    return await call.services.reads.moment(read) or no_such_job(job_id)


async def children(call: Call) -> wire_jobs.ChildrenWire | Refusal:
    """What came of a job's outputs, page by page."""
    job_id = call.params["job_id"]
    wanted = query(call.request.args, wire_jobs.ChildrenQuery)
    if isinstance(wanted, Refusal):
        return wanted
    after = FIRST_CHILD
    if wanted.cursor is not None:
        attempt, step, name = wanted.cursor.split(":", 2)
        after = (int(attempt), int(step), name)

    def read(reader: Reader) -> wire_jobs.ChildrenWire | None:
        job = reader.job_in_short(job_id)
        if job is None:
            return None
        found = reader.kin.of(job_id, after=after, limit=wanted.limit + 1) if job.chain is not None else []
        shown, more = found[: wanted.limit], len(found) > wanted.limit
        last = shown[-1] if more else None
        return wire_jobs.ChildrenWire(
            children=_children(reader, job, shown),
            total=reader.kin.count(job_id, most=MOST_CHILDREN),
            next_cursor=f"{last.attempt}:{last.step}:{last.name}" if last is not None else None,
        )

    return await call.services.reads.moment(read) or no_such_job(job_id)


def children_of(reader: Reader, job: Job, *, limit: int) -> list[wire_jobs.ChildWire]:
    """The first of what came of a job's outputs."""
    return _children(reader, job, reader.kin.of(job.id, limit=limit)) if job.chain is not None else []


def _children(reader: Reader, job: Job, kins: list[Kin]) -> list[wire_jobs.ChildWire]:
    found = []
    for kin in kins:
        child = reader.job_in_short(kin.job_id)
        if child is not None:
            former = kin.attempt != job.result_attempt
            joins = kin.step < 0
            name = "" if joins else kin.name
            rest = child.chain.rest if child.chain is not None else None
            to_come = rest.left if rest is not None else 0
            found.append(wire_jobs.ChildWire(child.id, child.type, child.status, name, former, joins, to_come))
    return found


def paths_of(reader: Reader, job: Job, *, limit: int) -> list[str]:
    """The first paths of a job's source."""
    first = [job.source_path] if job.source_path is not None else []
    return [*first, *(path for _, path in reader.paths(job.id, limit=limit - len(first)))]


async def result(call: Call) -> msgspec.Raw | Refusal:
    """A job's result as the worker sent it, whatever its size."""
    job_id = call.params["job_id"]
    wanted = query(call.request.args, wire_jobs.ResultQuery)
    if isinstance(wanted, Refusal):
        return wanted

    def look(reader: Reader) -> tuple[Job, str | None] | Refusal:
        kept = reader.result(job_id, former=wanted.former)
        return kept or former.missing(reader, job_id, former=wanted.former)

    found = await call.services.reads.moment(look)
    if isinstance(found, Refusal):
        return found
    job, text = found
    if text is None:
        return Refusal(RefusalCode.NO_SUCH_OBJECT, f"Job {job_id} ({job.status}) has no result.")
    return msgspec.Raw(text.encode())


def with_ends(find: Callable[[Reader], Page], reader: Reader, *, now: int) -> tuple[Page, dict[int, Expected]]:
    """A page of jobs, and when the running ones of it will have ended."""
    page = find(reader)
    return page, expected_ends(reader, page.jobs, now=now)


def expected_ends(
    reader: Reader, jobs: list[Job], *, now: int, durations: Mapping[str, Durations] | None = None
) -> dict[int, Expected]:
    """When the running ones among these jobs will probably have ended; those of which that can be said. `durations`,
    where they have been read already."""
    if not any(job.status is JobStatus.RUNNING for job in jobs):
        return {}
    durations = durations if durations is not None else reader.insights.durations(now=now)
    ends = {job.id: expected_end(job, durations.get(job.type), now=now) for job in jobs}
    return {job_id: end for job_id, end in ends.items() if end is not None}


async def why(call: Call) -> wire_jobs.WhyWire | Refusal:
    job_id, now = call.params["job_id"], call.services.now()
    source_until = awaited_until(call, job_id)

    def read(reader: Reader) -> wire_jobs.WhyWire | None:
        job = reader.job(job_id)
        if job is None:
            return None
        found = why_waiting(reader, job, source_until=source_until, now=now)
        return wire_jobs.WhyWire(job.id, job.status, encode.waiting_wire(found))

    return await call.services.reads.moment(read) or no_such_job(job_id)


def awaited_until(call: Call, job_id: int) -> int | None:
    """Until when (ms) the job's source is awaited, as the reaper has it: changes to the job do not put it off, a
    restart of the server does."""
    left = call.services.source_awaited_for(job_id)
    return call.services.now() + round(left * 1000) if left is not None else None


def why_waiting(reader: Reader, job: Job, *, source_until: int | None, now: int) -> Waiting | None:
    """Why the job does not run; None when it does, or has ended."""
    around = reader.insights.surroundings(job) if job.status is JobStatus.PENDING else Surroundings()
    return waiting(job, around, source_until=source_until, now=now)


async def retry(call: Call, body: wire_jobs.RetryBody) -> wire_common.Changed | Refusal:
    undo = new_undo(call) if body.undo else ""
    message = Retry(call.params["job_id"], body.reset_attempts, body.priority, undo, body.compare)
    return await _change(call, message, "retrying")


async def set_priority(call: Call, body: wire_jobs.PriorityBody) -> wire_common.Changed | Refusal:
    undo = new_undo(call) if body.undo else ""
    return await _change(call, SetPriority(call.params["job_id"], body.priority, undo), "updated")


async def retype(call: Call, body: wire_jobs.RetypeBody) -> wire_common.Changed | Refusal:
    undo = new_undo(call) if body.undo else ""
    return await _change(call, Retype(call.params["job_id"], body.to, undo), "updated")


async def set_requirements(call: Call, body: wire_jobs.RequiresBody) -> wire_common.Changed | Refusal:
    requires, undo = encode.requires_text(body.requires), new_undo(call) if body.undo else ""
    return await _change(call, SetRequirements(call.params["job_id"], requires, undo), "updated")


async def change_tags(call: Call, body: wire_jobs.TagsBody) -> wire_common.Changed | Refusal:
    undo = new_undo(call) if body.undo else ""
    message = ChangeTags(call.params["job_id"], tuple(body.add), tuple(body.remove), undo)
    return await _change(call, message, "updated")


async def _change(call: Call, message: Message[JobChanged], status: str) -> wire_common.Changed | Refusal:
    outcome = await call.ask(message)
    return outcome if isinstance(outcome, Refusal) else wire_common.Changed(status, outcome.undo or msgspec.UNSET)


WRONG_CURSOR = Refusal(
    RefusalCode.INVALID, "cursor: use next_cursor of the page before, in the same order.", field="cursor"
)


def encode_cursor(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()


def decode_cursor(text: str | None) -> Cursor | Refusal:
    """Where a list goes on; None: it begins."""
    if text is None:
        return Cursor()
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Cursor)
    except (ValueError, msgspec.MsgspecError):  # binascii.Error and UnicodeError are ValueErrors
        return WRONG_CURSOR
    in_order = cursor.key is None or (cursor.sort is not None and abs(cursor.key) <= abs(cursor.sort.start))
    return cursor if 0 <= cursor.priority <= 5 and 0 <= cursor.id < 2**63 and in_order else WRONG_CURSOR


ROUTES = [
    Route("POST", "/api/jobs", Access.SUBMIT, submit,
          "Submit a job; a second one of the same source, type and options finds the first (then 200)",
          body=wire_jobs.SubmitBody, gives=wire_jobs.SubmitAnswer, status=201, hot=True),
    Route("POST", "/api/jobs/batch", Access.SUBMIT, submit_many,
          "Submit up to 1,000 jobs in one transaction, answered item by item",
          body=wire_jobs.SubmitMany, gives=wire_jobs.SubmittedItems, hot=True),
    Route("POST", "/api/jobs/<id:job_id>/uploaded", Access.SUBMIT, uploaded,
          "Say that the source has been uploaded; answered when its bytes have been checked",
          gives=wire_common.Status, writes=False, hot=True),
    Route("GET", "/api/jobs", Access.READ, listed, "Jobs, urgent first, then newest, or in another order",
          gives=wire_jobs.JobsWire, query=wire_jobs.ListQuery),
    Route("GET", "/api/jobs/<id:job_id>", Access.READ, shown, "One job with its latest attempts",
          gives=wire_jobs.JobWire, hot=True),
    Route("GET", "/api/jobs/<id:job_id>/waiting", Access.READ, why,
          "Why a job does not run: the rule that holds it, and what would change it", gives=wire_jobs.WhyWire),
    Route("GET", "/api/jobs/<id:job_id>/attempts", Access.READ, attempts, "A job's attempts, newest first, whole",
          gives=wire_jobs.AttemptsWire, query=wire_jobs.AttemptsQuery),
    Route("GET", "/api/jobs/<id:job_id>/result", Access.READ, result, "A job's result, whole",
          gives=Any, query=wire_jobs.ResultQuery),
    Route("POST", "/api/jobs/<id:job_id>/retry", Access.SUBMIT, retry, "Bring an ended job back",
          body=wire_jobs.RetryBody, gives=wire_common.Changed, audit="job.retry"),
    Route("POST", "/api/jobs/<id:job_id>/cancel", Access.SUBMIT, families.cancel,
          "Stop a job at once, a running one too", body=wire_jobs.CancelBody, gives=wire_jobs.Cancelled,
          audit="job.cancel"),
    *(Route(method, "/api/jobs/<id:job_id>/priority", Access.SUBMIT, set_priority, "Change a job's priority",
            body=wire_jobs.PriorityBody, gives=wire_common.Changed,
            audit="job.priority") for method in ("PATCH", "POST")),
    Route("POST", "/api/jobs/<id:job_id>/retype", Access.SUBMIT, retype, "Give a job that waits another type",
          body=wire_jobs.RetypeBody, gives=wire_common.Changed, audit="job.retype"),
    *(Route(method, "/api/jobs/<id:job_id>/requires", Access.SUBMIT, set_requirements,
            "Change what a job requires of its worker", body=wire_jobs.RequiresBody, gives=wire_common.Changed,
            audit="job.requires") for method in ("PATCH", "POST")),
    Route("GET", "/api/jobs/<id:job_id>/children", Access.READ, children,
          "What came of a job's outputs, by its chain", gives=wire_jobs.ChildrenWire, query=wire_jobs.ChildrenQuery),
    Route("GET", "/api/jobs/<id:job_id>/paths", Access.READ, paths,
          "The paths under which a job's source was submitted", gives=wire_jobs.PathsWire,
          query=wire_jobs.PathsQuery),
    *(Route(method, "/api/jobs/<id:job_id>/tags", Access.SUBMIT, change_tags, "Add tags to a job, and remove some",
            body=wire_jobs.TagsBody, gives=wire_common.Changed, audit="job.tags") for method in ("PATCH", "POST")),
]  # fmt: skip
