"""The replicator: runs Litestream, knows how far it is, has drills run. State owned here: the Litestream process, how
far the backup is behind, and the drill under way.

Litestream copies what is committed. This actor starts it again when it dies, asks it where the truth is how far it
has come, and proves from time to time that the backup can be restored. None of it is on the path of a write: with
the store away, only the lag grows. It is stopped last, after the database was closed, so that nothing is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from actors.drill import Drilling
from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import Done, LeaveCheckpoints, Ping, RecordDrill, RunDrill
from blobforge.backup import BackupError, Epoch
from blobforge.backup.child import KILL_SECONDS, LOCK, sole_parent
from blobforge.backup.epochs import begin, current, forget, wal_size
from blobforge.backup.folder import private_folder
from blobforge.backup.replica import Replica
from blobforge.backup.sidecar import FOLDER, Plan, Sidecar, running
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Drill

log = structlog.get_logger("blobforge.backup")

MAILBOX = 16  # only people ask for drills
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before Litestream is started again
SETTLED = 60.0  # seconds after which a Litestream counts as running well
PATIENCE = 10.0  # seconds for one answer about what is in the backup
# Replication that has stopped without a word has been seen; a store that is away is no reason to start again.
STALLED = 300.0
# While no Litestream runs, nothing checkpoints, so that the next one finds all that it has not read.
LONGEST_WAL = 256 * 1024**2  # bytes
LAST_SYNC = 5.0  # seconds for the last changes, and once more for the process to end
STOPPED_WITHIN = 2 * LAST_SYNC + 2 * KILL_SECONDS  # the longest that `stop` takes, whatever else hangs
EARLIEST_DRILL = 30.0  # seconds after a start: first the work that has waited
DEGRADED_LAG = 60.0  # seconds
SHORTEST_LAG = 0.1  # seconds; answers show tenths, and what is not proven is never shown as 0

CLOSED = Refusal(RefusalCode.SHUTTING_DOWN, "The server is shutting down.")


class PlainBackup(BackupError):
    """A backup that should be encrypted was found not to be."""


class Replicator:
    """`writes` counts the transactions that have written; `drill_interval` is in seconds, 0 for none."""

    def __init__(
        self,
        plan: Plan,
        *,
        writer: Mailbox[Envelope[Any]],
        writes: Callable[[], int],
        now: Callable[[], int],
        drill_interval: float,
        last_drill: Drill | None,
        proven_until: int | None,
    ) -> None:
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self.plan = plan
        self.epoch: Epoch | None = None
        self.restarts = 0
        self.running = False
        self.last_drill = last_drill
        self.proven_until_ms = proven_until
        self._writer = writer
        self._writes = writes
        self._now = now
        self._drill_interval = drill_interval
        self._sidecar: Sidecar | None = None
        self._ever_confirmed = False
        self._confirmed_writes = -1
        self._dirty_since: float | None = None  # when the first commit was that we do not know to be in the backup
        self._looked = 0.0  # the last moment at which nothing was missing
        self._drill: trio.CancelScope | None = None
        self._closed = False
        # Whatever else falls, this ends only by `stop`: the last changes are still to be copied.
        self._all = trio.CancelScope(shield=True)
        self._idle = trio.Event()

    @property
    def lag_seconds(self) -> float | None:
        """For how long there may have been something that is not known to be in the backup, 0 only where there is
        nothing. None: it was never reached."""
        since = self._dirty_since
        if since is None:
            if not self._ever_confirmed:
                return None
            if self._writes() == self._confirmed_writes:
                return 0.0
            since = self._looked  # committed after that, and before the next look
        return max(SHORTEST_LAG, trio.current_time() - since)

    @property
    def last_drill_ok(self) -> bool | None:
        return self.last_drill.ok if self.last_drill is not None else None

    @property
    def drilling(self) -> bool:
        return self._drill is not None

    @property
    def troubles(self) -> list[str]:
        """Why the backup is not what it should be, in words that every caller may read; empty when all is well."""
        found = []
        if not self.running:
            found.append("Litestream is not running; it is started again")
        lag = self.lag_seconds
        if lag is not None and lag > max(DEGRADED_LAG, 3 * self.plan.sync_interval):
            found.append(f"the backup is {lag:.0f} seconds behind")
        if self.last_drill_ok is False:
            found.append("the last drill failed")
        return found

    async def run(self) -> None:
        """Serve until `stop`. Raises PlainBackup when a backup that should be encrypted is not."""
        self._dirty_since = trio.current_time()
        try:
            data = self.plan.data
            with self._all, sole_parent(data / LOCK) as lock, private_folder(data / FOLDER) as folder:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._supervise, folder, lock)
                    nursery.start_soon(self._watch)
                    next_drill = self._first_drill()
                    while True:
                        envelope = await self.mailbox.take(until=next_drill)
                        if envelope is not None:
                            self._asked(envelope, nursery, folder)
                        elif trio.current_time() >= next_drill:
                            self._begin_drill(nursery, folder)
                            next_drill = trio.current_time() + self._drill_interval
        finally:
            self._idle.set()

    def close(self) -> None:
        """The writer is about to end: no drill from here on."""
        self._closed = True
        if self._drill is not None:
            self._drill.cancel()

    async def stop(self) -> None:
        """Have Litestream copy what is left and end, within STOPPED_WITHIN. The writer must have ended before."""
        self.close()
        self._all.deadline = trio.current_time() + STOPPED_WITHIN
        try:
            await self._copy_the_last()
        finally:
            self._all.cancel()
        await self._idle.wait()

    async def _copy_the_last(self) -> None:
        sidecar = self._sidecar
        if sidecar is None:
            if self._dirty_since is not None:
                log.warning("Litestream is not running: the last changes are not in the backup", lag=self.lag_seconds)
        else:
            complete = await sidecar.truth.ended(lambda: sidecar.child.end(LAST_SYNC), patience=LAST_SYNC)
            if complete:
                log.info("the backup is complete")
            else:
                log.warning(
                    "the backup has not taken the last changes; they are in the database", lag=self.lag_seconds
                )

    # ------------------------------------------------------------------ the process

    async def _supervise(self, folder: Path, lock: int) -> None:
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            try:
                epoch = self.epoch = self._epoch()
                await self._leave_checkpoints(to_litestream=True)
                async with running(self.plan, epoch, folder=folder, lock=lock) as sidecar:
                    self._sidecar, self.running = sidecar, True
                    log.info("replicating", epoch=epoch.name, litestream=str(self.plan.litestream))
                    code = await sidecar.listen()
                    reason = f"exit code {code}"
            except (BackupError, OSError) as error:
                reason = str(error)
            finally:
                self._sidecar, self.running = None, False
            if self._closed:
                await trio.sleep_forever()  # `stop` has ended it
            if wal_size(self.plan.database) > LONGEST_WAL:
                await self._take_checkpoints_back()
            if trio.current_time() - began > SETTLED:
                pause = FIRST_PAUSE
            self.restarts += 1
            log.error("Litestream has ended; the server goes on", reason=reason, again_in=pause)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _leave_checkpoints(self, *, to_litestream: bool) -> None:
        outcome = await ask(self._writer, LeaveCheckpoints(to_litestream))
        if isinstance(outcome, Refusal):
            raise BackupError(outcome.detail)

    async def _take_checkpoints_back(self) -> None:
        """The WAL is not read by Litestream, and has grown long: checkpoint it ourselves, and copy all of it anew
        later."""
        log.error("the WAL has grown without a Litestream: the next one begins a new epoch")
        forget(self.plan.data, self.plan.database)
        await ask(self._writer, LeaveCheckpoints(to_litestream=False))

    def _epoch(self) -> Epoch:
        plan = self.plan
        fixed = (plan.data, plan.database, plan.kind, plan.source.place, plan.source.keys)
        return current(*fixed) or begin(*fixed, now_ms=self._now())

    # ------------------------------------------------------------------ how far it is behind

    async def _watch(self) -> None:
        """Know how far the backup is behind. What was committed is behind until the contrary is proven."""
        every = max(1.0, self.plan.sync_interval)
        asked: Sidecar | None = None
        sure = False
        while True:
            await trio.sleep(every)
            if self._dirty_since is None:
                if self._writes() != self._confirmed_writes:
                    self._dirty_since = self._looked
                else:
                    self._looked = trio.current_time()
            sidecar = self._sidecar
            if sidecar is None or self._dirty_since is None or self._closed:
                continue
            if sidecar is not asked or not sure:
                # One that was just started, or that has lost an answer of the store, may have nothing to say before
                # there is something new.
                await ask(self._writer, Ping())
            before, at = self._writes(), trio.current_time()
            sure = await sidecar.truth.confirmed(patience=max(PATIENCE, 2 * self.plan.sync_interval))
            if sure:
                if sidecar is not asked:
                    await self._prove_encrypted(sidecar)
                asked = sidecar
                self._ever_confirmed = True
                self._confirmed_writes, self._looked = before, at
                self._dirty_since = None if self._writes() == before else at
            elif trio.current_time() - self._dirty_since > STALLED:
                await self._end_stalled(sidecar)

    async def _prove_encrypted(self, sidecar: Sidecar) -> None:
        """Look at the objects in the store: that encryption is configured does not prove that it is done."""
        if self.plan.source.keys is None or self.epoch is None:
            return
        replica = Replica(self.plan.source.place)
        look = partial(replica.plain_object, self.epoch)
        try:
            with trio.fail_after(PATIENCE):
                plain = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        except (BackupError, trio.TooSlowError) as error:
            log.warning("cannot see yet whether the backup is encrypted", reason=str(error))
            return
        if plain is not None:
            sidecar.child.kill()
            raise PlainBackup(
                f"the backup should be encrypted, and the object {plain} is not: {self.plan.litestream} was stopped; "
                "delete that object, and use Litestream 0.3.13 (BLOBFORGE_LITESTREAM_BIN)"
            )

    async def _end_stalled(self, sidecar: Sidecar) -> None:
        """End a Litestream that has copied nothing for long. If it is not the store that is away, another process may
        do better."""
        try:
            with trio.fail_after(PATIENCE):
                await trio.to_thread.run_sync(Replica(self.plan.source.place).look, abandon_on_cancel=True)
        except (BackupError, trio.TooSlowError):
            return
        log.error("Litestream copies nothing, and the store answers: starting it again", lag=self.lag_seconds)
        await sidecar.child.end(LAST_SYNC)

    # ------------------------------------------------------------------ drills

    def _first_drill(self) -> float:
        """When the next one is due, on trio's clock."""
        if not self._drill_interval:
            return math.inf
        rest = 0.0
        if self.last_drill is not None:
            # The wall clock may have jumped: never wait for longer than one interval.
            ago = (self._now() - self.last_drill.started_at) / 1000
            rest = min(self._drill_interval, max(0.0, self._drill_interval - ago))
        return trio.current_time() + max(rest, min(EARLIEST_DRILL, self._drill_interval))

    def _asked(self, envelope: Envelope[Any], nursery: trio.Nursery, folder: Path) -> None:
        match envelope.message:
            case RunDrill() if self._closed:
                envelope.reply.settle(CLOSED)
            case RunDrill():
                self._begin_drill(nursery, folder)
                envelope.reply.settle(Done())
            case other:
                raise AssertionError(f"not for the replicator: {other!r}")

    def _begin_drill(self, nursery: trio.Nursery, folder: Path) -> None:
        if self._drill is None and not self._closed:
            self._drill = trio.CancelScope()
            nursery.start_soon(self._run_drill, self._drill, folder)

    async def _run_drill(self, scope: trio.CancelScope, folder: Path) -> None:
        with scope:
            try:
                drilling = Drilling(self.plan, self._writer, now=self._now)
                drill = await drilling.run(self.epoch, self._sidecar, folder / "drill.db")
                await self._record(drill)
            finally:
                self._drill = None

    async def _record(self, drill: Drill) -> None:
        self.last_drill = drill
        if drill.ok:
            self.proven_until_ms = drill.proven_until
            log.info("drill passed", detail=drill.detail)
        else:
            log.error("drill failed", detail=drill.detail)
        record = RecordDrill(drill.started_at, drill.ended_at, drill.ok, drill.proven_until, drill.detail)
        outcome = await ask(self._writer, record)
        if isinstance(outcome, Refusal):
            log.warning("the drill is not on record", reason=outcome.detail)
