"""Liveness: what must happen does happen, and soon, wherever nothing has been wrong for a while.

Owns: since when all is calm. It looks every few seconds; what it finds undone must have been undone for longer than
the part whose business it is may take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from blobforge.canary import ONLY_COMPARISONS, is_comparison
from blobforge.objects.keys import accepted_key, output_of
from blobforge.serve.parts import Parts
from tests.simulation.clock import WallClock
from tests.simulation.faults import Weather
from tests.simulation.history import Ask, History
from tests.simulation.kinds import TypeSet
from tests.simulation.network import Run
from tests.simulation.oracle import ENDED, URGENT, Oracle

EVERY = 3.0
SOON = 1.0  # seconds in which a wake-up must have come; it takes none
SOON_ELSEWHERE = 3.0  # what another server has written is looked for once a second
AT_ONCE = 1e-6
CALM = 20.0  # seconds without a fault: what was tried again after one, every five seconds, is done
SOURCE_LOOK = 70.0  # seconds between two looks for a source, at most, and some
HURRY_LOOK = 75.0  # for what has waited for too long
PRUNE_LOOK = 75.0  # the same, for what has been kept long enough


class Watched(Protocol):
    """A server, as its operator sees it."""

    @property
    def up(self) -> bool: ...

    @property
    def started_at(self) -> float: ...

    @property
    def process(self) -> Run | None: ...

    @property
    def parts(self) -> Parts | None: ...

    def bytes_of(self, key: str) -> bytes | None: ...


class Watch:
    def __init__(
        self, history: History, oracle: Oracle, servers: Sequence[Watched], weather: Weather, clock: WallClock
    ) -> None:
        self._history = history
        self._oracle = oracle
        self._servers = servers
        self._soon = SOON if len(servers) == 1 else SOON_ELSEWHERE
        self._weather = weather
        self._clock = clock
        self._calm_since = 0.0

    async def run(self) -> None:
        while True:
            await trio.sleep(EVERY)
            now = trio.current_time()
            if not self._weather.calm or not all(server.up for server in self._servers):
                self._calm_since = now
            began = max(self._calm_since, *(self._disturbed(server, now) for server in self._servers))
            self._look(now, now - began)

    def _disturbed(self, server: Watched, now: float) -> float:
        return max(server.started_at, server.process.disturbed_until if server.process is not None else now)

    def _broken(self, promise: str, how: str) -> None:
        self._history.broken(promise, how)

    def _look(self, now: float, calm: float) -> None:
        if calm < self._soon + EVERY:
            return
        look, limits = self._oracle.now, self._oracle.limits
        for job in look.jobs.values():
            since, _ = self._oracle.since[job.id]
            if job.expiry is not None and min((self._clock() - job.expiry) / 1000, calm) > CALM:
                self._broken("what no worker was given by its time is given up", f"job {job.id}")
            match job.status:
                case "pending" if job.deferred and job.not_before is not None:
                    over = (self._clock() - job.not_before) / 1000  # in a play with such jobs nobody sets the clock
                    if min(over, now - since, calm) > CALM:
                        self._broken("a job is ready when its time has come", f"job {job.id}")
                case "pending" if job.not_before is not None:
                    if min(now - since, calm) > max(limits.retry_backoff_max, *self._oracle.waits(job.id, 1)) + CALM:
                        self._broken("a retry comes when its wait is over", f"job {job.id}")
                case "pending":
                    after = self._oracle.types.settings(look.types, job.type).urgent_after
                    if after is not None and job.ready and job.priority != URGENT:
                        ready = self._oracle.changed_at[job.id], self._oracle.types.urgent_since[job.type]
                        late = min(now - max(ready) - after / 1000, calm) > HURRY_LOOK + CALM
                        if late and not self._clock.was_set:  # it goes by the wall clock
                            self._broken(
                                "nothing waits longer than its type says before it is urgent", f"job {job.id}"
                            )
                    if job.avoid is not None and min(now - since, calm) > limits.worker_timeout + CALM:
                        self._broken("nobody starves for a busy worker", f"job {job.id}")
                    compares = is_comparison(job.type)
                    for ask in self._waiting(now):
                        types = ask.body.get("job_types") or [ask.body["job_type"]]
                        worker = look.workers.get(ask.body["worker_id"])
                        serves = job.kind in types and worker is not None and worker.may
                        if compares:
                            serves = serves and worker is not None and worker.quarantine is None
                            serves = serves and worker is not None and worker.converter is not None
                            serves = serves and worker.converter == self._oracle.canaries.made_by(job)
                        else:
                            serves = serves and ONLY_COMPARISONS not in ask.body.get("accepts", ())
                        serves = serves and not job.kept_from(ask.body["worker_id"])
                        # Who was stopped while it waited is not woken by being let in again: it asks anew.
                        serves = serves and self._oracle.may_since[ask.body["worker_id"]] < ask.sent_at
                        serves = serves and worker is not None and worker.fits(job)
                        labelled = self._oracle.labelled_since[ask.body["worker_id"]]
                        open_since = self._oracle.types.room_since(
                            job.kind, look.types.get(job.kind, TypeSet()), now, sure=not self._clock.was_set
                        )
                        if open_since is None:
                            continue
                        if compares and open_since >= ask.sent_at:
                            continue  # where a limit was in its way, it asks anew
                        waited = min(now - each for each in (since, ask.sent_at, open_since, labelled))
                        if serves and waited > self._soon:
                            self._broken("a ready job wakes who waits", f"job {job.id}, {ask.body['worker_id']}")
                case "failed" if calm > CALM:
                    failed = sum(at[0] == job.id and each.outcome == "failed" for at, each in look.attempts.items())
                    tries = max(job.attempts, failed)  # some may have been given back
                    longest = max(self._oracle.waits(job.id, tries))
                    if min(now - since, calm) > longest + CALM:
                        self._broken("a retry comes when its wait is over", f"job {job.id}")
                case "running":
                    silent = now - self._oracle.renewed[job.id, job.attempt]
                    if min(silent, calm) > 2 * self._oracle.types.longest(job.kind, limits.worker_timeout) + CALM:
                        self._broken("silence expires a lease", f"job {job.id}/{job.attempt}: {silent:.1f} s")
                    self._held_by_nobody(job.id, job.attempt)
                case "uploading" if job.is_child:
                    if min(now - since, calm) > SOURCE_LOOK + CALM:
                        self._broken("an output that is the source of a job is proven", f"job {job.id}")
                case "uploading":
                    there = now - self._history.uploaded.get(job.source, now)
                    kept = self._servers[0].bytes_of(f"sources/{job.source}") is not None
                    if kept and min(now - since, there, calm) > SOURCE_LOOK:
                        self._broken("a source that is there is found", f"job {job.id}")
                case _ if job.status in limits.kept:
                    if min(now - since - limits.kept[job.status], calm) > PRUNE_LOOK + CALM:
                        self._broken("what has been kept long enough goes", f"job {job.id}")
                case _:
                    pass

    def _waiting(self, now: float) -> list[Ask]:
        """Long polls whose clients are there, sent to a server that is up."""
        return [
            ask
            for ask in self._history.open
            if ask.verb == "claim"
            and any(ask.server is server.process for server in self._servers)
            and ask.gone_at > now
            and now < ask.sent_at + ask.body["wait"]
        ]

    def _held_by_nobody(self, job: int, number: int) -> None:
        """A job that was given to a claim whose client went away, and that cannot be repeated: it is given back."""
        place = (job, number)
        if place in self._history.delivered or self._oracle.began_in[place] != self._oracle.restarts:
            return
        if any(server.parts is None or server.parts.writer.failed_commits for server in self._servers):
            return  # what gives it back is not said twice: then its lease ends it
        began = self._oracle.began[place]
        worker = self._oracle.now.attempts[place].worker
        asked = [
            ask
            for ask in self._history.asks
            if ask.body.get("worker_id") == worker
            and (ask.verb == "claim" or ask.body.get("claim_next"))
            # A slow server may commit when the client has gone; one that can come again may get a refusal by then.
            and ask.sent_at <= began <= ask.ended_at + (self._soon if ask.repeatable else 0.0)
        ]
        # Who went in the very moment of the grant may have had it on the way to him, as with any answer that is lost.
        gone = [ask for ask in asked if not ask.repeatable and abs(ask.gone_at - began) > AT_ONCE]
        if asked == gone and trio.current_time() - max([began, *(ask.ended_at for ask in asked)]) > self._soon:
            self._broken("a vanished long poll never holds a job", f"{job}/{number}, given to {worker}")

    def at_the_end(self) -> None:
        """All has ended, and as it should."""
        for worker in self._oracle.now.workers.values():
            if worker.quarantine is not None and worker.id in self._history.readmitted:
                self._broken("every pause ends when it is lifted", f"{worker.id} is in quarantine")
        for number in self._oracle.canaries.open:
            self._broken("a canary ends when its comparisons have, or when it is stopped", f"canary {number} goes on")
        for job in self._oracle.now.jobs.values():
            if job.status not in ENDED:
                self._broken("faults off, everything drains", f"job {job.id} is {job.status}")
            if job.output is not None:  # of a job that was tried again in vain, too: its result is kept
                self._output(job.id, job.output)

    def _output(self, job: int, key: str) -> None:
        # What is served: the copy that was made of it after it was accepted, once there is one.
        copy = self._servers[0].bytes_of(accepted_key(output_of(key).installation or "", key))
        kept = copy if copy is not None else self._servers[0].bytes_of(key)
        if kept is None and key not in self._history.vanished:
            self._broken("nothing is deleted that is needed", key)
        elif kept != self._history.outputs.get(key):
            self._broken("outputs are fenced", f"{key} of job {job} does not hold what its attempt has put there")

    def drained(self) -> bool:
        """Whether every job has ended, and is gone where it is not to be kept."""
        kept, receiver = self._oracle.limits.kept, self._oracle.receiver
        if receiver is not None and receiver.waits:
            return False
        if self._oracle.now.put_off or self._oracle.canaries.open:
            return False
        return all(job.status in ENDED and job.status not in kept for job in self._oracle.now.jobs.values())
