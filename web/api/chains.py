"""Chains: what a completion would start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from blobforge.canary import ordinary
from blobforge.chain import Step
from blobforge.chaincheck import PlannedStage, left_out, stages_of
from blobforge.job import Job, no_such_job
from blobforge.jobtype import NOTHING_SET, SettingsByType, TypeSettings
from blobforge.oneoutput import name_of
from blobforge.outputs import MOST as MOST_OUTPUTS
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from blobforge.typechain import followed_by
from web.api import encode, wire_chains
from web.api.outputs import place
from web.decode import UnfitMember
from web.routing import Access, Call, Route


class _Asked(msgspec.Struct, frozen=True):
    """What is looked at: steps, or why there can be none; and the names of the outputs that they are tried with."""

    type: str
    then: Sequence[Step]
    refused: str | None = None
    names: Sequence[str] | None = None
    path: str | None = None
    job: Job | None = None


class _Known(msgspec.Struct, frozen=True):
    settings: Mapping[str, TypeSettings]
    types: frozenset[str]
    workers: Mapping[str, int]


async def check(call: Call, body: wire_chains.ChainCheckBody) -> wire_chains.ChainCheckWire | Refusal:
    if (body.job is None) == (body.type is None):
        return Refusal(RefusalCode.INVALID, "Say either a job, or the type of one to come.", field="job")
    if body.job is not None and any(each is not None for each in (body.options, body.then, body.source_path)):
        said = "A job has its steps already: options, then and source_path are for a type."
        return Refusal(RefusalCode.INVALID, said, field="job")

    most_types = call.services.settings.max_types
    # In the thread that reads: many steps, each tried with 10,000 outputs, take half a second and more.
    return await call.services.reads.moment(lambda reader: would_start(reader, body, most_types=most_types))


def would_start(
    reader: Reader, body: wire_chains.ChainCheckBody, *, most_types: int, most_names: int = MOST_OUTPUTS
) -> wire_chains.ChainCheckWire | Refusal:
    """Tried with the outputs that are there, unless they are more than `most_names`."""
    settings, jobs = reader.types.known()
    known = _Known(settings, frozenset(jobs), reader.insights.workers_by_type())
    asked = _of_job(reader, body) if body.job is not None else _to_come(body, settings)
    if isinstance(asked, Refusal):
        return asked
    if asked.names is not None and len(asked.names) > most_names:
        asked = replace(asked, names=None)
    return _answer(known, asked, stages_of(asked.then, asked.names, asked.path), most_types=most_types)


def _of_job(reader: Reader, body: wire_chains.ChainCheckBody) -> _Asked | Refusal:
    assert body.job is not None
    job = reader.job(body.job)
    if job is None:
        return no_such_job(body.job)
    names = body.outputs if body.outputs is not None else _names(reader, job)
    then = job.chain.then if job.chain is not None else ()
    return _Asked(ordinary(job.type), then, None, names, job.source_path, job)


def _names(reader: Reader, job: Job) -> Sequence[str] | None:
    """The names of the outputs of its result, or of those that its attempt has told of so far."""
    if job.result_attempt is None:
        told = reader.outputs.told(job.id, job.attempt) if job.attempt else []
        return [each.name for each in told] or None
    if place(job, "output", None) is None:
        return [name_of(job.result)] if job.output_key is not None else []
    return [each.name for each in reader.outputs.page(job.id, job.result_attempt, after="", limit=MOST_OUTPUTS)]


def _to_come(body: wire_chains.ChainCheckBody, settings: Mapping[str, TypeSettings]) -> _Asked:
    assert body.type is not None
    try:
        options = encode.options_text(body.options)
        said = encode.steps_of(body.type, options, body.then)
    except UnfitMember as error:
        return _Asked(body.type, (), str(error), body.outputs, body.source_path)
    whole = followed_by(body.type, options, said, SettingsByType(settings).then)
    if isinstance(whole, str):
        return _Asked(body.type, said or (), whole, body.outputs, body.source_path)
    return _Asked(body.type, whole, None, body.outputs, body.source_path)


def _answer(
    known: _Known, asked: _Asked, stages: list[PlannedStage], *, most_types: int
) -> wire_chains.ChainCheckWire:
    types = set(known.types)
    shown = []
    for each in stages:
        full = each.type not in types and len(types) >= most_types
        if not full:
            types.add(each.type)
        types_full = f"there are {most_types} job types already" if full else None
        shown.append(_stage(known, each, types_full or each.refused))
    return wire_chains.ChainCheckWire(
        type=asked.type,
        stages=shown,
        job_id=asked.job.id if asked.job is not None else None,
        status=asked.job.status if asked.job is not None else None,
        outputs=len(asked.names) if asked.names is not None else None,
        refused=asked.refused,
        left_out=left_out(stages),
    )


def _stage(known: _Known, stage: PlannedStage, refused: str | None) -> wire_chains.ChainStageWire:
    return wire_chains.ChainStageWire(
        depth=stage.depth,
        type=stage.type,
        outputs=stage.outputs,
        workers=known.workers.get(stage.type, 0),
        options=msgspec.json.decode(stage.options) if stage.options is not None else None,
        joins=stage.joins,
        paused=known.settings.get(stage.type, NOTHING_SET).paused,
        matched=stage.matched,
        names=stage.names,
        paths=stage.paths,
        refused=refused,
    )


ROUTES = [
    Route("POST", "/api/chains/check", Access.READ, check,
          "What a completion of a job would start, or of one to come, and what is in the way",
          body=wire_chains.ChainCheckBody, gives=wire_chains.ChainCheckWire, writes=False),
]  # fmt: skip
