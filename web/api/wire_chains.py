"""The shapes of what a chain would start."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.chain import MOST_STEPS
from web.api.wire_attempts import OutputName
from web.api.wire_common import JobId, JobType, Json, SourcePath
from web.api.wire_jobs import StepBody

MOST_NAMES = 1000


class ChainCheckBody(msgspec.Struct, frozen=True):
    """Either the `job` that is asked about, or what a submission would say: `type`, `options`, `then`, `source_path`.
    `outputs` are names of outputs to try it with, in the place of those that the job has."""

    job: JobId | None = None
    type: JobType | None = None
    options: Json | None = None
    then: Annotated[list[StepBody], Meta(max_length=MOST_STEPS)] | None = None
    source_path: SourcePath | None = None
    outputs: Annotated[list[OutputName], Meta(max_length=MOST_NAMES)] | None = None


class ChainStageWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The jobs of one step, before what follows it: `depth` is 0 for those that the result itself starts. `joins`: it
    is the one job that joins the stage above. Of the outputs that are known `matched` would be taken; the first of
    them are `names`, and `paths` those of their jobs. `workers` are online for the type, which may be `paused`;
    `refused` is why there could be no job of it now."""

    depth: int
    type: str
    outputs: str
    workers: int
    options: Json | None = None
    joins: bool = False
    paused: bool = False
    matched: int | None = None
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    refused: str | None = None


class ChainCheckWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`refused` is why a submission would be; `outputs` how many are known, and `left_out` why some of these would
    start nothing. `status` is that of the job."""

    type: str
    stages: list[ChainStageWire]
    job_id: int | None = None
    status: str | None = None
    outputs: int | None = None
    refused: str | None = None
    left_out: str | None = None
