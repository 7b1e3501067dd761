"""Types that everybody fails: failures in a row, what they have cost, and what is let through. All failures of the
plans are of one cause."""

from __future__ import annotations

from typing import Final

from tests.model.world.decisions import Decisions
from tests.model.world.things import InARow, Job

CAUSE: Final = "ValueError in boom"
FIRST_MS, LONGEST_MS, WEEK_MS, HOUR_MS = 60_000, 3_600_000, 7 * 86_400_000, 3_600_000


class Breakers(Decisions):
    def one_more_failed(self, job: Job, worker_id: str, now: int, *, counts: bool, free: bool) -> None:
        """`counts`: the job had not failed before; `free`: it cost nothing."""
        type_, number = job.type, (job.id, job.attempt)
        row = self.rows.get(type_)
        if self.is_broken(type_):
            if row is not None and row.probe == number:
                row.failed += 1
                row.probe_at = now + self.pause_before(row.failed)
            return
        settings = self.set_for.get(type_)
        most = (settings[10] if settings is not None else None) or 0
        if not most or free or (settings is not None and settings[0] is not None):
            return
        if row is None or now - row.since > WEEK_MS or row.since // HOUR_MS > now // HOUR_MS:
            row = self.rows[type_] = InARow(now)
        if row.overruled:
            return
        counts = counts or any(each[0] == job.id and each[3] for each in row.failures)
        row.failures = [*row.failures, (*number, worker_id, counts)][-2 * most :]
        counted = [each[0] for each in row.failures if each[3]]
        online = sum(
            each.status == "online" and each.enabled and each.held is None and type_ in {each.type, *each.asks}
            for each in self.workers.values()
        )
        workers = list(dict.fromkeys(each[2] for each in row.failures))
        if len(counted) >= most and 2 * len(set(counted)) > most and 2 * len(workers) > min(most, online):
            self.broken(type_, row, workers, now)

    def broken(self, type_: str, row: InARow, workers: list[str], now: int) -> None:
        named = ", ".join(workers[:3]) + (f" and {len(workers) - 3} more" if len(workers) > 3 else "")
        documents = len({each[0] for each in row.failures})
        why = (
            f"{len(row.failures)} attempts in a row failed with {CAUSE}, of {documents} documents on {named}, and"
            " none was completed in between"
        )
        self.set_for[type_] = (now, "server", why, *self.set_for[type_][3:])
        self.happened.append(("type.paused", type_, type_, ()))
        self.on_record(now, "server", "type.pause", type_)
        failures, row.failures = row.failures, []
        row.probe_at = now + FIRST_MS
        for job_id in sorted({each[0] for each in failures}):
            if (job := self.jobs.get(job_id)) is not None:
                self.given_back(job, {each[1] for each in failures if each[0] == job_id}, now)

    def given_back(self, job: Job, numbers: set[int], now: int) -> None:
        """The tries of these failures, as far as the job is charged with them."""
        tries, had = job.attempts, job.attempts
        returned = []
        for number, each in sorted(job.history.items(), reverse=True):
            if not each.free and each.outcome in (None, "completed", "failed", "cancelled") and tries > 0:
                tries -= 1
                if number in numbers and each.outcome == "failed":
                    returned.append(each)
        if not returned or job.status in ("completed", "cancelled"):
            return
        for each in returned:
            each.free = True
        job.attempts -= len(returned)
        job.changed_at = now
        last = job.history[max(job.history)]
        if job.status != "dead" or last.ended_at != job.completed_at:
            return
        spent = job.attempts >= job.max_attempts or job.losses >= self.rules.max_losses
        if last in returned or (not spent and last.outcome == "failed" and had >= job.max_attempts):
            self.again(job, now, reset=False, priority=None)

    def one_completed(self, type_: str, now: int) -> None:
        self.rows.pop(type_, None)
        if self.is_broken(type_):
            self.change_type(type_, "server", now, paused=False)
            self.on_record(now, "server", "type.resume", type_)

    def pause_before(self, failed: int) -> int:
        return min(LONGEST_MS, FIRST_MS * 2**failed)
