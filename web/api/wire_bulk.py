"""The shapes of what is done to many at once: bulk changes, operations, and what takes them back.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.job import JobStatus
from blobforge.operation import OperationState
from blobforge.requirements import MOST_REQUIREMENTS
from blobforge.worker import WorkerStatus
from web.api.wire_common import (
    BatchId,
    FailureId,
    Group,
    JobId,
    JobType,
    MadeBy,
    Moment,
    Priority,
    Required,
    Requiring,
    ShortText,
    Tag,
    WorkerId,
)


class BulkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`, or a filter; an empty filter matches nothing, so that a slip does not touch everything.

    `background`: answer 202 with the id of an operation at once, which goes on without the client."""

    ids: Annotated[list[JobId], Meta(min_length=1, max_length=10_000)] | None = None
    status: JobStatus | None = None
    type: JobType | None = None
    tag: Tag | None = None
    worker: WorkerId | None = None
    q: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    only_priority: Annotated[int, Meta(ge=1, le=5, description="of the jobs as they are")] | None = None
    failure: FailureId | None = None
    created_since: Moment | None = None
    created_until: Moment | None = None
    updated_since: Moment | None = None
    updated_until: Moment | None = None
    made_by: MadeBy | None = None
    compared: bool | None = None
    requiring: Requiring | None = None
    group: Group | None = None
    batch: BatchId | None = None
    dry_run: bool = False
    undo: bool = False
    background: bool = False


class BulkRetry(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`compare`: when the next results are accepted, those that the jobs have now are kept for a while."""

    reset_attempts: bool = False
    priority: Priority | None = None
    compare: bool = False


class BulkCancel(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reason`: why, for people; the jobs show it. `children`: with all that came of the jobs by their chains, as an
    operation, also without `background`; a job that has ended itself counts then, too."""

    children: bool = False
    reason: ShortText | None = None


class BulkPriority(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    priority: Priority


class BulkRetype(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to` is the type that the jobs get; `type`, in the filter, the one that they have."""

    to: JobType


class BulkRequires(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the jobs are to require; an empty list: any worker may have them."""

    requires: Annotated[list[Required], Meta(max_length=MOST_REQUIREMENTS)]


class BulkTags(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    add: Annotated[list[Tag], Meta(max_length=100)] = []
    remove: Annotated[list[Tag], Meta(max_length=100)] = []


class BulkDelete(BulkBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`objects`: their outputs go too, and sources that no other job has."""

    objects: bool = True


class BulkDrain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`, or a filter, as in BulkWorkers. `drain` false ends the drain. Those that are so already stay as they
    are, and so do disabled ones."""

    ids: Annotated[list[WorkerId], Meta(min_length=1, max_length=10_000)] | None = None
    status: WorkerStatus | None = None
    type: JobType | None = None
    q: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    silent_since: Moment | None = None
    drain: bool = True
    dry_run: bool = False


class BulkWorkers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`, or a filter. `q` is a part of the id or the name; `silent_since`: not heard from then on.

    By a filter, only workers that are `status` go, by default `offline`, and none that is disabled: its removal would
    let it register again. `background`: answer 202 with the id of an operation at once.
    """

    ids: Annotated[list[WorkerId], Meta(min_length=1, max_length=10_000)] | None = None
    status: WorkerStatus | None = None
    type: JobType | None = None
    q: Annotated[str, Meta(min_length=1, max_length=500)] | None = None
    silent_since: Moment | None = None
    dry_run: bool = False
    background: bool = False


class BulkAnswer(msgspec.Struct, frozen=True):
    """How many matched, how many were (or, in a dry run, would be) changed, and how many refused the change;
    `reason`: why the first of these did, when it was tried. In a dry run of a cancellation, where there are such:
    `children` jobs have not ended that came of `parents` of those that match; `more`: at least, it was looked no
    further."""

    matched: int
    changed: int
    refused: int
    dry_run: bool
    undo: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    parents: int | msgspec.UnsetType = msgspec.UNSET
    children: int | msgspec.UnsetType = msgspec.UNSET
    more: bool | msgspec.UnsetType = msgspec.UNSET


class OperationBegun(msgspec.Struct, frozen=True):
    """`operation` is its id: `GET /api/operations/{id}`."""

    operation: int


class OperationsQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class OperationUndo(msgspec.Struct, frozen=True, omit_defaults=False):
    """`possible` until that time; `undone_by` is the operation that takes it back, `note` what cannot be."""

    possible: bool
    until: str | None
    undone_by: int | None
    note: str | None


class OperationWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`asked` is what is to be done, to which jobs. Of `matched` jobs `total` are those that it would change; `done`
    of them were treated, `changed` changed and `refused` not, for they had moved on. `reason`: why it failed, or
    why the first of those was refused that were not changed."""

    id: int
    verb: str
    state: OperationState
    asked: msgspec.Raw
    by: str
    created_at: str
    updated_at: str
    matched: int
    total: int
    done: int
    changed: int
    refused: int
    percent: float
    undo: OperationUndo
    ended_at: str | None = None
    reason: str | None = None
    undo_of: int | None = None


class OperationsWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    operations: list[OperationWire]
    next_cursor: int | None = None


class UndoBody(msgspec.Struct, frozen=True):
    """`undo`: the token that a retry, a cancellation or a change of priority, type or tags was answered with."""

    undo: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[0-9a-f]+\Z")]


class UndoAnswer(msgspec.Struct, frozen=True):
    """`changed` of `matched` jobs are as before; the others have moved on since, and stay."""

    matched: int
    changed: int
