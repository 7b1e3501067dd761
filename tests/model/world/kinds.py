"""What is set for types of jobs."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from tests.model.world.state import State
from tests.model.world.things import InARow, Job, No, kind_of

SET_BACK_MS = 1000  # what a clock may be behind that was not set back
UNCHANGED = ...


class Kinds(State):
    def change_type(self, type_: str, by: str, now: int, **wanted: Any) -> Any:
        """What is left out stays, None takes away."""
        was = self.set_for.get(type_, (None,) * 15)
        since, whose, reason, tries, backoff, running, *rate, timeout, weights, breaker, urgent, own, held, then = was
        paused = wanted.get("paused", since is not None)
        if not paused and wanted.get("reason"):
            return No("invalid")
        if not paused:
            since = whose = reason = None
        elif "paused" in wanted or "reason" in wanted:
            since, whose, reason = (now if since is None else since), by, wanted.get("reason") or None
        if "rate" in wanted:
            rate = list(wanted["rate"] or (None, None))
            if rate != list(was[6:8]):
                self.buckets.pop(type_, None)  # full again
        was_broken = self.is_broken(type_)
        is_now = (
            since, whose, reason, wanted.get("max_attempts", tries), wanted.get("retry_backoff", backoff),
            wanted.get("max_running", running), *rate, wanted.get("worker_timeout", timeout),
            self.weighed(weights, wanted["weights"]) if "weights" in wanted else weights,
            wanted.get("breaker", breaker), wanted.get("urgent_after", urgent),
            wanted.get("own_fault", own), wanted.get("quarantine", held),
            wanted["then"] or None if "then" in wanted else then,
        )  # fmt: skip
        if is_now != was:
            if is_now[14] != was[14] and is_now[14] and self.is_endless({**self.following(), type_: is_now[14]}):
                return No("invalid")
            known = type_ in self.set_for or type_ in self.types
            if not known and len(self.set_for) >= self.rules.max_types:
                return No("invalid")
            if since is not None and (whose, reason) != was[1:3]:
                self.happened.append(("type.paused", type_, type_, ()))
            elif since is None and was[0] is not None:
                self.happened.append(("type.resumed", type_, type_, ()))
            self.set_for[type_] = is_now
            if not any(value is not None for value in is_now):
                del self.set_for[type_]
                self.buckets.pop(type_, None)
            if was_broken and whose != "server":
                known_row = self.rows.pop(type_, None)
                if known_row is not None and since is None:
                    self.rows[type_] = InARow(now, overruled=True)
        return ("TypeChanged", type_, is_now)

    def following(self) -> dict[str, tuple[Any, ...]]:
        """What follows the jobs of types of which nothing else is said."""
        return {type_: each[14] for type_, each in self.set_for.items() if each[14] is not None}

    def is_endless(self, following: dict[str, tuple[Any, ...]]) -> bool:
        return any(self.whole_chain(type_, None, None, following) is None for type_ in following)

    def whole_chain(
        self, type_: str, options: str | None, then: Any, following: dict[str, Any], above: Any = (), to: Any = ()
    ) -> Any:
        """The steps, each with what is set for its type where it says nothing. None: they would go in a circle, of
        types for which something is set, or of jobs that are the same."""
        if not following:
            return then or ()
        if (then is None and type_ in to and type_ in following) or (type_, options) in above:
            return None
        above, to = (*above, (type_, options)), ((*to, type_) if then is None else to)
        whole = []
        for step in following.get(type_, ()) if then is None else then:
            below = self.whole_chain(step.type, step.options, step.then, following, above, to)
            if below is None:
                return None
            join = step.join
            if join is not None:
                there = (*above, (step.type, step.options))
                behind = self.whole_chain(join.type, join.options, join.then, following, there, to)
                if behind is None:
                    return None
                join = replace(join, then=behind) if behind else join
            whole.append(replace(step, then=below if below else step.then, join=join))
        return tuple(whole)

    def weighed(self, before: str | None, wanted: dict[str, int] | None) -> str | None:
        held = {} if wanted is None else {**json.loads(before or "{}"), **wanted}
        return json.dumps(held, separators=(",", ":"), sort_keys=True) if held else None

    def room(self, type_: str, now: int) -> int | None:
        """How many more of its jobs may be started now; None: any number."""
        if type_ not in self.set_for:
            return None
        since, most, count = (self.set_for[type_][at] for at in (0, 5, 6))
        left = []
        if self.is_broken(type_):
            left.append(self.let_through_now(type_, now))
        elif since is not None:
            return 0
        if most is not None:
            running = sum(kind_of(job.type) == type_ and job.status == "running" for job in self.jobs.values())
            left.append(max(0, most - running))
        if count is not None:
            left.append(int(self.bucket(type_, now)))
        return min(left) if left else None

    def is_broken(self, type_: str) -> bool:
        """It is paused by its breaker."""
        return type_ in self.set_for and self.set_for[type_][1] == "server"

    def let_through_now(self, type_: str, now: int) -> int:
        row = self.rows.get(type_)
        if row is None or row.probe_at is None or 0 < row.probe_at - now <= min(3_600_000, 60_000 * 2**row.failed):
            return 0
        job = self.jobs.get(row.probe[0]) if row.probe is not None else None
        return int(job is None or job.status != "running" or (job.id, job.attempt) != row.probe)

    def let_through(self, job: Job, now: int) -> None:
        row = self.rows.get(job.type)
        if self.is_broken(job.type) and row is not None:
            row.probe, row.probe_at = (job.id, job.attempt), now + min(3_600_000, 60_000 * 2**row.failed)

    def bucket(self, type_: str, now: int) -> Fraction:
        """What is in the bucket of its rate: it fills evenly, and never above its size."""
        count, ms = self.set_for[type_][6:8]
        held, at = self.buckets.get(type_, (Fraction(count), now))
        if at - now > SET_BACK_MS:
            return max(held, Fraction(1))  # by a clock set back since: how much has come back is not known
        return min(Fraction(count), held + Fraction(count * max(0, now - at), ms))

    def started(self, type_: str, now: int) -> None:
        type_ = kind_of(type_)
        if type_ in self.set_for and self.set_for[type_][6] is not None:
            self.buckets[type_] = (self.bucket(type_, now) - 1, now)

    def patience(self, type_: str, accepts: tuple[str, ...]) -> tuple[int, int] | None:
        """How long a lease lasts, and what its worker waits between heartbeats (ms), if that is not as for all."""
        type_ = kind_of(type_)
        own = self.set_for[type_][8] if type_ in self.set_for else None
        if own is None or (own < self.rules.timeout_ms and "heartbeat_interval" not in accepts):
            return None
        return own, min(self.rules.beat_ms, round(own / 6))

    def max_attempts(self, type_: str) -> int:
        own = self.set_for[type_][3] if type_ in self.set_for else None
        return own or self.rules.max_attempts

    def back_off(self, type_: str, times: int) -> int:
        """Milliseconds of wait after so many failures in a row."""
        type_ = kind_of(type_)
        own = self.set_for[type_][4] if type_ in self.set_for else None
        first = self.rules.backoff_ms if own is None else own
        return min(first * 2 ** (times - 1), max(self.rules.backoff_max_ms, own or 0))
