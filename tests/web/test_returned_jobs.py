"""Jobs that come back: one that no worker can do holds up no other, and a retry goes to another worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer, open_local


async def complete(local: LocalServer, grant: Any, worker_id: str) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"]}
    status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)
    assert status == 200, answer


async def fail(local: LocalServer, grant: Any, worker_id: str) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"], "error": "no module named torch", "kind": "ImportError"}
    status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)
    assert status == 200, answer


async def release(local: LocalServer, grant: Any, worker_id: str = "w1", **fields: Any) -> None:
    body = {"worker_id": worker_id, "lease": grant["lease"], "reason": "No space left on device"} | fields
    status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/release", body)
    assert (status, answer) == (200, {"status": "released"})


@pytest.mark.parametrize("said", [{}, {"cause": "trouble"}], ids=["a worker that says no cause", "trouble"])
async def test_one_document_that_no_worker_can_do_does_not_stall_the_queue(
    tmp_path: Path, autojump_clock: Any, said: dict[str, str]
) -> None:
    async with open_local(tmp_path / "data", max_releases=2, max_losses=2, retry_jitter=0.0) as local:
        bad = await local.submit(b"the oldest")
        good = [await local.submit(b"good %d" % number) for number in range(5)]
        await local.register()
        seen: list[int] = []
        while len(seen) < 8:
            grant = await local.claim(wait=60)
            if grant["job"] is None:
                continue
            seen.append(grant["job"]["id"])
            if grant["job"]["id"] == bad:
                await release(local, grant, **said)
            else:
                await complete(local, grant, "w1")
        assert seen == [bad, *good, bad, bad]  # behind the others
        shown = await local.job(bad)
        assert (shown["status"], shown["attempts"], shown.get("losses", 0)) == ("pending", 0, 1)
        assert shown["not_before"] is not None
        assert "No space left on device" in shown["last_error"]
        await trio.sleep(130)
        await release(local, await local.claim(), **said)
        shown = await local.job(bad)
        assert (shown["status"], shown["attempts"], shown.get("losses", 0)) == ("dead", 0, 2)
        assert "No space left on device; given back 4 times in a row" in shown["last_error"]
        assert [each["outcome"] for each in shown["attempt_history"]] == ["released"] * 4
        status, failures = await local.call("GET", "/api/failures")
        assert status == 200
        assert [(each["kind"], each["dead"]) for each in failures["failures"]] == [("GivenBack", 1)]


@pytest.mark.parametrize("cause", ["shutdown", "preempted"])
async def test_a_release_at_a_shutdown_is_free_and_immediate_however_often(
    autojump_clock: Any, local: LocalServer, cause: str
) -> None:
    job = await local.submit()
    await local.register()
    for _ in range(12):
        await release(local, await local.claim(), cause=cause)
    shown = await local.job(job)
    assert (shown["status"], shown["attempts"], shown.get("losses", 0), shown.get("not_before")) == (
        "pending",
        0,
        0,
        None,
    )
    assert (await local.claim())["job"]["id"] == job


async def test_an_unknown_cause_is_refused_and_named(autojump_clock: Any, local: LocalServer) -> None:
    await local.submit()
    await local.register()
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "cause": "boredom"}
    status, problem = await local.call("POST", f"/api/jobs/{grant['job']['id']}/release", body)
    assert (status, problem["field"]) == (422, "cause")


async def test_a_back_off_of_a_release_survives_a_restart(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        job = await local.submit()
        await local.register()
        await release(local, await local.claim())
    async with open_local(tmp_path / "data") as local:
        assert (await local.claim())["job"] is None
        assert (await local.claim(wait=60))["job"]["id"] == job


async def test_a_page_says_why_a_job_that_was_given_back_waits(autojump_clock: Any, local: LocalServer) -> None:
    job = await local.submit()
    await local.register()
    await release(local, await local.claim())
    shown = await local.job(job)
    assert shown["waiting"]["code"] == "back-off"
    assert "given it back once" in shown["waiting"]["text"]


# ------------------------------------------------------------------ another worker


async def test_a_broken_machine_does_not_eat_the_queue(tmp_path: Path, autojump_clock: Any) -> None:
    """One worker that fails everything at once, one that is good and slow."""
    async with open_local(tmp_path / "data", retry_backoff=1.0) as local:
        jobs = [await local.submit(b"good %d" % number) for number in range(20)]
        for worker_id in ("broken", "good"):
            await local.register(worker_id)

        left = set(jobs)

        async def beats() -> None:
            while left:
                await trio.sleep(20)
                for worker_id in ("broken", "good"):
                    await local.call("POST", f"/api/workers/{worker_id}/heartbeat", {})

        async def broken() -> None:
            while left:
                grant = await local.claim("broken", wait=60)
                if grant["job"] is not None:
                    await fail(local, grant, "broken")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beats)
            nursery.start_soon(broken)
            while left:
                grant = await local.claim("good", wait=60)
                if grant["job"] is None:
                    continue
                await trio.sleep(5)  # it works, and does so well
                await complete(local, grant, "good")
                left.discard(grant["job"]["id"])
        assert {(await local.job(job))["status"] for job in jobs} == {"completed"}
        assert max([(await local.job(job))["attempts"] for job in jobs]) == 2


async def failed_once(local: LocalServer) -> int:
    job = await local.submit()
    await local.register("broken")
    await fail(local, await local.claim("broken"), "broken")
    return job


async def test_the_only_worker_gets_its_failed_job_again(autojump_clock: Any, local: LocalServer) -> None:
    job = await failed_once(local)
    assert (await local.claim("broken", wait=60))["job"]["id"] == job


async def test_nobody_starves_for_a_busy_worker(autojump_clock: Any, local: LocalServer) -> None:
    """The other one is online and asks for nothing: after the worker timeout, the job is anybody's."""
    await local.register("busy")
    job = await failed_once(local)
    began = trio.current_time()
    while (grant := await local.claim("broken", wait=30))["job"] is None:
        await local.call("POST", "/api/workers/busy/heartbeat", {})
        shown = await local.job(job)
        if shown["status"] == "pending":
            assert shown["waiting"]["code"] == "kept"
            assert "broken" in shown["waiting"]["text"]
    timeout = local.parts.services.settings.worker_timeout
    assert grant["job"]["id"] == job
    assert timeout + 24 <= trio.current_time() - began <= timeout + 37


async def test_who_has_failed_a_job_waits_aside_and_the_next_one_gets_it(
    autojump_clock: Any, local: LocalServer
) -> None:
    job = await failed_once(local)
    await local.register("good")
    given: dict[str, Any] = {}

    async def poll(worker_id: str) -> None:
        given[worker_id] = (await local.claim(worker_id, wait=60))["job"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll, "broken")
        await trio.sleep(1)
        nursery.start_soon(poll, "good")
        await trio.sleep(40)
        assert given["good"]["id"] == job
        assert "broken" not in given
        other = await local.submit(b"another")  # what nobody has failed, it gets at once
        await trio.sleep(0.1)
        assert given["broken"]["id"] == other


async def test_a_kept_job_does_not_stand_before_others_for_the_one_it_is_kept_from(
    autojump_clock: Any, local: LocalServer
) -> None:
    await local.register("good")
    job = await failed_once(local)
    await trio.sleep(40)
    await local.call("POST", "/api/workers/good/heartbeat", {})
    other = await local.submit(b"another")
    assert (await local.claim("broken"))["job"]["id"] == other
    assert (await local.claim("broken"))["job"] is None
    assert (await local.claim("good"))["job"]["id"] == job


async def test_when_the_other_worker_leaves_the_job_is_anybodys(autojump_clock: Any, local: LocalServer) -> None:
    await local.register("good")
    job = await failed_once(local)
    await trio.sleep(40)
    await local.call("POST", "/api/workers/good/unregister")
    assert (await local.claim("broken"))["job"]["id"] == job


async def test_a_retry_by_hand_goes_to_another_worker_too(autojump_clock: Any, local: LocalServer) -> None:
    await local.register("good")
    job = await failed_once(local)
    await local.call("POST", f"/api/jobs/{job}/retry", {})
    assert (await local.claim("broken"))["job"] is None
    assert (await local.claim("good"))["job"]["id"] == job


async def test_so_does_a_retry_whose_source_has_to_be_sent_again(autojump_clock: Any, local: LocalServer) -> None:
    await local.register("good")
    job = await failed_once(local)
    source_hash = (await local.job(job))["source_hash"]
    await local.parts.services.objects.delete(f"sources/{source_hash}")
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": source_hash})  # the server sees it missing
    await local.call("POST", f"/api/jobs/{job}/retry", {})
    assert (await local.job(job))["status"] == "uploading"
    await local.source(b"a document")
    await local.call("POST", f"/api/jobs/{job}/uploaded")
    assert (await local.job(job))["status"] == "pending"
    assert (await local.claim("broken"))["job"] is None
    assert (await local.claim("good"))["job"]["id"] == job
