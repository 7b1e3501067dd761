"""What has changed where jobs were retried with `compare`: between a result and the one that it took the place of.

Outputs are compared by what is on record of them. Where a job has thousands, they are walked through page by page,
and nothing is counted ahead: it is looked at seldom, and by few.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from blobforge.comparison import Counts, Difference, OutputPair, merged
from blobforge.job import Job
from blobforge.life import with_former
from blobforge.objects.keys import name_in
from blobforge.outputs import Output
from blobforge.refusals import Refusal
from blobforge.store.lists import Cursor
from blobforge.store.reading import Reader
from web.api import encode, former, wire_comparison
from web.api.grants import output_name
from web.api.jobs import decode_cursor, encode_cursor
from web.decode import query
from web.routing import Access, Call, Route

_AT_ONCE: Final = 1_000  # outputs that are read of either result
_MOST_OUTPUTS: Final = 20_000  # that are walked through for one page of jobs, and those of its last job


class Compared(msgspec.Struct, frozen=True):
    """A job, the same with its former result (or another job), and what became of its outputs."""

    job: Job
    former: Job
    counts: Counts
    result: Difference | None

    @property
    def change(self) -> Difference:
        return self.counts.change if self.counts != Counts() else self.result or Difference.SAME


def compare(reader: Reader, job: Job) -> Compared | None:
    """None: no former result is kept. Inside a snapshot."""
    before = with_former(job)
    return between(reader, job, before) if before is not None else None


def between(reader: Reader, job: Job, before: Job) -> Compared:
    """What became of the outputs of `before` in those of `job`, whether they are one job or two."""
    job, before = reader.named(job), reader.named(before)
    counts = Counts()
    after: str | None = ""
    while after is not None:
        outputs, after = _page(reader, job, before, after)
        for each in outputs:
            counts.add(each.change)
    return Compared(job, before, counts, _of_result(reader, job, before))


def differing(reader: Reader, compared: Compared, *, after: str, limit: int) -> tuple[list[OutputPair], str | None]:
    """Outputs that are not the same, by name, from a place on; and where to go on, if there may be more."""
    found: list[OutputPair] = []
    place: str | None = after
    while place is not None:
        outputs, place = _page(reader, compared.job, compared.former, place)
        for each in outputs:
            if each.change is not Difference.SAME:
                if len(found) == limit:
                    return found, found[-1].name
                found.append(each)
    return found, None


def _page(reader: Reader, job: Job, before: Job, after: str) -> tuple[list[OutputPair], str | None]:
    now, then = _has_several(job), _has_several(before)
    if not now and not then:
        ones = _the_one(reader, before), _the_one(reader, job)
        pair = OutputPair(*ones)
        return ([pair] if ones != (None, None) and pair.name > after else []), None
    return merged(_behind(reader, before, after), _behind(reader, job, after), most=_AT_ONCE)


def _behind(reader: Reader, job: Job, after: str) -> list[Output]:
    """The outputs of the job's result, by name."""
    if _has_several(job):
        assert job.result_attempt is not None
        return reader.outputs.page(job.id, job.result_attempt, after=after, limit=_AT_ONCE)
    one = _the_one(reader, job)
    return [one] if one is not None and one.name > after else []


def _has_several(job: Job) -> bool:
    return job.output_key is not None and name_in(job.output_key) is not None


def _the_one(reader: Reader, job: Job) -> Output | None:
    if job.output_key is None:
        return None
    record = reader.file(job.output_key)
    size, sha256 = (record.size, record.sha256) if record is not None else (None, None)
    return Output(output_name(job), size, sha256)


def _of_result(reader: Reader, job: Job, before: Job) -> Difference | None:
    """What became of the JSON that the worker sent."""
    now, then = reader.whole_result(job), reader.whole_result(before)
    if now is None:
        return None if then is None else Difference.GONE
    if then is None:
        return Difference.NEW
    return Difference.SAME if now == then else Difference.CHANGED


# ------------------------------------------------------------------ the API


async def shown(call: Call) -> wire_comparison.ComparisonWire | Refusal:
    """What has changed in one job."""
    wanted = query(call.request.args, wire_comparison.ComparisonQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job_id = call.params["job_id"]

    def look(reader: Reader) -> wire_comparison.ComparisonWire | Refusal:
        job = reader.job(job_id)
        compared = compare(reader, job) if job is not None else None
        if compared is None:
            return former.missing(reader, job_id, former=True)
        outputs, following = differing(reader, compared, after=wanted.cursor, limit=wanted.limit)
        about = {name: getattr(job_wire(compared), name) for name in wire_comparison.ComparedJob.__struct_fields__}
        return wire_comparison.ComparisonWire(
            **about, differing=[_output_wire(each) for each in outputs], next_cursor=following
        )

    return await call.services.reads.moment(look)


async def listed(call: Call) -> wire_comparison.ComparisonsWire | Refusal:
    """What became of the results of many jobs, page by page."""
    wanted = query(call.request.args, wire_comparison.ComparisonsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    cursor = decode_cursor(wanted.cursor)
    if isinstance(cursor, Refusal):
        return cursor
    filter_ = encode.job_filter(replace(wanted, compared=True), priority=wanted.priority)

    def look(reader: Reader) -> wire_comparison.ComparisonsWire:
        page = reader.list_jobs(filter_, limit=wanted.limit, cursor=cursor)
        found: list[wire_comparison.ComparedJob] = []
        walked = 0
        for place, job in enumerate(page.jobs):
            compared = compare(reader, job)
            assert compared is not None, "the filter takes no other"
            found.append(job_wire(compared))
            walked += sum(msgspec.structs.astuple(compared.counts))
            if walked >= _MOST_OUTPUTS and place + 1 < len(page.jobs):
                return wire_comparison.ComparisonsWire(
                    comparisons=found, next_cursor=encode_cursor(Cursor(job.priority, job.id))
                )
        following = encode_cursor(page.next) if page.next is not None else None
        return wire_comparison.ComparisonsWire(comparisons=found, next_cursor=following)

    return await call.services.reads.moment(look)


def job_wire(compared: Compared) -> wire_comparison.ComparedJob:
    job, before = compared.job, compared.former
    assert job.result_attempt is not None
    assert before.result_attempt is not None
    assert job.compare_until is not None
    return wire_comparison.ComparedJob(
        job_id=job.id,
        change=compared.change,
        attempt=job.result_attempt,
        former_attempt=before.result_attempt,
        until=encode.rfc3339(job.compare_until),
        outputs=wire_comparison.CountsWire(*msgspec.structs.astuple(compared.counts)),
        made_by=job.made_by,
        former_made_by=before.made_by,
        result=compared.result,
    )


def _output_wire(compared: OutputPair) -> wire_comparison.ComparedWire:
    now, then = compared.now, compared.former
    about = (now.size, now.sha256, now.media_type) if now is not None else (None, None, None)
    was = (
        wire_comparison.FormerOutput(then.name, then.size, then.sha256, then.media_type) if then is not None else None
    )
    return wire_comparison.ComparedWire(compared.name, compared.change, *about, was)


ROUTES = [
    Route("GET", "/api/jobs/<id:job_id>/comparison", Access.READ, shown,
          "What has changed between a job's result and the former one that is kept beside it",
          gives=wire_comparison.ComparisonWire, query=wire_comparison.ComparisonQuery),
    Route("GET", "/api/results/comparisons", Access.READ, listed,
          "The same of many jobs, in counts: same, changed, gone, new",
          gives=wire_comparison.ComparisonsWire, query=wire_comparison.ComparisonsQuery),
]  # fmt: skip
