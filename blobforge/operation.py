"""Operations: what is done to many jobs, or workers, and goes on without the client that asked for it.

An operation first selects its jobs, page by page, and then treats them, a page at a turn; both move on only in the
transaction that makes their effects, so that no job is skipped or treated twice, whatever stops the server. Pure: the
time is an argument. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from blobforge.refusals import Refusal, RefusalCode

UNDO_MS = 86_400_000  # how long an operation can be undone after its end
KEPT_MS = 30 * 86_400_000  # how long one that has ended is kept
TOLD_EACH_MS = 1000  # its progress is told no more often
MOST_OPEN = 100  # that have not ended
MANY = 1000  # what people ask for of more than so many jobs or workers becomes one by itself


class OperationState(StrEnum):
    SELECTING = "selecting"  # finds its jobs
    RUNNING = "running"
    COMPLETED = "completed"  # has treated all of them
    CANCELLED = "cancelled"
    FAILED = "failed"  # its asker's rights have ended, or it met a bug


ENDED = frozenset({OperationState.COMPLETED, OperationState.CANCELLED, OperationState.FAILED})
REMOVE_WORKERS = "remove-workers"
"""The verb of what is done to workers, and not to jobs."""
TAKE_BACK = "take-back"
"""The verb of what the server does by itself when workers leave that run very many jobs."""
DELETE_BATCH = "delete-batch"
START_CHILDREN = "start-children"
"""The verb of what the server does by itself when a result starts very many jobs."""
JOIN_STAGES = "join-stages"
"""The verb of what the server does by itself when very many stages may have ended at once."""
OF_RESULTS = frozenset({START_CHILDREN, JOIN_STAGES})
"""What comes of results, and keeps nothing else from being begun, seen or carried out."""
CANCEL_CHILDREN = "cancel-children"
"""The verb of what the server goes on with when very many jobs are cancelled with the one that they came of."""
IRREVERSIBLE = {
    DELETE_BATCH: "A batch that was deleted is made anew, and its jobs are submitted for it again.",
    "delete": "Deleted jobs cannot be brought back.",
    TAKE_BACK: "What went back to the queue is claimed anew.",
    CANCEL_CHILDREN: "Retry what was cancelled.",
    START_CHILDREN: "Jobs that were started are cancelled by themselves.",
    JOIN_STAGES: "Jobs that join stages are cancelled by themselves.",
    REMOVE_WORKERS: "A worker that was removed registers anew, or is given a new credential.",
    "undo": "An undo cannot be undone: ask for the same change once more.",
}


class Operation(msgspec.Struct, frozen=True):
    """`work` is what is to be done to which jobs, or workers, as JSON. `token_id` or `user_id` is its asker, by whose
    rights it is done.

    `matched` jobs were found, `total` of them are those that it would change, and stand in `pages` pages; it has
    treated the first `page` of these: `done` jobs, of which `changed` were. `cursor` is how far it has selected. One
    that starts children has no pages and counts outputs; its `cursor` is the number of the job that they come of. One
    that cancels children has none, either. Of one that joins stages these stand in its pages.
    `undo_of` is the operation that it takes back, `undone_by` the one that takes it back; what it has changed is
    remembered until `undo_until`. `told_at` is when its progress was told.
    """

    id: int
    verb: str
    work: str
    state: OperationState
    subject: str
    name: str
    token_id: int | None
    user_id: int | None
    created_at: int
    updated_at: int
    told_at: int
    ended_at: int | None = None
    cursor: str | None = None
    matched: int = 0
    total: int = 0
    done: int = 0
    changed: int = 0
    pages: int = 0
    page: int = 0
    reason: str | None = None
    undo_of: int | None = None
    undone_by: int | None = None
    undo_until: int | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def refused(self) -> int:
        """Jobs that were not changed: they had moved on, or did not allow it."""
        return self.done - self.changed

    def can_be_undone(self, now: int) -> bool:
        return self.ended and why_not_undone(self, now) is None


class KeptChange(msgspec.Struct, frozen=True, array_like=True):
    """What a job was and what it became, at a time: what an undo needs."""

    job_id: int
    was: str
    became: str
    at: int


def no_such_operation(operation_id: int) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_OPERATION, f"There is no operation {operation_id}, or it is kept no longer.")


def selected(
    operation: Operation, *, matched: int, chosen: int, pages: int, cursor: str | None, now: int
) -> Operation:
    """Some more of its jobs are found; without a cursor these were all."""
    found = replace(
        operation,
        matched=operation.matched + matched,
        total=operation.total + chosen,
        pages=operation.pages + pages,
        cursor=cursor,
        updated_at=now,
    )
    if cursor is not None:
        return found
    found = replace(found, state=OperationState.RUNNING)
    return found if found.pages else ended(found, OperationState.COMPLETED, now=now)


def advanced(operation: Operation, *, treated: int, changed: int, now: int, refused: str | None = None) -> Operation:
    """One more page is treated. `refused`: why the first of its jobs was that could not be changed."""
    further = replace(
        operation,
        page=operation.page + 1,
        done=operation.done + treated,
        changed=operation.changed + changed,
        reason=operation.reason if operation.reason is not None else refused,
        updated_at=now,
    )
    return further if further.page < further.pages else ended(further, OperationState.COMPLETED, now=now)


def moved_on(operation: Operation, *, treated: int, changed: int, now: int) -> Operation:
    """One more piece is made by an operation that has no pages."""
    return replace(
        operation,
        page=operation.page + 1,
        done=operation.done + treated,
        changed=operation.changed + changed,
        updated_at=now,
    )


def ended(operation: Operation, state: OperationState, *, now: int, reason: str | None = None) -> Operation:
    """What it has changed so far stays, and can be undone where that can be at all."""
    kept = UNDO_MS if operation.changed and operation.verb not in IRREVERSIBLE else 0
    return replace(
        operation,
        state=state,
        ended_at=now,
        updated_at=now,
        reason=reason if reason is not None else operation.reason,
        cursor=None,
        undo_until=now + kept,
    )


def why_not_undone(operation: Operation, now: int) -> Refusal | None:
    """Why what it has changed cannot be taken back."""
    if not operation.ended:
        detail = f"Operation {operation.id} has not ended. Wait for it, or cancel it first."
        return Refusal(RefusalCode.OPERATION_RUNNING, detail)
    if operation.undone_by is not None:
        detail = f"Operation {operation.id} was taken back by operation {operation.undone_by}."
        return Refusal(RefusalCode.NO_SUCH_UNDO, detail)
    if operation.verb in IRREVERSIBLE:
        return Refusal(RefusalCode.NO_SUCH_UNDO, IRREVERSIBLE[operation.verb])
    if operation.changed == 0 or operation.undo_until is None or operation.undo_until <= now:
        detail = f"There is nothing to undo: operation {operation.id} has changed nothing, or a day has passed."
        return Refusal(RefusalCode.NO_SUCH_UNDO, detail)
    return None
