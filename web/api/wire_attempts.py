"""The shapes of attempts: claims, what ends them, and what they put out.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from web.api.wire_common import (
    Accepts,
    ClaimKey,
    ConverterText,
    Instance,
    JobId,
    JobType,
    Lease,
    Sha256,
    ShortText,
    Size,
    WorkerId,
)
from web.api.wire_jobs import JobWire


class ClaimBody(msgspec.Struct, frozen=True):
    """`wait` is in seconds. `job_type` or `job_types`, not both. `write_once`: the worker sends `upload_headers`.
    `accepts`: what the worker heeds of a job beside its source. Without `options`, it gets no job that has some;
    without `heartbeat_interval`, no lease that is shorter than it was told at its registration; with
    `comparisons-only`, no job but those of canaries."""

    worker_id: WorkerId | None = None
    job_type: JobType | None = None
    job_types: Annotated[list[JobType], Meta(min_length=1, max_length=50)] | None = None
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0
    limit: Annotated[int, Meta(ge=1, le=500)] | None = None
    claim_key: ClaimKey | None = None
    instance: Instance | None = None
    write_once: bool = False
    accepts: Accepts = []
    converter: ConverterText | None = None


OutputName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z",
        description="A relative path with slashes, in NFC, of at most 512 bytes in UTF-8",
        examples=["pages/1.md"],
    ),
]
MediaType = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+\Z", examples=["text/markdown"])]


class OutputSaid(msgspec.Struct, frozen=True):
    """What a worker says of one of several outputs."""

    name: OutputName
    checksum: Sha256 | None = None
    size: Size | None = None
    media_type: MediaType | None = None


class OutputsBody(msgspec.Struct, frozen=True):
    outputs: Annotated[list[OutputSaid], Meta(min_length=1, max_length=500)]
    lease: Lease | None = None
    worker_id: WorkerId | None = None
    instance: Instance | None = None


class OutputsAnswer(msgspec.Struct, frozen=True):
    """How many the request told of."""

    outputs: int


class OutputWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output of a job. `sha256` and `media_type` are there where they are known."""

    name: str
    size: int | None
    sha256: str | None = None
    media_type: str | None = None


class OutputList(msgspec.Struct, frozen=True, omit_defaults=True):
    outputs: list[OutputWire]
    next_cursor: str | None = None


class CompleteBody(msgspec.Struct, frozen=True):
    """`result` is any JSON; a large one is kept aside (`GET /api/jobs/{id}/result`). An attempt with several outputs
    names them in `outputs`, the main one first, or says "all": all that it has told of, and `output_key` is then the
    key of the main one (without it, the first by name)."""

    worker_id: WorkerId | None = None
    output_key: Annotated[str, Meta(max_length=1024, pattern=r"^[^\x00]*\Z", description='"" is none')] | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    lease: Lease | None = None
    checksum: Sha256 | None = None
    claim_next: bool = False
    instance: Instance | None = None
    outputs: Annotated[list[OutputSaid], Meta(min_length=1, max_length=500)] | Literal["all"] | None = None
    accepts: Annotated[Accepts, Meta(description="of the claim behind it")] = []
    converter: ConverterText | None = None


class FailBody(msgspec.Struct, frozen=True):
    """Texts are cut to size, not refused: a failure must not get lost over its own length."""

    worker_id: WorkerId | None = None
    error: str = "the worker gave no reason"
    lease: Lease | None = None
    kind: str | None = None
    traceback: str | None = None
    log_tail: str | None = None
    retryable: bool = True
    instance: Instance | None = None


class ReleaseBody(msgspec.Struct, frozen=True):
    """`cause` is why: the worker stops (`shutdown`), its machine is needed (`preempted`), or it cannot do it now."""

    worker_id: WorkerId | None = None
    lease: Lease | None = None
    reason: ShortText | None = None
    cause: Literal["shutdown", "preempted", "trouble"] = "trouble"
    instance: Instance | None = None


class CompleteItem(CompleteBody, frozen=True, kw_only=True):
    job_id: JobId


class FailItem(FailBody, frozen=True, kw_only=True):
    job_id: JobId


class CompleteMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[CompleteItem], Meta(min_length=1, max_length=1000)]


class FailMany(msgspec.Struct, frozen=True):
    jobs: Annotated[list[FailItem], Meta(min_length=1, max_length=1000)]


class InputWire(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output that a job joins: `name` is that of the output that its job came of, and its own behind it."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


class GrantWire(msgspec.Struct, frozen=True):
    """One attempt: fetch `source_url`, PUT the result to `upload_url` (with `upload_headers`, where there are any),
    then complete with `output_key`.

    When there is no job, `job` is null and nothing else is there. `heartbeat_interval`: seconds between the
    heartbeats for this job, where it is another than was told at the registration. `inputs`: of a job that joins
    others, what they brought, as its source, the manifest, names it.
    """

    job: JobWire | None
    source_url: str | msgspec.UnsetType = msgspec.UNSET
    upload_url: str | msgspec.UnsetType = msgspec.UNSET
    upload_headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    output_key: str | msgspec.UnsetType = msgspec.UNSET
    lease: str | msgspec.UnsetType = msgspec.UNSET
    lease_expires_at: str | msgspec.UnsetType = msgspec.UNSET
    heartbeat_interval: float | msgspec.UnsetType = msgspec.UNSET
    inputs: list[InputWire] | msgspec.UnsetType = msgspec.UNSET


class GrantsWire(msgspec.Struct, frozen=True):
    jobs: list[GrantWire]


class CompleteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`next` answers `claim_next`, as a claim would be."""

    status: str
    next: GrantWire | None = None


class FailAnswer(msgspec.Struct, frozen=True):
    will_retry: bool
    status: str = "failed"


class OutputsQuery(msgspec.Struct, frozen=True):
    """`cursor`: where the page before ended. `former`: those of the result that is kept to be compared."""

    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    former: bool = False
