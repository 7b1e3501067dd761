"""Jobs that come back: one that no worker can do holds up no other, and a retry goes to another worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.house import House, open_house


async def complete(house: House, grant: Any, worker_id: str) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"]}
    status, answer = await house.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)
    assert status == 200, answer


async def fail(house: House, grant: Any, worker_id: str) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"], "error": "no module named torch", "kind": "ImportError"}
    status, answer = await house.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)
    assert status == 200, answer


async def release(house: House, grant: Any, worker_id: str = "w1", **fields: Any) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"], "reason": "No space left on device"} | fields
    status, answer = await house.call("POST", f"/api/jobs/{grant['job']['id']}/release", body)
    assert (status, answer) == (200, {"status": "released"})


@pytest.mark.parametrize("said", [{}, {"cause": "trouble"}], ids=["a worker that says no cause", "trouble"])
async def test_one_document_that_no_worker_can_do_does_not_stall_the_queue(
    tmp_path: Path, autojump_clock: Any, said: dict[str, str]
) -> None:
    async with open_house(tmp_path / "data", max_releases=2, max_losses=2, retry_jitter=0.0) as house:
        bad = await house.submit(b"the oldest")
        good = [await house.submit(b"good %d" % number) for number in range(5)]
        await house.register()
        seen: list[int] = []
        while len(seen) < 8:
            grant = await house.claim(wait=60)
            if grant["job"] is None:
                continue
            seen.append(grant["job"]["id"])
            if grant["job"]["id"] == bad:
                await release(house, grant, **said)
            else:
                await complete(house, grant, "w1")
        assert seen == [bad, *good, bad, bad]  # behind the others
        shown = await house.job(bad)
        assert (shown["status"], shown["attempts"], shown.get("losses", 0)) == ("pending", 0, 1)
        assert shown["not_before"] is not None
        assert "No space left on device" in shown["last_error"]
        await trio.sleep(130)
        await release(house, await house.claim(), **said)
        shown = await house.job(bad)
        assert (shown["status"], shown["attempts"], shown.get("losses", 0)) == ("dead", 0, 2)
        assert "No space left on device; given back 4 times in a row" in shown["last_error"]
        assert [each["outcome"] for each in shown["attempt_history"]] == ["released"] * 4
        status, failures = await house.call("GET", "/api/failures")
        assert status == 200
        assert [(each["kind"], each["dead"]) for each in failures["failures"]] == [("GivenBack", 1)]


@pytest.mark.parametrize("cause", ["shutdown", "preempted"])
async def test_a_release_at_a_shutdown_is_free_and_immediate_however_often(
    autojump_clock: Any, house: House, cause: str
) -> None:
    job = await house.submit()
    await house.register()
    for _ in range(12):
        await release(house, await house.claim(), cause=cause)
    shown = await house.job(job)
    assert (shown["status"], shown["attempts"], shown.get("losses", 0), shown.get("not_before")) == (
        "pending",
        0,
        0,
        None,
    )
    assert (await house.claim())["job"]["id"] == job


async def test_an_unknown_cause_is_refused_and_named(autojump_clock: Any, house: House) -> None:
    await house.submit()
    await house.register()
    grant = await house.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "cause": "boredom"}
    status, problem = await house.call("POST", f"/api/jobs/{grant['job']['id']}/release", body)
    assert (status, problem["field"]) == (422, "cause")


async def test_a_back_off_of_a_release_survives_a_restart(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_house(tmp_path / "data") as house:
        job = await house.submit()
        await house.register()
        await release(house, await house.claim())
    async with open_house(tmp_path / "data") as house:
        assert (await house.claim())["job"] is None
        assert (await house.claim(wait=60))["job"]["id"] == job


async def test_a_page_says_why_a_job_that_was_given_back_waits(autojump_clock: Any, house: House) -> None:
    job = await house.submit()
    await house.register()
    await release(house, await house.claim())
    shown = await house.job(job)
    assert shown["waiting"]["code"] == "back-off"
    assert "given it back once" in shown["waiting"]["text"]


# ------------------------------------------------------------------ another worker


async def test_a_broken_machine_does_not_eat_the_queue(tmp_path: Path, autojump_clock: Any) -> None:
    """One worker that fails everything at once, one that is good and slow."""
    async with open_house(tmp_path / "data", retry_backoff=1.0) as house:
        jobs = [await house.submit(b"good %d" % number) for number in range(20)]
        for worker_id in ("broken", "good"):
            await house.register(worker_id)

        left = set(jobs)

        async def beats() -> None:
            while left:
                await trio.sleep(20)
                for worker_id in ("broken", "good"):
                    await house.call("POST", f"/api/workers/{worker_id}/heartbeat", {})

        async def broken() -> None:
            while left:
                grant = await house.claim("broken", wait=60)
                if grant["job"] is not None:
                    await fail(house, grant, "broken")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beats)
            nursery.start_soon(broken)
            while left:
                grant = await house.claim("good", wait=60)
                if grant["job"] is None:
                    continue
                await trio.sleep(5)  # it works, and does so well
                await complete(house, grant, "good")
                left.discard(grant["job"]["id"])
        assert {(await house.job(job))["status"] for job in jobs} == {"completed"}
        assert max([(await house.job(job))["attempts"] for job in jobs]) == 2


async def failed_once(house: House) -> int:
    job = await house.submit()
    await house.register("broken")
    await fail(house, await house.claim("broken"), "broken")
    return job


async def test_the_only_worker_gets_its_failed_job_again(autojump_clock: Any, house: House) -> None:
    job = await failed_once(house)
    assert (await house.claim("broken", wait=60))["job"]["id"] == job


async def test_nobody_starves_for_a_busy_worker(autojump_clock: Any, house: House) -> None:
    """The other one is online and asks for nothing: after the worker timeout, the job is anybody's."""
    await house.register("busy")
    job = await failed_once(house)
    began = trio.current_time()
    while (grant := await house.claim("broken", wait=30))["job"] is None:
        await house.call("POST", "/api/workers/busy/heartbeat", {})
        shown = await house.job(job)
        if shown["status"] == "pending":
            assert shown["waiting"]["code"] == "kept"
            assert "broken" in shown["waiting"]["text"]
    timeout = house.parts.services.settings.worker_timeout
    assert grant["job"]["id"] == job
    assert timeout + 24 <= trio.current_time() - began <= timeout + 37


async def test_who_has_failed_a_job_waits_aside_and_the_next_one_gets_it(autojump_clock: Any, house: House) -> None:
    job = await failed_once(house)
    await house.register("good")
    given: dict[str, Any] = {}

    async def poll(worker_id: str) -> None:
        given[worker_id] = (await house.claim(worker_id, wait=60))["job"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll, "broken")
        await trio.sleep(1)
        nursery.start_soon(poll, "good")
        await trio.sleep(40)
        assert given["good"]["id"] == job
        assert "broken" not in given
        other = await house.submit(b"another")  # what nobody has failed, it gets at once
        await trio.sleep(0.1)
        assert given["broken"]["id"] == other


async def test_a_kept_job_does_not_stand_before_others_for_the_one_it_is_kept_from(
    autojump_clock: Any, house: House
) -> None:
    await house.register("good")
    job = await failed_once(house)
    await trio.sleep(40)
    await house.call("POST", "/api/workers/good/heartbeat", {})
    other = await house.submit(b"another")
    assert (await house.claim("broken"))["job"]["id"] == other
    assert (await house.claim("broken"))["job"] is None
    assert (await house.claim("good"))["job"]["id"] == job


async def test_when_the_other_worker_leaves_the_job_is_anybodys(autojump_clock: Any, house: House) -> None:
    await house.register("good")
    job = await failed_once(house)
    await trio.sleep(40)
    await house.call("POST", "/api/workers/good/unregister")
    assert (await house.claim("broken"))["job"]["id"] == job


async def test_a_retry_by_hand_goes_to_another_worker_too(autojump_clock: Any, house: House) -> None:
    await house.register("good")
    job = await failed_once(house)
    await house.call("POST", f"/api/jobs/{job}/retry", {})
    assert (await house.claim("broken"))["job"] is None
    assert (await house.claim("good"))["job"]["id"] == job


async def test_so_does_a_retry_whose_source_has_to_be_sent_again(autojump_clock: Any, house: House) -> None:
    await house.register("good")
    job = await failed_once(house)
    source_hash = (await house.job(job))["source_hash"]
    await house.parts.services.objects.delete(f"sources/{source_hash}")
    await house.call("POST", "/api/jobs", {"type": "pdf", "source_hash": source_hash})  # the server sees it missing
    await house.call("POST", f"/api/jobs/{job}/retry", {})
    assert (await house.job(job))["status"] == "uploading"
    await house.source(b"a document")
    await house.call("POST", f"/api/jobs/{job}/uploaded")
    assert (await house.job(job))["status"] == "pending"
    assert (await house.claim("broken"))["job"] is None
    assert (await house.claim("good"))["job"]["id"] == job
