"""Histories made by hand, for the tests of the checker."""

from __future__ import annotations

from typing import Any

from tests.system.checker import History
from tests.system.history import Kind, Operation

SECOND = 1_000_000_000
TIMEOUT = 10 * SECOND


class Tale:
    """A history in the making: each operation takes a second, the next one begins when it has ended.

    `lasting` makes one overlap those behind it; `lost` is one without an answer.
    """

    def __init__(self) -> None:
        self.at = SECOND
        said = {"timeout": TIMEOUT, "max_attempts": 2, "max_losses": 2}
        self.operations = [Operation(kind=Kind.RULES, invoked=0, ended=0, said=said)]
        self.server(Kind.UP)

    def server(self, kind: Kind) -> None:
        self.operations.append(Operation(kind=kind, invoked=self.at, ended=self.at))
        self.at += 1

    def add(self, kind: Kind, *, lasting: float = 1, lost: bool = False, status: int = 200, **fields: Any) -> None:
        fields.setdefault("job", 1)
        ended = self.at + round(lasting * SECOND) - 1
        self.operations.append(
            Operation(kind=kind, invoked=self.at, ended=ended, returned=not lost, status=status, **fields)
        )
        self.at += SECOND

    def wait(self, seconds: float) -> None:
        self.at += round(seconds * SECOND)

    def submit(self, *, job: int = 1, status: int = 201, shown: str = "pending", **fields: Any) -> None:
        fields.setdefault("source", f"s{job}")
        self.add(Kind.SUBMIT, job=job, status=status, said={"status": shown}, **fields)

    def claim(self, attempt: int = 1, worker: str = "w1", **fields: Any) -> None:
        key = fields.pop("key", f"{worker}-{attempt}")
        if fields.get("lost"):
            self.add(Kind.CLAIM, job=0, worker=worker, key=key, **fields)
        else:
            fields.setdefault("lease", f"lease {fields.get('job', 1)}/{attempt}")
            self.add(Kind.CLAIM, attempt=attempt, worker=worker, key=key, **fields)

    def beat(self, attempt: int = 1, *, gone: bool = False, **fields: Any) -> None:
        self.add(Kind.BEAT, attempt=attempt, said={"lost": gone}, **fields)

    def complete(self, attempt: int = 1, **fields: Any) -> None:
        fields.setdefault("sha256", f"bytes of {attempt}")
        self.add(Kind.COMPLETE, attempt=attempt, **fields)

    def fail(self, attempt: int = 1, *, again: bool = True, **fields: Any) -> None:
        self.add(Kind.FAIL, attempt=attempt, said={"will_retry": again}, **fields)

    def release(self, attempt: int = 1, **fields: Any) -> None:
        self.add(Kind.RELEASE, attempt=attempt, **fields)

    def read(self, status: str, *tries: tuple[str, str], attempts: int = 1, **fields: Any) -> None:
        said = {"status": status, "tries": [list(each) for each in tries], "attempts": attempts}
        self.add(Kind.READ, said=said, **fields)

    def output(self, sha256: str, **fields: Any) -> None:
        self.add(Kind.OUTPUT, said={"sha256": sha256}, **fields)

    def all_jobs(self, *jobs: int) -> None:
        self.add(Kind.LIST, job=0, said={"jobs": list(jobs)})

    def faults(self) -> list[str]:
        return History(sorted(self.operations, key=lambda each: each.invoked)).faults()
