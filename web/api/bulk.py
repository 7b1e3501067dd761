"""The same thing done to many, by their ids or by a filter: how it is carried out, and what is done to jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from actors.messages import (
    Batch,
    BulkDone,
    Cancel,
    CancelFamilies,
    CancelJobs,
    DeleteJobs,
    Item,
    OperationPlan,
    PrioritiseJobs,
    RecordBulk,
    RequireJobs,
    RetryJobs,
    RetypeJobs,
    TagJobs,
    Undo,
    Work,
)
from actors.works import A_TURN, a_turn, item, starts_jobs, touches
from blobforge.job import Job, JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor, Page
from blobforge.store.reading import Reader
from web.api import encode, families, operations, wire_bulk
from web.api.secrets import new_undo
from web.routing import Access, Call, Route

PAGE = 1000  # jobs read at once
BulkAnswered = wire_bulk.BulkAnswer | tuple[int, wire_bulk.OperationBegun] | Refusal
# How many match, and what is to be done to those that it can be done to: as much in each as one transaction does.
Selected = tuple[int, list[tuple[Item, ...]]]
# What selects jobs in a body, as it is called there.
FILTERS = tuple("only_priority" if name == "priority" else name for name in JobFilter.__struct_fields__)


def work_of(body: wire_bulk.BulkBody) -> Work:
    """What a body asks to be done to each of its jobs. A completed one is converted again only where its status, its
    id, or what made its result is named. That a retyped job's source has a job of that type already shows when it is
    done: a dry run does not look for these."""
    match body:
        case wire_bulk.BulkRetry():
            completed_too = body.status is JobStatus.COMPLETED or body.ids is not None or body.made_by is not None
            return RetryJobs(body.reset_attempts, body.priority, completed_too, body.compare)
        case wire_bulk.BulkCancel():
            return CancelFamilies(body.reason) if body.children else CancelJobs(body.reason)
        case wire_bulk.BulkPriority():
            return PrioritiseJobs(body.priority)
        case wire_bulk.BulkRetype():
            return RetypeJobs(body.to)
        case wire_bulk.BulkRequires():
            return RequireJobs(encode.requires_text(body.requires))
        case wire_bulk.BulkTags():
            return TagJobs(tuple(body.add), tuple(body.remove))
        case wire_bulk.BulkDelete():
            return DeleteJobs(body.objects)
        case _:
            raise TypeError(body)


def sample(reader: Reader, body: wire_bulk.BulkBody, *, most: int) -> list[Job]:
    """Some of the jobs that would be changed, out of the first page of those that match."""
    work, filter_ = work_of(body), _chosen(body)
    if isinstance(filter_, Refusal):
        return []
    if body.ids is not None:
        found = [job for id_ in body.ids[:PAGE] if (job := reader.job_in_short(id_)) is not None]
    else:
        found = reader.list_jobs(filter_, limit=PAGE, cursor=Cursor()).jobs
    return [job for job in found if touches(work, job)][:most]


def _new_undo(call: Call, body: wire_bulk.BulkBody) -> str:
    return new_undo(call) if body.undo and not body.dry_run else ""


async def undo(call: Call, body: wire_bulk.UndoBody) -> wire_bulk.UndoAnswer | Refusal:
    """Page by page, as it was done. A run that broke off is gone on with by its repetition."""
    earlier = await call.earlier(BulkDone)
    if isinstance(earlier, Refusal):
        return earlier
    if earlier is not None:
        return wire_bulk.UndoAnswer(earlier.matched, earlier.changed)
    matched = changed = 0
    audit = call.audit
    more = True
    while more:
        done = await call.tell(Undo(body.undo, A_TURN, further=matched > 0), audit=audit)
        if isinstance(done, Refusal):
            return done
        audit = None
        matched, changed, more = matched + done.matched, changed + done.changed, done.more
    kept = await call.tell(RecordBulk(BulkDone(matched, changed, matched - changed)), call.repeat)
    if isinstance(kept, Refusal):
        return kept
    return wire_bulk.UndoAnswer(kept.matched, kept.changed)


async def change(call: Call, body: wire_bulk.BulkBody) -> BulkAnswered:
    work = work_of(body)
    undo = _new_undo(call, body) if not isinstance(work, DeleteJobs) else ""
    chosen = _chosen(body)
    if isinstance(chosen, Refusal):
        return chosen
    if isinstance(body, wire_bulk.BulkCancel) and body.dry_run:
        return await _what_cancel_would_do(call, body, chosen)
    if (body.background or isinstance(work, CancelFamilies)) and not body.dry_run:
        ids = tuple(dict.fromkeys(body.ids)) if body.ids is not None else None
        return await begin(call, body, OperationPlan(work, ids, chosen))

    async def select() -> Selected:
        matched, ids = await _select(call, body.ids, chosen, partial(touches, work))
        size = a_turn(work)
        return matched, [
            tuple(item(work, job_id, undo) for job_id in ids[start : start + size])
            for start in range(0, len(ids), size)
        ]

    only = chosen if body.ids is None else None
    return await carry_out(call, body, select, only=only, undo=undo)


async def begin(
    call: Call, body: wire_bulk.BulkBody | wire_bulk.BulkWorkers, plan: OperationPlan | Refusal
) -> tuple[int, wire_bulk.OperationBegun] | Refusal:
    """Have it done as an operation."""
    if isinstance(plan, Refusal):
        return plan
    return _parameters_refused(call) or await operations.begin(call, plan, _said(body))


def _chosen(body: wire_bulk.BulkBody) -> JobFilter | Refusal:
    """The filter, where there are no ids."""
    filter_ = encode.job_filter(body, priority=body.only_priority)
    if body.ids is not None and filter_ != JobFilter():
        return Refusal(RefusalCode.INVALID, "Send ids or a filter, not both.", field="ids")
    if body.ids is None and filter_ == JobFilter():
        return Refusal(RefusalCode.INVALID, f"Send ids, or at least one of {', '.join(FILTERS)}.", field="ids")
    return filter_


def _said(body: wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}


def _parameters_refused(call: Call) -> Refusal | None:
    if not call.request.query_string:
        return None
    # A filter that is not where it belongs would be one that is not there.
    named = min(call.request.args, default="?")
    return Refusal(RefusalCode.INVALID, f"{named}: send it in the body; there are no parameters here.", field=named)


async def carry_out(
    call: Call,
    body: wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain,
    select: Callable[[], Awaitable[Selected | Refusal]],
    *,
    only: JobFilter | None = None,
    undo: str = "",
) -> wire_bulk.BulkAnswer | Refusal:
    """Select first, then change page by page, each page one transaction.

    A record for an Idempotency-Key is written once, after the last page; a run that broke off before is simply
    gone on with by its repetition, for what is done already no longer needs doing.
    """
    if (refusal := _parameters_refused(call)) is not None:
        return refusal
    earlier = await call.earlier(BulkDone)
    if earlier is not None:
        return earlier if isinstance(earlier, Refusal) else _answer(earlier, dry_run=body.dry_run)
    selected = await select()
    if isinstance(selected, Refusal):
        return selected
    matched, pages = selected
    changed = chosen = sum(map(len, pages))
    reason: str | None = None
    audit = None
    if call.audit is not None and not body.dry_run:
        detail = f"{msgspec.json.encode(_said(body)).decode()[:1000]}: {chosen} of {matched}"
        audit = msgspec.structs.replace(call.audit, detail=detail)
    if not body.dry_run:
        changed = 0
        for page in pages:
            # On record with the first page: nothing may be done that is not, even when the rest breaks off.
            done = await call.tell(Batch(page, only), audit=audit)
            audit = None
            if isinstance(done, Refusal):
                return done
            refusals = [item for item in done.items if isinstance(item, Refusal)]
            changed += len(done.items) - len(refusals)
            if refusals and reason is None:
                reason = refusals[0].detail
    outcome = BulkDone(matched, changed, matched - changed, undo if changed else "", reason)
    if call.repeat is not None or not body.dry_run:
        # The record for a repetition; and the one for the audit log, where there was nothing to do.
        kept = await call.tell(RecordBulk(outcome), call.repeat, audit)
        if isinstance(kept, Refusal):
            return kept
        outcome = kept
    return _answer(outcome, dry_run=body.dry_run)


async def _what_cancel_would_do(
    call: Call, body: wire_bulk.BulkCancel, filter_: JobFilter
) -> wire_bulk.BulkAnswer | Refusal:
    """With what came of the jobs, which goes on where they alone are cancelled."""
    parents: list[Job] = []

    def pick(job: Job) -> bool:
        if starts_jobs(job) and len(parents) <= families.MOST_BELOW:
            parents.append(job)
        return touches(CancelJobs(), job)

    matched, ids = await _select(call, body.ids, filter_, pick)  # also where the answer is known: see `parents`

    async def select() -> Selected:
        return matched, [tuple(Cancel(job_id) for job_id in ids)]

    answer = await carry_out(call, body, select)
    if isinstance(answer, Refusal) or not parents:
        return answer
    below = await call.services.reads.run(partial(families.open_below_all, parents))
    if not below.parents and not below.more:
        return answer
    return msgspec.structs.replace(
        answer, parents=below.parents, children=below.children, more=below.more or msgspec.UNSET
    )


async def _select(
    call: Call, ids: list[int] | None, filter_: JobFilter, touched_by: Callable[[Job], bool]
) -> tuple[int, list[int]]:
    """How many match, and the ids of those that the action would change."""
    if ids is not None:
        wanted = list(dict.fromkeys(ids))
        found = await call.services.reads.moment(lambda reader: [reader.job(id_) for id_ in wanted])
        return len(wanted), [job.id for job in found if job is not None and touched_by(job)]
    matched = 0
    touched: list[int] = []
    cursor: Cursor | None = Cursor()
    while cursor is not None:
        page = await call.services.reads.run(_page(filter_, cursor))
        matched += len(page.jobs)
        touched += [job.id for job in page.jobs if touched_by(job)]
        cursor = page.next
    return matched, touched


def _page(filter_: JobFilter, cursor: Cursor) -> Callable[[Reader], Page]:
    return lambda reader: reader.list_jobs(filter_, limit=PAGE, cursor=cursor)


def _answer(done: BulkDone, *, dry_run: bool) -> wire_bulk.BulkAnswer:
    return wire_bulk.BulkAnswer(
        done.matched, done.changed, done.refused, dry_run, done.undo or msgspec.UNSET, done.reason or msgspec.UNSET
    )


ROUTES = [
    Route("POST", "/api/jobs/retry", Access.SUBMIT, change, "Bring many ended jobs back",
          body=wire_bulk.BulkRetry, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.retry"),
    Route("POST", "/api/jobs/cancel", Access.SUBMIT, change, "Cancel many jobs",
          body=wire_bulk.BulkCancel, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.cancel"),
    Route("POST", "/api/jobs/priority", Access.SUBMIT, change, "Change the priority of many jobs",
          body=wire_bulk.BulkPriority, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.priority"),
    Route("POST", "/api/jobs/retype", Access.SUBMIT, change, "Give many jobs that wait another type",
          body=wire_bulk.BulkRetype, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.retype"),
    Route("POST", "/api/jobs/requires", Access.SUBMIT, change,
          "Change what many jobs require of their workers", body=wire_bulk.BulkRequires,
          gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.requires"),
    Route("POST", "/api/jobs/tags", Access.SUBMIT, change, "Add tags to many jobs, and remove some",
          body=wire_bulk.BulkTags, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.tags"),
    Route("POST", "/api/jobs/delete", Access.ADMIN, change, "Delete many jobs that do not run, with their objects",
          body=wire_bulk.BulkDelete, gives=(wire_bulk.BulkAnswer, wire_bulk.OperationBegun), audit="jobs.delete"),
    Route("POST", "/api/jobs/undo", Access.SUBMIT, undo,
          "Take back a retry, a cancellation, a change of priority, type, requirements or tags, within ten minutes",
          body=wire_bulk.UndoBody, gives=wire_bulk.UndoAnswer, audit="jobs.undo"),
]  # fmt: skip
