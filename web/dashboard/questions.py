"""The question before an action on many jobs or workers: a dry run says how many, and the answer to it does it.

Where what it shows has changed until it is answered, it is put once more.
"""

from __future__ import annotations

from functools import partial
from typing import cast
from urllib.parse import quote

import msgspec
from quart import Response

from actors.works import touches
from blobforge.chain import known_hash
from blobforge.operation import MANY
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from blobforge.worker import WorkerStatus
from web.api import bulk, removal, wire_bulk
from web.dashboard.forms import NOTHING, ActionAnswer, back, body_of, fields_of
from web.dashboard.page import Notice, framed, leave, page, watch
from web.routing import Call, Route

SAMPLES = 5  # that a question names
SEEN = "seen"  # a field of a question: what it was about when it was put
EACH = "/"  # before each of those that were ticked, in that field, which is so never empty: no id has one
ManyBody = wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain
DRAIN = "POST /api/workers/drain"
_STATE = "their state forbids it"
_SO_ALREADY = "they are so already"
_DRAINED = "they are so already, or disabled"
ENABLE = ("let {} work again", "get jobs again", _DRAINED)  # instead of a drain, where that is ended
_NOT_RETYPED = "they do not wait, are so already, or there is a job of that type for their source"
# What is done to many: what a person is asked (`{}`: how many) and, after the numbers, told; and why some are left as
# they are.
BULK = {
    "POST /api/jobs/retry": ("bring {} back", "go again", _STATE),
    "POST /api/jobs/cancel": ("cancel {}", "are cancelled", _STATE),
    "POST /api/jobs/priority": ("change the priority of {}", "have the new priority", _SO_ALREADY),
    "POST /api/jobs/tags": ("change the tags of {}", "have their tags changed", _SO_ALREADY),
    "POST /api/jobs/retype": ("give another type to {}", "have the new type", _NOT_RETYPED),
    "POST /api/jobs/requires": ("change the requirements of {}", "have the new requirements", _SO_ALREADY),
    "POST /api/jobs/delete": ("delete {} for good", "are deleted", _STATE),
    "POST /api/workers/remove": ("remove {}", "are removed", _STATE),
    DRAIN: ("drain {}", "end what they run, and get nothing new", _DRAINED),
}
# What else a person has chosen of it: the words for the fields of the API's body.
CHOSEN = {
    "POST /api/jobs/priority": {"priority": "New priority"},
    "POST /api/jobs/retype": {"to": "New type"},
    "POST /api/jobs/requires": {"requires": "New requirements"},
    "POST /api/jobs/tags": {"add": "Tag to add", "remove": "Tag to remove"},
}
FILTERED = {"q": "text"}  # where a filter's name is no word


def _noun(row: Route) -> str:
    return "worker" if row.body in (wire_bulk.BulkWorkers, wire_bulk.BulkDrain) else "job"


def questioned(row: Route) -> ActionAnswer:
    """First a dry run and a question with the number in it; the answer to that does it."""

    noun = _noun(row)
    to = "/do" + row.path.removeprefix("/api")

    async def answered(
        call: Call, form: dict[str, list[str]], outcome: wire_bulk.BulkAnswer | tuple[int, wire_bulk.OperationBegun]
    ) -> Response:
        question, said, left = ENABLE if row.name == DRAIN and form.get("drain") == ["false"] else BULK[row.name]
        if isinstance(outcome, tuple):
            number = outcome[1].operation
            response = leave(call, f"/operations/{number}", Notice(f"Operation {number} goes on by itself."))
            return watch(call, response, number)
        if outcome.dry_run:
            left_out = ("dry_run", "background", "children", "compare", SEEN)
            kept = [(name, value) for name, values in form.items() for value in values if name not in left_out]
            before, _, after = question.partition("{}")
            many_of = f"{outcome.changed:,} {noun}{'' if outcome.changed == 1 else 's'}"
            body = _body(row, form)
            totals, (samples, shown) = await framed(
                call, lambda reader: (_samples(body, reader), _shown(_at_most(body), reader))
            )
            kept.append((SEEN, EACH + EACH.join(shown) if shown is not None else str(outcome.changed)))
            return await page(
                call, "confirm.html", title="Are you sure?", place=f"/{noun}s", totals=totals, to=to, before=before,
                after=after, noun=noun, does=question.format(many_of), samples=samples,
                danger=row.name in ("POST /api/jobs/delete", "POST /api/workers/remove"), found=outcome, kept=kept,
                return_to=back(call), left=left, chosen=_chosen(form, row), wanted=_wanted(form, noun),
                many=outcome.changed > MANY and row.name != DRAIN, alone=row.name == DRAIN,
                below=_below_in_words(outcome), again=SEEN in form,
                ticked={name for name in ("children", "compare") if name in form},
            )  # fmt: skip
        text = f"{outcome.changed:,} of {outcome.matched:,} {noun}s {said}."
        if outcome.refused:
            reason = outcome.reason if isinstance(outcome.reason, str) else f"{left}."
            text += f" {outcome.refused:,} were left: {reason}"
        return leave(call, back(call), Notice(text, undo=outcome.undo if isinstance(outcome.undo, str) else ""))

    return answered


async def as_it_was_shown(call: Call, row: Route, form: dict[str, list[str]], body: ManyBody) -> ManyBody:
    """The same, where it is about what its question has shown; else a dry run of it, for the question is to be put
    once more: of those that were ticked it would change one that is not as it was, or more match than were
    counted."""
    seen = form[SEEN][-1]
    asked: ManyBody = (
        msgspec.structs.replace(body, dry_run=True)
        if isinstance(body, wire_bulk.BulkDrain)
        else msgspec.structs.replace(body, dry_run=True, background=False)
    )
    if (shown := await call.services.reads.moment(partial(_shown, body))) is not None:
        return body if set(shown) <= set(seen.split(EACH)) else asked
    if not (seen.isascii() and seen.isdigit() and len(seen) < 19) or int(seen) > MANY:
        return body  # very many are never quite as they were
    found = await row.handler(call, asked)
    return asked if isinstance(found, wire_bulk.BulkAnswer) and found.changed > int(seen) else body


def _shown(body: ManyBody, reader: Reader) -> list[str] | None:
    """Those that were ticked and would be changed, each with how it is, as far as a person would decide otherwise:
    how a job has ended, and whether a worker is there. None where it is about all that match."""
    if body.ids is None:
        return None
    if isinstance(body, wire_bulk.BulkBody):
        work = bulk.work_of(body)
        jobs = [job for id_ in dict.fromkeys(body.ids) if (job := reader.job(int(id_))) and touches(work, job)]
        return [f"{job.id} {job.status if job.completed_at is not None else 'open'}" for job in jobs]
    if isinstance(body, wire_bulk.BulkDrain):
        return [str(each) for each in body.ids]  # the drain of one that has come or gone is no other
    found = [each for id_ in body.ids if (each := reader.roster.worker(str(id_))) is not None]
    return [f"{worker.id} {'away' if worker.status is WorkerStatus.OFFLINE else 'there'}" for worker, _ in found]


def _at_most(body: ManyBody) -> ManyBody:
    """The most that the answer may ask for: what came of the jobs is ticked in the question itself."""
    return msgspec.structs.replace(body, children=True) if isinstance(body, wire_bulk.BulkCancel) else body


def _below_in_words(found: wire_bulk.BulkAnswer) -> str:
    """What came of the jobs that are to be cancelled, and goes on; empty where nothing does."""
    if not isinstance(found.parents, int) or not isinstance(found.children, int):
        return ""
    least = "at least " if found.more is True else ""
    jobs = "job" if found.children == 1 else "jobs"
    return f"{least}{found.children:,} {jobs} that came of {least}{found.parents:,} of them"


def _body(row: Route, form: dict[str, list[str]]) -> ManyBody:
    """As the dry run had it."""
    assert row.body is not None
    body = body_of(fields_of(form, row.body), row.body)
    assert not isinstance(body, Refusal), "it was none for the dry run"
    return cast(ManyBody, body)


def _samples(body: ManyBody, reader: Reader) -> list[tuple[str, str]]:
    """Some of the jobs, or workers, that it is about: where their pages are, and what they are called."""
    if isinstance(body, wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
        workers = removal.sample(reader, body, most=SAMPLES)
        return [(f"/workers/{quote(each.id, safe='')}", each.id) for each in workers]
    jobs = bulk.sample(reader, body, most=SAMPLES)
    return [(f"/jobs/{job.id}", job.source_path or known_hash(job.source_hash)[:16]) for job in jobs]


def _chosen(form: dict[str, list[str]], row: Route) -> list[tuple[str, str]]:
    """What a person has chosen of the change itself, beside the jobs."""
    assert row.body is not None
    fields = fields_of(form, row.body)
    named = CHOSEN.get(row.name, {})
    return [(words, ", ".join(fields[name]) or NOTHING) for name, words in named.items() if name in fields]


def _wanted(form: dict[str, list[str]], noun: str) -> list[tuple[str, str]]:
    """The filter by which they were chosen; empty where each was ticked."""
    given: dict[str, str] = {}
    if noun == "worker":
        given = {name: form[name][-1] for name in ("q", "type", "status") if name in form}
    elif "everything" in form:
        given = {name.removeprefix("filter_"): form[name][-1] for name in form if name.startswith("filter_")}
    return [(FILTERED.get(name, name.replace("_", " ")), value) for name, value in given.items()]
