"""Canaries: a converter on trial converts documents once more, and the results are compared."""

from __future__ import annotations

import random
from functools import partial
from itertools import chain
from typing import Final

import msgspec
from msgspec.structs import replace

from actors.messages import BeginCanary, CanaryBegun, CancelCanary
from blobforge.canary import (
    KEPT_MS,
    MOST_JOBS,
    Canary,
    CanaryPlan,
    ComparedDocument,
    Findings,
    SampleCandidate,
    counted,
    no_such_canary,
    nothing_to_compare,
    ordinary,
    outcome_of,
    report,
    sample,
)
from blobforge.comparison import Difference
from blobforge.job import Job, JobStatus
from blobforge.life import with_former
from blobforge.refusals import Refusal
from blobforge.store.lists import NEWEST
from blobforge.store.reading import Reader
from web.api import comparison, encode, wire_canaries
from web.decode import query
from web.routing import Access, Call, Route

_CANDIDATES: Final = range(500, 5001)  # that a sample is taken of
_EACH: Final = 20  # candidates for one that is taken
_AT_ONCE: Final = 100  # comparisons that are read in one moment
MOST_OUTPUTS: Final = 200_000  # that are walked through for one report, and those of its last comparison
LONGEST_ERROR: Final = 500  # characters, where it stands beside many others


# ------------------------------------------------------------------ begun, shown, cancelled


async def begin(call: Call, body: wire_canaries.CanaryBody) -> tuple[int, wire_canaries.CanaryWire] | Refusal:
    made_by = encode.converter_text(body.made_by)
    assert made_by is not None
    types = tuple(dict.fromkeys(body.types))
    plan = CanaryPlan(
        types, made_by, encode.made_by_text(body.against), body.sample, body.slower, body.priority, body.need_worker
    )
    begun = await call.earlier(CanaryBegun)
    if begun is None:
        picked = await _sampled(call, plan)
        if not picked:
            return nothing_to_compare(plan)
        detail = msgspec.json.encode(body).decode()[:1000]
        audit = replace(call.audit, detail=detail) if call.audit is not None else None
        message = BeginCanary(plan, tuple(picked), call.caller.subject, call.caller.name)
        begun = await call.tell(message, call.repeat, audit)
    if isinstance(begun, Refusal):
        return begun
    found = await _found(call, begun.canary_id)
    return found if isinstance(found, Refusal) else (201, found)


async def _sampled(call: Call, plan: CanaryPlan) -> list[int]:
    dice = random.Random()
    most = min(_CANDIDATES[-1], max(_CANDIDATES[0], _EACH * plan.sample)) // len(plan.types)

    def look(reader: Reader) -> list[SampleCandidate]:
        each = (reader.canaries.candidates(type_, plan.against, most=most, dice=dice) for type_ in plan.types)
        return [*chain.from_iterable(each)]

    found = await call.services.reads.run(look)
    return sample(found, plan.sample, dice)


async def listed(call: Call) -> wire_canaries.CanariesWire | Refusal:
    wanted = query(call.request.args, wire_canaries.CanariesQuery)
    if isinstance(wanted, Refusal):
        return wanted
    before = wanted.cursor if wanted.cursor is not None else NEWEST

    def look(reader: Reader) -> wire_canaries.CanariesWire:
        found = reader.canaries.page(before=before, limit=wanted.limit + 1)
        shown = found[: wanted.limit]
        return wire_canaries.CanariesWire(
            canaries=[canary_wire(reader, each) for each in shown],
            next_cursor=shown[-1].id if len(found) > len(shown) else None,
        )

    return await call.services.reads.moment(look)


async def shown(call: Call) -> wire_canaries.CanaryWire | Refusal:
    return await _found(call, call.params["canary_id"])


async def _found(call: Call, canary_id: int) -> wire_canaries.CanaryWire | Refusal:
    def look(reader: Reader) -> wire_canaries.CanaryWire | Refusal:
        canary = reader.canaries.get(canary_id)
        return canary_wire(reader, canary) if canary is not None else no_such_canary(canary_id)

    return await call.services.reads.moment(look)


async def cancel(call: Call) -> wire_canaries.CanaryWire | Refusal:
    canary_id: int = call.params["canary_id"]
    jobs = await call.services.reads.run(lambda reader: reader.canaries.jobs(canary_id, limit=MOST_JOBS))
    ended = await call.ask(CancelCanary(canary_id, tuple(jobs)))
    return ended if isinstance(ended, Refusal) else await _found(call, canary_id)


def canary_wire(reader: Reader, canary: Canary) -> wire_canaries.CanaryWire:
    """Inside a snapshot."""
    jobs, left = counted(reader.canaries.counts(canary))
    return wire_canaries.CanaryWire(
        id=canary.id,
        state=canary.state(left),
        types=canary.types,
        made_by=canary.made_by,
        sample=canary.asked,
        taken=canary.taken,
        slower=canary.slower,
        priority=canary.priority,
        by=canary.name or canary.subject,
        created_at=encode.rfc3339(canary.created_at),
        until=encode.rfc3339(canary.created_at + KEPT_MS),
        jobs=jobs,
        left=left,
        workers=reader.canaries.workers(canary.made_by, canary.types),
        against=canary.against,
        cancelled_at=encode.time_or_none(canary.cancelled_at),
    )


# ------------------------------------------------------------------ what has come of it


def looked_at(reader: Reader, each: ComparedDocument) -> tuple[ComparedDocument, int]:
    """A comparison with what became of the outputs, where both results are there; and how many outputs were walked
    through for that. Inside a snapshot."""
    job = reader.job(each.job_id) if each.completed else None
    original = reader.job(each.original_id) if job is not None else None
    if job is None or original is None or job.status is not JobStatus.COMPLETED:
        return each, 0
    before = _as_it_was(original, each.against)
    if before is None:
        return each, 0
    found = comparison.between(reader, job, before)
    change = found.change
    walked = sum(msgspec.structs.astuple(found.counts))
    return replace(each, outcome=outcome_of(job.status, change), change=change), walked


def _as_it_was(original: Job, attempt: int) -> Job | None:
    """The job with the result of this attempt; None where that is kept no longer."""
    if original.result_attempt == attempt:
        return original
    former = with_former(original)
    return former if former is not None and former.result_attempt == attempt else None


async def jobs(call: Call) -> wire_canaries.CanaryJobsWire | Refusal:
    """Its comparisons, page by page."""
    wanted = query(call.request.args, wire_canaries.CanaryJobsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    canary_id: int = call.params["canary_id"]

    def look(reader: Reader) -> wire_canaries.CanaryJobsWire | Refusal:
        canary = reader.canaries.get(canary_id)
        if canary is None:
            return no_such_canary(canary_id)
        found = reader.canaries.compared(canary_id, after=wanted.cursor or 0, limit=wanted.limit + 1)
        shown: list[ComparedDocument] = []
        walked, last = 0, None
        for each in found[: wanted.limit]:
            compared, n = looked_at(reader, each)
            walked, last = walked + n, each.job_id
            if wanted.outcome in (None, compared.outcome):
                shown.append(compared)
            if walked >= MOST_OUTPUTS // 10:
                break
        more = last is not None and last != found[-1].job_id
        return wire_canaries.CanaryJobsWire(
            jobs=[job_wire(each, canary.slower) for each in shown], next_cursor=last if more else None
        )

    return await call.services.reads.moment(look)


async def reported(call: Call) -> wire_canaries.ReportWire | Refusal:
    wanted = query(call.request.args, wire_canaries.ReportQuery)
    if isinstance(wanted, Refusal):
        return wanted
    made = await made_report(call, call.params["canary_id"], worst=wanted.worst)
    if isinstance(made, Refusal):
        return made
    canary, found = made
    return wire_canaries.ReportWire(
        canary=canary,
        verdict=found.verdict,
        outcomes=found.outcomes,
        slower=found.slower,
        timed=found.timed,
        is_slower=found.is_slower,
        worst=[job_wire(each, canary.slower) for each in found.worst],
        median=found.median,
    )


async def made_report(
    call: Call, canary_id: int, *, worst: int
) -> tuple[wire_canaries.CanaryWire, Findings] | Refusal:
    """Of all its comparisons, a page in each moment: a long one would hold up the backup. Those for which there would
    be too many outputs to walk through are unproven."""
    canary = await _found(call, canary_id)
    if isinstance(canary, Refusal):
        return canary
    all_: list[ComparedDocument] = []
    walked = 0
    while True:
        after = all_[-1].job_id if all_ else 0
        page, n = await call.services.reads.moment(partial(_page, canary_id, after, MOST_OUTPUTS - walked))
        all_ += page
        walked += n
        if len(page) < _AT_ONCE:
            return canary, report(all_, slower=canary.slower, worst=worst)


def _page(canary_id: int, after: int, left: int, reader: Reader) -> tuple[list[ComparedDocument], int]:
    found: list[ComparedDocument] = []
    walked = 0
    for each in reader.canaries.compared(canary_id, after=after, limit=_AT_ONCE):
        if each.completed and walked >= left:
            found.append(replace(each, outcome=outcome_of(JobStatus.COMPLETED, Difference.UNPROVEN)))
            continue
        compared, n = looked_at(reader, each)
        found.append(compared)
        walked += n
    return found, walked


def job_wire(each: ComparedDocument, slower: float) -> wire_canaries.CanaryJobWire:
    ratio = each.ratio
    return wire_canaries.CanaryJobWire(
        job_id=each.job_id,
        original_id=each.original_id,
        against=each.against,
        type=ordinary(each.type),
        outcome=each.outcome,
        slower=each.is_slower(slower),
        change=each.change,
        before=each.before / 1000 if each.before is not None else None,
        now=each.now / 1000 if each.now is not None else None,
        ratio=round(ratio, 3) if ratio is not None else None,
        error=encode.clipped(each.error, LONGEST_ERROR) if each.error is not None else None,
        worker_id=each.worker_id,
        former_made_by=each.former_made_by,
        source_size=each.source_size,
        source_path=each.path,
    )


ROUTES = [
    Route("GET", "/api/canaries", Access.READ, listed, "Canaries, newest first", gives=wire_canaries.CanariesWire,
          query=wire_canaries.CanariesQuery),
    Route("POST", "/api/canaries", Access.ADMIN, begin,
          "Have documents converted once more by workers of one converter, to compare the results",
          body=wire_canaries.CanaryBody, gives=wire_canaries.CanaryWire, status=201, audit="canary.begin"),
    Route("GET", "/api/canaries/<id:canary_id>", Access.READ, shown, "A canary, and how far it is",
          gives=wire_canaries.CanaryWire),
    Route("GET", "/api/canaries/<id:canary_id>/report", Access.READ, reported,
          "What a canary has come to: same, different, failed, slower, and the worst to look at",
          gives=wire_canaries.ReportWire, query=wire_canaries.ReportQuery),
    Route("GET", "/api/canaries/<id:canary_id>/jobs", Access.READ, jobs, "Its comparisons, one by one",
          gives=wire_canaries.CanaryJobsWire, query=wire_canaries.CanaryJobsQuery),
    Route("POST", "/api/canaries/<id:canary_id>/cancel", Access.ADMIN, cancel,
          "Stop a canary; what it has come to stays", gives=wire_canaries.CanaryWire, audit="canary.cancel"),
]  # fmt: skip
