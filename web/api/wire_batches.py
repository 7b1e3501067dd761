"""The shapes of batches: how they are made, ended, listed and shown."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from web.api.wire_common import Json, ShortText
from web.api.wire_webhooks import WebhookUrl
from web.decode import NO_NUMBER

BatchName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=NO_NUMBER,
        description="Not digits only; no slash, no space at either end",
        examples=["scans of November"],
    ),
]


class BatchCallback(msgspec.Struct, frozen=True):
    """Is called each time that the batch ends, as a webhook is; its host must be one that the operator has named.
    Nothing shows `url` and `secret` again."""

    url: WebhookUrl
    secret: Annotated[
        str,
        Meta(
            max_length=100,
            pattern=r"^whsec_[A-Za-z0-9+/]{32,86}={0,2}\Z",
            description="`whsec_` and 24 to 64 bytes in base64, by which it is signed",
        ),
    ]


class BatchBody(msgspec.Struct, frozen=True):
    """Of the batches that are open each has a name of its own. `closed`: it takes no jobs at all."""

    name: BatchName
    metadata: Json | None = None
    closed: bool = False
    callback: BatchCallback | None = None


class BatchMade(msgspec.Struct, frozen=True):
    id: int
    name: str


class BatchCancel(msgspec.Struct, frozen=True):
    """`reason`: why, for people; the jobs show it."""

    reason: ShortText | None = None


class BatchRetry(msgspec.Struct, frozen=True):
    """The dead jobs; `cancelled`: those that were cancelled, too. `reset_attempts`: with all of their tries."""

    cancelled: bool = False
    reset_attempts: bool = False


class BatchDelete(msgspec.Struct, frozen=True):
    """`results`: its jobs go with all that they have, but for those that are in another batch, too."""

    results: bool = False


class BatchesQuery(msgspec.Struct, frozen=True):
    """`name`: those of exactly this name. `going`: those that have not ended; it does not go with a name."""

    name: Annotated[str, Meta(max_length=200)] | None = None
    going: bool = False
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class BatchEta(msgspec.Struct, frozen=True):
    """When all of its jobs will have ended: seconds from now, at the least (its jobs go first) and at the most (all
    that waits now goes before them); null where that cannot be said, and `words` say why."""

    low_seconds: float | None
    high_seconds: float | None
    words: str


class BatchWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`counts` are by status; `gone` are jobs that were deleted since, and `total` is all of these.

    `started_at`: when the first of its jobs was given to a worker. `endings`: how often it has ended, as jobs of it
    may be brought back. `callback`: the host that is told of it."""

    id: int
    name: str
    state: Literal["open", "closed", "ended"]
    created_at: str
    counts: dict[str, int]
    counts_by_type: dict[str, dict[str, int]]
    total: int
    unfinished: int
    percent: float
    endings: int
    metadata: msgspec.Raw | None = None
    closed_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    eta: BatchEta | None = None
    callback: str | None = None


class BatchesWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Newest first."""

    batches: list[BatchWire]
    next_cursor: int | None = None


class BatchResultsQuery(msgspec.Struct, frozen=True):
    """`cursor`: behind the job of this id."""

    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class BatchScriptQuery(BatchResultsQuery, frozen=True):
    """`part`: only the commands for the next page, to be run by the script."""

    part: bool = False


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `GET /api/batches/{batch_id}/results`: a file, where it goes (`name`, a path as `blobforge results
    download` has it, and `apart`, which is no other job's), and the URL to fetch it by, good until `expires_at`; or
    the `error` for which there is none. A file that belongs to several paths of its source has a line for each."""

    job_id: int
    name: str | None = None
    apart: str | None = None
    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    expires_at: str | None = None
    error: str | None = None


class BatchResultsEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: nothing is missing before it."""

    files: int
    end: bool = True
