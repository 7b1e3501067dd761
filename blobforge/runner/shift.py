"""One run of a worker: registers, claims, runs attempts side by side, and leaves in good order."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec.structs import replace

from blobforge.canary import ONLY_COMPARISONS
from blobforge.client import LARGEST_CLAIM, ApiError, AsyncClient, ClaimedJob, ClientError, Registration, ReleaseCause
from blobforge.machinery.release import version
from blobforge.runner.attempt import AttemptRun, RunEnd
from blobforge.runner.conversion import Conversion
from blobforge.runner.events import say, warn
from blobforge.runner.facts import host_facts
from blobforge.runner.guard import Guard
from blobforge.runner.handlers import Converter
from blobforge.runner.heartbeat import REPLACED, HeartbeatLoop
from blobforge.runner.holdings import Holdings
from blobforge.runner.instance import InstanceFile
from blobforge.runner.job import WorkerReplaced, WorkerTrouble
from blobforge.runner.limits import Limits
from blobforge.runner.livelog import LogSender
from blobforge.runner.load import LoadMeter
from blobforge.runner.recipe import IN_METADATA, Recipe
from blobforge.runner.redacting import Redactor
from blobforge.runner.scratch import MIN_FREE, Scratch
from blobforge.runner.streak import Streak
from blobforge.runner.validation import ANYTHING, Validation
from blobforge.runner.window import RunWindow, closes_in, is_open, opens_in

_SHORTEST_CYCLE = 1.0  # seconds between two claims that brought nothing: a server need not hold them open
_COOL_DOWN = 15.0  # seconds without claims after trouble of our own, doubled each time it comes again
_LONGEST_COOL_DOWN = 300.0
_LOOK_AGAIN = 60.0  # seconds; clocks are set, and disks are emptied
_LEAVE_DEADLINE = 5.0
_NOTICE_EACH = 0.5  # seconds; clouds give half a minute at the least
MAX_FAILURES = 10
_BOUND = "worker-bound"  # where its credential was made for another type of jobs
_ALIVE = "instance-alive"  # the problem's type where another process is this worker
_ASK_AGAIN = 30.0  # seconds
_ACCEPTS = ("options", "heartbeat_interval")
_TOO_OLD = "the server knows no canaries, and gives ordinary jobs to a worker that takes comparisons only"


@dataclass(frozen=True, kw_only=True)
class ShiftOptions:
    """How a worker works. Times in seconds, sizes in bytes.

    `once` takes what is there, one job at most; `max_jobs` ends after so many; `idle_exit` ends after so long without
    a job. `grace` is for running jobs when it is told to stop; they have none where the file `preemption_notice` is
    there, and its coming stops the worker, too. `poll_wait` is how long a claim waits for a job.
    `workdir` is where the scratch folder is made (the system's temporary folder by default), on a disk of which
    `min_free` bytes are left alone. `output_suffix` names the outputs (`.txt`). `zip_outputs` packs several as one.
    `named`: the worker's id was chosen, and outlives the process. `made_with` is what makes the results: a name and a
    version ("marker 1.3.2"). `comparisons_only`: it takes the jobs of canaries, and no others. With `live_log` what
    handlers print is sent while they run, and with `load` how busy the machine is, with heartbeats; `redactor` takes
    the secrets out of what is printed, and out of what is told of failures.
    """

    concurrency: int = 1
    once: bool = False
    max_jobs: int | None = None
    idle_exit: float | None = None
    grace: float = 0.0
    preemption_notice: Path | None = None
    poll_wait: float = 30.0
    labels: tuple[str, ...] = ()
    run_windows: tuple[RunWindow, ...] = ()
    workdir: Path | None = None
    min_free: int = MIN_FREE
    output_suffix: str = ""
    zip_outputs: bool = False
    named: bool = False
    max_failures: int | None = MAX_FAILURES
    made_with: str | None = None
    comparisons_only: bool = False
    live_log: bool = True
    load: bool = True
    redactor: Redactor = field(default_factory=Redactor)


@dataclass(frozen=True)
class Duty:
    """The handler of one type's jobs, with its limits. `recipe`: the same in words, for the server's record;
    `made_with`: what it is, where that is said of this type's."""

    converter: Converter
    limits: Limits
    recipe: Recipe | None = None
    validation: Validation = ANYTHING
    made_with: str | None = None


class Shift:
    """Owns which jobs are in hand, how many more may be taken, and why none is taken at the moment."""

    def __init__(
        self, client: AsyncClient, worker_id: str, duties: Mapping[str, Duty], options: ShiftOptions
    ) -> None:
        self.tally: Counter[RunEnd] = Counter()
        self._instance = InstanceFile()
        self._replaced = False
        self._client = client.with_instance(self._instance.name)
        self._steady = self._client if options.once else self._client.with_patience(math.inf)
        self._worker_id = worker_id
        self._duties = duties
        self._options = options
        self._scratch = Scratch(options.workdir, min_free=options.min_free)
        self._guard = Guard()
        self._holdings = Holdings(options.redactor.line)
        self._logs = LogSender(options.redactor) if options.live_log else None
        self._meter = LoadMeter() if options.load else None
        self._claiming = trio.CancelScope()
        self._slots = trio.Semaphore(1 if options.once else options.concurrency)
        self._left = 1 if options.once else options.max_jobs if options.max_jobs is not None else math.inf
        self._idle_since = trio.current_time()
        self._cool_down = 0.0
        self._streak = Streak(options.max_failures)
        self._resume_at = -math.inf
        self._troubled: int | None = (
            None  # the job with which there was trouble last, and nothing has ended well since
        )
        self._obstacle: str | None = None
        self._facts: dict[str, Any] = {}

    @property
    def failing(self) -> bool:
        """Whether so many jobs in a row have failed that no more are taken, but for trials."""
        return self._streak.on

    def stop(self, grace: float) -> None:
        """Take no more jobs; what still runs in `grace` seconds is killed and given back. Then `run` returns."""
        cause: ReleaseCause = "shutdown"
        if self._notice():
            grace, cause = 0.0, "preempted"
        count = len(self._holdings)
        how = f"{grace:g} s to finish" if grace > 0 and count else "given back"
        why = "this machine is taken away" if cause == "preempted" else "stopping"
        say("stopping", f"{why}: {count} running job(s), {how}", jobs=count, cause=cause)
        self._claiming.cancel()
        self._holdings.stop(grace, cause)

    def _notice(self) -> bool:
        """Whether this machine is about to be taken away."""
        notice = self._options.preemption_notice
        return notice is not None and notice.exists()

    async def _watch_notice(self) -> None:
        while not self._notice():  # noqa: ASYNC110 - another program writes it
            await trio.sleep(_NOTICE_EACH)
        if self._holdings.stopped_by != "preempted":
            self.stop(0)

    async def run(self) -> None:
        """Work until stopped or done; `tally` then tells how the attempts ended.

        Raises WorkerTrouble when a handler cannot be loaded or no scratch folder be made, ApiError when the server
        refuses this worker for good, WorkerReplaced when another process has become this worker, and with `once`
        ServerUnreachable (else a server that is away is waited for).
        """
        # An id that was made up for this process has no process before it.
        remembered = (
            self._instance.open(self._client.base_url, self._worker_id) if self._options.named else nullcontext()
        )
        with remembered, self._scratch.open(), self._guard.open():
            async with trio.open_nursery() as background:
                with self._claiming:
                    for converter in {id(duty.converter): duty.converter for duty in self._duties.values()}.values():
                        await converter.prepare(background, self._guard)
                    for duty in self._duties.values():
                        await duty.validation.prepare(background, self._guard)
                    self._facts = await host_facts(self._scratch.base)
                    registration = await self._become_worker()
                    types = list(self._duties)
                    say(
                        "registered",
                        f"worker {self._worker_id}: registered for {', '.join(types)}",
                        worker=self._worker_id,
                        types=types,
                    )
                if not self._claiming.cancelled_caught:
                    await self._work(registration, background)
                background.cancel_scope.cancel()
        if self._replaced:
            raise WorkerReplaced(f"another process has taken over as worker {self._worker_id}")

    async def _become_worker(self) -> Registration:
        """Register; while another process is this worker, wait until that one is silent."""
        said_so = False
        while True:
            try:
                registration = await self._register(self._steady)
            except ApiError as error:
                if error.type != _ALIVE or self._options.once:
                    raise
                if not said_so:
                    warn("id-in-use", f"{error} Waiting until it falls silent.", worker=self._worker_id)
                said_so = True
                await trio.sleep(error.retry_after or _ASK_AGAIN)
            else:
                self._instance.keep()
                return registration

    def _end_replaced(self) -> None:
        """Another process is this worker now: nothing in hand is ours, and nothing more is said under this id."""
        if not self._replaced:
            warn("replaced", f"another process has taken over as worker {self._worker_id}: ending")
        self._replaced = True
        self._claiming.cancel()
        for held in self._holdings.snapshot():
            held.settling = False  # no completion of ours is accepted any more
            held.abandon()

    async def _work(self, registration: Registration, background: trio.Nursery) -> None:
        self._claiming = trio.CancelScope()
        if self._holdings.stopping:
            self._claiming.cancel()
        heartbeat = HeartbeatLoop(
            self._client,
            self._worker_id,
            self._holdings,
            interval=registration.heartbeat_interval,
            register=lambda: self._register(self._client),
            replaced=self._end_replaced,
            load=self._meter.read if self._meter is not None else None,
        )
        try:
            async with trio.open_nursery() as beating:
                beating.start_soon(heartbeat.run)
                if self._logs is not None:
                    beating.start_soon(self._logs.run)
                if self._meter is not None:
                    beating.start_soon(self._meter.watch_gpus)
                if self._options.preemption_notice is not None:
                    beating.start_soon(self._watch_notice)
                async with trio.open_nursery() as attempts:
                    with self._claiming:
                        await self._claim_until_done(heartbeat, attempts, background)
                beating.cancel_scope.cancel()
        finally:
            await self._leave()

    async def _register(self, client: AsyncClient) -> Registration:
        windows = {"run_windows": [str(window) for window in self._options.run_windows]}
        since = datetime.now(UTC).isoformat(timespec="milliseconds")
        recipes = {
            type_: msgspec.to_builtins(replace(duty.recipe, since=since))
            for type_, duty in self._duties.items()
            if duty.recipe is not None
        }
        # Of a worker with several only a completion can say it.
        made_with = {self._made_with(duty) for duty in self._duties.values()}
        return await client.register(
            self._worker_id,
            next(iter(self._duties)),
            metadata={
                **self._facts,
                "job_types": list(self._duties),
                "concurrency": self._options.concurrency,
                **(windows if self._options.run_windows else {}),
                **({IN_METADATA: recipes} if recipes else {}),
            },
            labels=self._options.labels or None,
            version=version(),
            replaces=self._instance.replaces,
            converter=next(iter(made_with)) if len(made_with) == 1 else None,
        )

    def _made_with(self, duty: Duty) -> str | None:
        """What makes the results of this type: as said of it, of the worker, or by the handler itself."""
        return duty.made_with or self._options.made_with or duty.converter.made_with

    async def _leave(self) -> None:
        if self._replaced:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _LEAVE_DEADLINE):
            try:
                await self._client.unregister(self._worker_id)
            except ClientError as error:
                warn("not-unregistered", f"could not unregister: {error}")
            else:
                say("unregistered", f"worker {self._worker_id}: unregistered", worker=self._worker_id)

    async def _claim_until_done(
        self, heartbeat: HeartbeatLoop, attempts: trio.Nursery, background: trio.Nursery
    ) -> None:
        self._idle_since = trio.current_time()
        while self._left > 0:
            free = await self._free_slots(int(min(LARGEST_CLAIM, self._left)))
            if not await self._clear(heartbeat):
                return
            asked_at = trio.current_time()
            claims = await self._claim(1 if self._streak.on else free)
            self._left -= len(claims)
            for claim in claims:
                attempts.start_soon(self._run_attempt, claim, background)
            for _ in range(free - len(claims)):
                self._slots.release()
            if self._options.once:
                return
            if not claims:
                await trio.sleep_until(asked_at + _SHORTEST_CYCLE)

    async def _free_slots(self, most: int) -> int:
        """Take the slots that are free, waiting for the first."""
        await self._slots.acquire()
        free = 1
        while self._slots.value and free < most:
            self._slots.acquire_nowait()
            free += 1
        return free

    # When nothing is claimed

    async def _clear(self, heartbeat: HeartbeatLoop) -> bool:
        """Wait until nothing is in the way of a claim. False when it is time to end instead."""
        while True:
            idle_left = self._idle_left()
            if idle_left <= 0:
                say("idle-exit", f"no job for {self._options.idle_exit:g} s: ending")
                return False
            obstacle, pause = await self._in_the_way(heartbeat)
            if obstacle != self._obstacle:
                self._obstacle = obstacle
                if obstacle is not None:
                    say("not-claiming", f"taking no jobs: {obstacle}", reason=obstacle)
                else:
                    say("claiming", "taking jobs again")
            if obstacle is None and pause <= 0:
                return True
            if self._options.once:
                return False
            with trio.move_on_after(min(pause, idle_left)):
                await heartbeat.beaten.wait()  # each answer may have changed what is in the way

    async def _in_the_way(self, heartbeat: HeartbeatLoop) -> tuple[str | None, float]:
        """The reason why no job is claimed now, and the seconds after which to look again."""
        if heartbeat.draining:
            return "the server drains this worker", _LOOK_AGAIN
        windows, now = self._options.run_windows, _local_now()
        if not is_open(windows, now):
            return f"outside {', '.join(map(str, windows))}", min(opens_in(windows, now), _LOOK_AGAIN)
        trouble = await trio.to_thread.run_sync(self._scratch.trouble)
        if trouble is not None:
            return trouble, _LOOK_AGAIN
        failing = self._streak.in_the_way(trial_runs=len(self._holdings) > 0)
        if failing is not None:
            return failing
        cooling = self._resume_at - trio.current_time()
        if cooling > 0:
            return f"pausing for {self._cool_down:.0f} s after trouble", cooling
        return None, 0.0

    def _idle_left(self) -> float:
        if self._options.idle_exit is None:
            return math.inf
        if len(self._holdings):
            self._idle_since = trio.current_time()
        return self._idle_since + self._options.idle_exit - trio.current_time()

    def _wait(self) -> float:
        """Seconds that the next claim may wait for a job: not past the end of the window, or of our patience."""
        closing = closes_in(self._options.run_windows, _local_now())
        wait = min(self._options.poll_wait, self._idle_left())
        return math.floor(min(wait, closing if closing is not None else wait))

    async def _claim(self, limit: int) -> list[ClaimedJob]:
        try:
            claims = await self._steady.claim(
                self._worker_id,
                list(self._duties),
                claim_key=uuid.uuid4().hex,
                wait=self._wait(),
                limit=limit,
                accepts=_ACCEPTS if not self._options.comparisons_only else (*_ACCEPTS, ONLY_COMPARISONS),
            )
        except ApiError as error:
            if error.status == 401 or error.type == _BOUND or self._options.once:
                raise
            if error.type in (REPLACED, _ALIVE):
                self._end_replaced()
            elif error.status == 404:
                warn("forgotten", "the server does not know this worker; registering again")
                await self._become_worker()
            else:
                warn("claim-refused", f"no job is given to this worker: {error}")
                self._trouble()
            return []
        if self._options.comparisons_only and any(claim.job.canary is None for claim in claims):
            for claim in claims:
                await self._client.release(claim.job.id, self._worker_id, claim.lease, _TOO_OLD, cause="preempted")
            raise WorkerTrouble(_TOO_OLD)
        return claims

    # What is claimed

    async def _run_attempt(self, claim: ClaimedJob, background: trio.Nursery) -> None:
        held = self._holdings.take(claim)
        duty = self._duties[claim.job.type]
        attempt = AttemptRun(
            self._client,
            self._worker_id,
            Conversion(duty.converter, duty.limits, duty.validation, self._options.output_suffix),
            held,
            scratch=self._scratch,
            zip_outputs=self._options.zip_outputs,
            made_with=self._made_with(duty),
            redactor=self._options.redactor,
            logs=self._logs,
        )
        try:
            outcome = await attempt.run()
            self.tally[outcome] += 1
            if outcome is RunEnd.COMPLETED:
                self._streak.succeeded()
            elif attempt.reason is not None and not attempt.no_room and claim.job.canary is None:
                self._streak.failed(attempt.reason)
            if outcome is RunEnd.RELEASED and not attempt.no_room:
                # One job that does not go says nothing about the others: the server puts it behind them.
                if self._troubled not in (None, held.job_id):
                    self._trouble()
                self._troubled = held.job_id
            elif outcome in (RunEnd.COMPLETED, RunEnd.FAILED):
                self._cool_down, self._troubled = 0.0, None
        finally:
            self._idle_since = trio.current_time()
            self._holdings.let_go(held)
            background.start_soon(self._free_when_over, attempt)

    async def _free_when_over(self, attempt: AttemptRun) -> None:
        """A handler's thread that goes on keeps its slot: there are never more conversions at a time than slots."""
        await attempt.leftover()
        self._slots.release()

    def _trouble(self) -> None:
        """Pause: what was in the way of one job may be in the way of all."""
        self._cool_down = min(max(2 * self._cool_down, _COOL_DOWN), _LONGEST_COOL_DOWN)
        self._resume_at = trio.current_time() + self._cool_down


def _local_now() -> datetime:
    return datetime.now().astimezone()
