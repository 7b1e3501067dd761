"""What has become of what was found, kind by kind. State owned here: a run's account. It adds up: each is taken,
known or not taken."""

from __future__ import annotations

import msgspec

from blobforge.moving.mapping import NotTaken


class Count(msgspec.Struct):
    """The counts of one kind. `known`: they are here already, and stay as they are. `not_taken`: how many for which
    reason."""

    taken: int = 0
    known: int = 0
    not_taken: dict[str, int] = msgspec.field(default_factory=dict)

    def refuse(self, why: NotTaken) -> None:
        self.not_taken[why.reason] = self.not_taken.get(why.reason, 0) + 1

    @property
    def found(self) -> int:
        return self.taken + self.known + self.refused

    @property
    def refused(self) -> int:
        return sum(self.not_taken.values())


class Account(msgspec.Struct):
    """`statuses`: the jobs that were taken, by their status here. Of the original's database only: `results` that
    were found in the object store, completed jobs `without_result` there, and jobs `without_source` that wait for it.
    """

    jobs: Count = msgspec.field(default_factory=Count)
    tokens: Count = msgspec.field(default_factory=Count)
    workers: Count = msgspec.field(default_factory=Count)
    users: Count = msgspec.field(default_factory=Count)
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    results: int = 0
    without_result: int = 0
    without_source: int = 0
    review: list[tuple[str, str]] = msgspec.field(default_factory=list)  # tokens: name, scopes

    def kinds(self) -> list[tuple[str, Count]]:
        return [("jobs", self.jobs), ("API tokens", self.tokens), ("workers", self.workers), ("users", self.users)]

    @property
    def taken(self) -> int:
        return sum(count.taken for _, count in self.kinds())

    def took_job(self, status: str) -> None:
        self.jobs.taken += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
