"""The operator: carries out operations, a small turn of the writer at a time. State owned here: which operations it
carries out now; what they have come to is the database's.

Each operation is a task of its own, a few of them side by side. It selects the jobs by pages of a list, and then has
the writer treat them, page by page, resting longer than each turn took, so that claims beside it stay fast. Whatever
stops it, the database says where to go on. Of several servers the one that keeps house does it; two that do so for a
moment do no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Protocol

import msgspec
import structlog
import trio

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import (
    AdvanceOperation,
    CancelChildren,
    EndOperation,
    JoinStages,
    Message,
    OperationPlan,
    OperationStands,
    PruneOperations,
    RemoveWorkers,
    SelectJobs,
    StartChildren,
    TakeBackJobs,
    Work,
)
from actors.rests import rested
from actors.works import a_turn, chosen_workers, pages_of_workers, ran_then, touches
from blobforge.events import Fact, OperationsBegun
from blobforge.job import Job, JobStatus
from blobforge.operation import OF_RESULTS, TAKE_BACK, Operation, OperationState
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor, ListedWorker, Page
from blobforge.worker import WorkerFilter

log = structlog.get_logger("blobforge.operator")

MAILBOX = 8  # it is only nudged
SIDE_BY_SIDE = 4
STARTING = 2  # beside these, that make what comes of results: very many of these take minutes
LISTED = 1000  # jobs that are looked at in one read
WORKERS_LOOKED_AT = 50  # for what they run, in one turn
LOOK_EACH = 10.0  # seconds until it is looked again whether there is something to carry out, and by which server
PRUNE_EACH = 600.0
TRY_AGAIN = 5.0  # seconds after the database could not be read or written to
MOST_BUGS = 3  # met one after the other


class JobsAndWorkers(Protocol):
    """What the operator reads of the database."""

    async def open_operations(self) -> list[Operation]: ...
    async def operation_jobs(self, operation_id: int, page: int) -> list[int]: ...
    async def list_jobs(self, wanted: JobFilter, cursor: Cursor, limit: int) -> Page: ...
    async def jobs(self, ids: Sequence[int]) -> list[Job]:
        """Those of them that are there."""

    async def operation_workers(self, operation_id: int, page: int) -> list[str]: ...
    async def list_workers(self, wanted: WorkerFilter, after: str, limit: int) -> tuple[list[ListedWorker], bool]:
        """By their ids, those behind `after`, and whether there are more."""

    async def workers(self, ids: Sequence[str]) -> list[ListedWorker]:
        """Those of them that are there."""


class Operator:
    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({OperationsBegun})

    def __init__(
        self, writer: Mailbox[Envelope[Any]], reads: JobsAndWorkers, *, leads: Callable[[], bool] = lambda: True
    ) -> None:
        """`leads`: whether this is the server that carries them out."""
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self._writer = writer
        self._reads = reads
        self._leads = leads
        self.running: set[int] = set()
        self._starting: set[int] = set()  # those of them that make what comes of results
        self._unknown: set[int] = set()  # operations that are left to servers of a newer release
        self.turns = 0
        self.treated = 0  # jobs
        self.changed = 0

    def post(self, _facts: Sequence[Fact]) -> None:
        self.mailbox.nudge()

    async def run(self) -> None:
        prune_at = trio.current_time() + PRUNE_EACH
        async with trio.open_nursery() as nursery:
            while True:
                if self._leads():
                    await self._take_up(nursery)
                    if trio.current_time() >= prune_at:
                        prune_at = await self._prune()
                await self.mailbox.take(until=trio.current_time() + LOOK_EACH)

    async def _take_up(self, nursery: trio.Nursery) -> None:
        try:
            found = await self._reads.open_operations()
        except DatabaseError:
            return  # told by the one that read; tried again
        self._unknown &= {operation.id for operation in found}
        for operation in found:
            if self._is_full(operation.verb) or operation.id in self.running | self._unknown:
                continue
            plan = self._understood(operation)
            if plan is not None:
                self.running.add(operation.id)
                if operation.verb in OF_RESULTS:
                    self._starting.add(operation.id)
                nursery.start_soon(self._carry_out, operation, plan)

    def _is_full(self, verb: str) -> bool:
        """Whether an operation of this kind has to wait. What workers that left have run waits for nothing else."""
        if verb in OF_RESULTS:
            return len(self._starting) >= STARTING
        return verb != TAKE_BACK and len(self.running) - len(self._starting) >= SIDE_BY_SIDE

    def _understood(self, operation: Operation) -> OperationPlan | None:
        """What it is to do; None: a server of a newer release has begun it, and this one does not know its verb."""
        try:
            return msgspec.json.decode(operation.work, type=OperationPlan)
        except msgspec.ValidationError as error:
            self._unknown.add(operation.id)
            log.warning(
                "an operation is left to servers of a newer release",
                operation=operation.id,
                verb=operation.verb,
                reason=str(error),
            )
            return None

    async def _prune(self) -> float:
        began = trio.current_time()
        try:
            pruned = await ask(self._writer, PruneOperations())
        except Exception:
            log.exception("cannot prune operations")
            return began + PRUNE_EACH
        more = not isinstance(pruned, Refusal) and pruned.more
        if more:
            self.mailbox.nudge()
        return rested(began) if more else began + PRUNE_EACH

    async def _carry_out(self, operation: Operation, plan: OperationPlan) -> None:
        """Until it has ended, or another server does it."""
        bugs = 0
        try:
            while self._leads() and not operation.ended:
                began = trio.current_time()
                try:
                    stands = await self._turn(operation, plan)
                except DatabaseError:
                    stands = None  # the same
                except Exception:
                    log.exception("an operation met a bug", operation=operation.id)
                    bugs += 1
                    stands = await self._give_up(operation) if bugs == MOST_BUGS else None
                else:
                    bugs = 0
                if isinstance(stands, OperationStands):
                    self._count(operation, stands.operation)
                    operation = stands.operation
                    await trio.sleep_until(rested(began))
                elif isinstance(stands, Refusal) and stands.code is RefusalCode.NO_SUCH_OPERATION:
                    return
                else:
                    await trio.sleep(TRY_AGAIN)
        finally:
            self.running.discard(operation.id)
            self._starting.discard(operation.id)
            self.mailbox.nudge()

    async def _turn(self, operation: Operation, plan: OperationPlan) -> OperationStands | Refusal:
        if isinstance(plan.work, RemoveWorkers):
            return await self._turn_of_workers(operation, plan.work)
        if isinstance(plan.work, StartChildren):
            return await self._ask(AdvanceOperation(operation.id, operation.page, jobs=(plan.work.parent,)))
        if isinstance(plan.work, CancelChildren | JoinStages):
            return await self._ask(AdvanceOperation(operation.id, operation.page))
        if operation.state is OperationState.SELECTING:
            return await self._ask(await self._select(operation, plan, plan.work))
        jobs = await self._reads.operation_jobs(operation.undo_of or operation.id, operation.page)
        return await self._ask(AdvanceOperation(operation.id, operation.page, operation.verb, tuple(jobs)))

    async def _turn_of_workers(self, operation: Operation, work: RemoveWorkers) -> OperationStands | Refusal:
        if operation.state is OperationState.SELECTING:
            return await self._ask(await self._select_workers(operation, work))
        workers = await self._reads.operation_workers(operation.id, operation.page)
        ask_for = AdvanceOperation(operation.id, operation.page, operation.verb, workers=tuple(workers))
        return await self._ask(ask_for)

    async def _select(self, operation: Operation, plan: OperationPlan, work: Work) -> SelectJobs:
        """Its next jobs: of those that there were when it was asked for."""
        if isinstance(work, TakeBackJobs):
            return await self._select_running(operation, work)
        following: str | None = None
        if plan.ids is not None:
            start = int(operation.cursor or 0)
            asked = plan.ids[start : start + LISTED]
            found, matched = await self._reads.jobs(asked), len(asked)
            if start + LISTED < len(plan.ids):
                following = str(start + LISTED)
        else:
            cursor = msgspec.json.decode(operation.cursor, type=Cursor) if operation.cursor is not None else Cursor()
            page = await self._reads.list_jobs(_those_of_then(plan.filter, operation.created_at), cursor, LISTED)
            found, matched = page.jobs, len(page.jobs)
            if page.next is not None:
                following = msgspec.json.encode(page.next).decode()
        ids = [job.id for job in found if touches(work, job)]
        return SelectJobs(operation.id, operation.pages, _parted(ids, a_turn(work)), matched, following)

    async def _select_running(self, operation: Operation, work: TakeBackJobs) -> SelectJobs:
        """What some more of the workers ran when they left."""
        at, cursor = msgspec.json.decode(operation.cursor or "[0,[]]", type=tuple[int, Cursor])
        found: list[Job] = []
        for _ in range(WORKERS_LOOKED_AT):
            if at >= len(work.workers) or len(found) >= LISTED:
                break
            wanted = JobFilter(JobStatus.RUNNING, worker=work.workers[at])
            page = await self._reads.list_jobs(wanted, cursor, LISTED)
            found += page.jobs
            at, cursor = (at, page.next) if page.next is not None else (at + 1, Cursor())
        ids = [job.id for job in found if ran_then(work, job, operation.created_at)]
        following = msgspec.json.encode((at, cursor)).decode() if at < len(work.workers) else None
        return SelectJobs(operation.id, operation.pages, _parted(ids, a_turn(work)), len(ids), following)

    async def _select_workers(self, operation: Operation, work: RemoveWorkers) -> SelectJobs:
        """Its next workers. Those that have appeared since it was asked for are none of them."""
        only, following = chosen_workers(work), None
        if work.workers is not None:
            start = int(operation.cursor or 0)
            asked = work.workers[start : start + LISTED]
            found, matched = await self._reads.workers(asked), len(asked)
            following = str(start + LISTED) if start + LISTED < len(work.workers) else None
        else:
            found, more = await self._reads.list_workers(work.chosen, operation.cursor or "", LISTED)
            matched = len(found)
            following = found[-1][0].id if more else None
        chosen = [
            (worker.id, len(jobs))
            for worker, jobs in found
            if worker.created_at <= operation.created_at and (only is None or only.matches(worker))
        ]
        return SelectJobs(operation.id, operation.pages, pages_of_workers(chosen), matched, following)

    async def _give_up(self, operation: Operation) -> OperationStands | Refusal | None:
        try:
            return await self._ask(EndOperation(operation.id, "the server met a bug; its log says more"))
        except Exception:
            log.exception("an operation cannot be ended", operation=operation.id)
            return None

    def _ask(self, message: Message[OperationStands]) -> Awaitable[OperationStands | Refusal]:
        return ask(self._writer, message)

    def _count(self, before: Operation, after: Operation) -> None:
        self.turns += 1
        self.treated += after.done - before.done
        self.changed += after.changed - before.changed


def _parted(ids: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ids[start : start + size]) for start in range(0, len(ids), size))


def _those_of_then(wanted: JobFilter, begun_at: int) -> JobFilter:
    until = begun_at + 1 if wanted.created_until is None else min(wanted.created_until, begun_at + 1)
    return msgspec.structs.replace(wanted, created_until=until)
