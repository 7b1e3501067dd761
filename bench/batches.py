"""What does a batch of a million jobs cost, beside a tag that all of them have?

    python -m bench.batches [--jobs 1000000] [--turns 20] [--batches 10000] [--rounds 200]
                            [--quick] [--baseline] [--plot]

On SQLite (`synchronous=FULL`) and on a PostgreSQL of this machine, without HTTP. Jobs are submitted 1,000 to a
transaction, and claimed and completed 100 to a transaction: those of one batch, and as many with one tag, in turns,
so that both see the same machine. `times` is the median of the turns beside that of the tag. In the end the page of a
list of very many batches is asked for, with what is counted of each, and the counts of the large one alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from msgspec import Meta

from actors.messages import Claim, Complete, Granted, MakeBatch, NewJob, Register, Submit
from bench.filling import ADMIN
from bench.labels import THERE, do
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.search import engines, timed
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from blobforge.store.writing import Store

SUBMITTED, CLAIMED = 1_000, 100  # jobs of one transaction
PAGE = 50
TAGGED, BATCHED = "tagged", "batched"  # types, so that each kind of job can be claimed alone
BEFORE = 1_000  # jobs


class Batches(Plan, frozen=True, kw_only=True):
    jobs: Annotated[int, Meta(description="jobs of the large batch")] = 1_000_000
    turns: Annotated[int, Meta(description="turns in which they are submitted")] = 20
    batches: Annotated[int, Meta(description="batches that are listed")] = 10_000
    rounds: Annotated[int, Meta(description="pages asked for, and transactions of claims and completions")] = 200


FULL = Batches()
QUICK = Batches(jobs=50_000, turns=5, batches=1_000, rounds=50)


class Kind:
    """Jobs with one tag, or of one batch; how long its transactions took, in seconds."""

    def __init__(self, store: Store, type_: str, *, tag: str | None = None, batch: int | None = None) -> None:
        self._store = store
        self._type = type_
        self._tags = (tag,) if tag is not None else ()
        self._batch = batch
        self._next = (1 << 60) + (1 << 59) * (type_ == BATCHED)
        self.submitted: list[float] = []
        self.worked: list[float] = []
        self.errors = 0
        do(store, [Register(ADMIN, f"bench-{type_}", type_)])

    def submit(self, jobs: int) -> None:
        for start in range(self._next, self._next + jobs, SUBMITTED):
            numbers = range(start, min(start + SUBMITTED, self._next + jobs))
            messages: list[Any] = [
                Submit(NewJob(self._type, f"{n:064x}", tags=self._tags, batch=self._batch), THERE) for n in numbers
            ]
            began = time.perf_counter()
            answers = do(self._store, messages)
            self.submitted.append(time.perf_counter() - began)
            self.errors += sum(isinstance(answer, Refusal) for answer in answers)
        self._next += jobs

    def work(self) -> None:
        """Claim jobs and complete them."""
        worker = f"bench-{self._type}"
        began = time.perf_counter()
        (granted,) = do(self._store, [Claim(ADMIN, worker, (self._type,), limit=CLAIMED)])
        if not isinstance(granted, Granted):
            raise BenchError(f"no jobs to claim: {granted}")
        answers = do(self._store, [Complete(ADMIN, worker, job.id, job.lease) for job in granted.jobs])
        self.worked.append(time.perf_counter() - began)
        self.errors += sum(isinstance(answer, Refusal) for answer in answers)


def compare(engine: str, tagged: Kind, batched: Kind, plan: Batches) -> list[dict[str, Any]]:
    each = max(1, plan.jobs // plan.turns)
    for turn in range(plan.turns):
        for kind in (tagged, batched) if turn % 2 == 0 else (batched, tagged):
            kind.submit(each)
    for turn in range(plan.rounds):
        for kind in (tagged, batched) if turn % 2 == 0 else (batched, tagged):
            kind.work()
    rows = []
    for what, took in (
        (f"submitted, {SUBMITTED:,} to a transaction", (tagged.submitted, batched.submitted)),
        (f"claimed and completed, {CLAIMED} to a transaction", (tagged.worked, batched.worked)),
    ):
        beside = median(took[0])
        for how, kind, seconds in (("with a tag", tagged, took[0]), ("in a batch", batched, took[1])):
            row = {"what": f"{engine}, {how}, {what}", "engine": engine, "kind": what.split(",")[0] + " " + how}
            rows.append(row | timed(seconds) | {"times": median(seconds) / beside, "errors": kind.errors})
    return rows


def pages(engine: str, reader: Reader, large: int, plan: Batches) -> list[dict[str, Any]]:
    def listed() -> bool:
        page = reader.batches.page(limit=PAGE, name=None, going=False)
        reader.batches.counts([batch.id for batch in page])
        return len(page) < min(PAGE, plan.batches)

    asked: dict[str, Callable[[], bool]] = {
        f"a page of {PAGE} of {plan.batches:,} batches": listed,
        f"the counts of one of {plan.jobs:,} jobs": lambda: not reader.batches.counts([large])[large],
    }
    rows = []
    for what, ask in asked.items():
        took, errors = [], 0
        for _ in range(plan.rounds):
            began = time.perf_counter()
            errors += ask()
            took.append(time.perf_counter() - began)
        rows.append({"what": f"{engine}, {what}", "engine": engine, "kind": what} | timed(took) | {"errors": errors})
    return rows


async def run(plan: Batches) -> Report:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, engines(Path(folder), BEFORE) as opened:
        for engine, each in opened.items():
            store = each.open_store()
            (large,) = do(store, [MakeBatch("bench")])
            tagged = Kind(store, TAGGED, tag="bench")
            batched = Kind(store, BATCHED, batch=large.batch_id)
            rows += compare(engine, tagged, batched, plan)
            for start in range(0, plan.batches, SUBMITTED):
                do(store, [MakeBatch(f"{n}") for n in range(start, min(start + SUBMITTED, plan.batches))])
            reader = each.open_reader()
            rows += pages(engine, reader, large.batch_id, plan)
            reader.close()
            store.close()
    chart = Chart(x="kind", y="p50_ms", series="engine", x_label="what", bars=True)
    return Report("batches", f"A batch of {plan.jobs:,} jobs", rows, headline="p50_ms", chart=chart)


if __name__ == "__main__":
    command("batches", __doc__ or "", FULL, QUICK, run)
