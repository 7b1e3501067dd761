"""The same thing done to many jobs: by a filter or by ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.messages import (
    Batch,
    Cancel,
    Claim,
    DeleteJob,
    SetPriority,
)
from blobforge.job import JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from tests.fixtures.engines import contents
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, Book, submission
from tests.web.calls import assert_problem, state


async def four_jobs(local: LocalServer) -> None:
    """1 and 2: pdf, tagged; 3: png, pending; 4: pdf, running."""
    await local.submit(b"1", tags=["old"], source_path="/in/one.pdf")
    await local.submit(b"2", tags=["old"], priority=1)
    await local.submit(b"3", type="png")
    await local.submit(b"4", type="pdf", priority=1)
    await local.register()
    assert (await local.claim())["job"]["id"] == 2
    assert (await local.claim())["job"]["id"] == 4


async def bulk(local: LocalServer, verb: str, **body: Any) -> Any:
    status, answer = await local.call("POST", f"/api/jobs/{verb}", body)
    assert status == 200, answer
    return answer


async def statuses(local: LocalServer) -> list[str]:
    return [(await local.job(job_id))["status"] for job_id in (1, 2, 3, 4)]


async def test_cancel_by_filter(local: LocalServer, autojump_clock: Any) -> None:
    await four_jobs(local)
    before = state(local)
    dry = await bulk(local, "cancel", tag="old", dry_run=True)
    assert dry == {"matched": 2, "changed": 2, "refused": 0, "dry_run": True}
    assert state(local) == before, "a dry run changes nothing"
    assert await bulk(local, "cancel", tag="old") == dry | {"dry_run": False}
    assert await statuses(local) == ["cancelled", "cancelled", "pending", "running"]
    assert await bulk(local, "cancel", tag="old") == {"matched": 2, "changed": 0, "refused": 2, "dry_run": False}


@pytest.mark.parametrize(
    ("filter_", "hit"),
    [
        ({"status": "running"}, [2, 4]), ({"type": "png"}, [3]), ({"worker": "w1"}, [2, 4]), ({"q": "one"}, [1]),
        ({"type": "pdf", "status": "pending"}, [1]), ({"ids": [3, 1, 3, 99]}, [1, 3]), ({"tag": "no"}, []),
    ],
)  # fmt: skip
async def test_every_filter(local: LocalServer, autojump_clock: Any, filter_: Any, hit: list[int]) -> None:
    await four_jobs(local)
    answer = await bulk(local, "cancel", **filter_)
    assert answer["changed"] == len(hit)
    assert [n for n, status in enumerate(await statuses(local), 1) if status == "cancelled"] == hit


async def test_retry(local: LocalServer, autojump_clock: Any) -> None:
    await four_jobs(local)
    await bulk(local, "cancel", ids=[1, 2])
    answer = await bulk(local, "retry", type="pdf", reset_attempts=True, priority=5)
    assert answer == {"matched": 3, "changed": 2, "refused": 1, "dry_run": False}
    assert await statuses(local) == ["pending", "pending", "pending", "running"]
    assert [(await local.job(n))["priority"] for n in (1, 2, 4)] == [5, 5, 1]


async def test_priority(local: LocalServer, autojump_clock: Any) -> None:
    await four_jobs(local)
    answer = await bulk(local, "priority", status="pending", priority=2)
    assert answer["changed"] == 2
    assert [(await local.job(n))["priority"] for n in (1, 3)] == [2, 2]


@pytest.mark.parametrize("verb", ["retry", "cancel", "priority", "retype"])
async def test_nothing_selected_is_not_everything(local: LocalServer, autojump_clock: Any, verb: str) -> None:
    await four_jobs(local)
    before = state(local)
    more: dict[str, Any] = {"priority": {"priority": 1}, "retype": {"to": "png"}}.get(verb, {})
    for body in ({}, {"ids": [1], "tag": "old"}, {"ids": []}, {"ids": [0]}, {"ids": [2**63]}, {"status": "asleep"},
                 {"ids": list(range(1, 10_002))}, {"dry_run": "yes", "tag": "old"}):  # fmt: skip
        assert_problem(await local.call("POST", f"/api/jobs/{verb}", body | more), 422, "invalid")
    assert state(local) == before


@pytest.mark.parametrize("item", [Cancel(1), SetPriority(1, 1), DeleteJob(1)], ids=["cancel", "priority", "delete"])
def test_a_job_that_was_chosen_for_its_status_may_have_moved_on(tmp_path: Path, item: Any) -> None:
    """ "Cancel all that wait" took jobs from the workers that had claimed them while the others were cancelled."""
    book = Book(tmp_path / "book.db")
    book.register("w")
    book.do(submission(1), submission(2))
    book.do(Cancel(2)) if isinstance(item, DeleteJob) else book.do(Claim(ADMIN, "w", ("pdf",)))
    chosen = JobStatus.CANCELLED if isinstance(item, DeleteJob) else JobStatus.PENDING
    before = contents(book.database)["jobs"]
    (refused,) = book.do(Batch((item,), JobFilter(chosen))).items
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.JOB_MOVED_ON
    assert contents(book.database)["jobs"] == before
    (done,) = book.do(Batch((item,))).items
    assert not isinstance(done, Refusal)
