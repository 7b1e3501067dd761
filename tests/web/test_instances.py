"""Two processes under one worker id: a restart takes over at once, and two machines never end each other's work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer, open_local, virtual_now


async def register(local: LocalServer, instance: str | None, replaces: str | None = None) -> tuple[int, Any]:
    body = {"id": "w1", "type": "pdf", "metadata": {"hostname": f"host of {instance}"}}
    said = {"instance": instance, "replaces": replaces}
    return await local.call("POST", "/api/workers/register", body | {k: v for k, v in said.items() if v is not None})


async def beat(local: LocalServer, instance: str | None) -> tuple[int, Any]:
    return await local.call("POST", "/api/workers/w1/heartbeat", {"instance": instance} if instance else {})


def kind(problem: Any) -> str:
    return str(problem["type"]).rpartition(":")[2]


async def holding(local: LocalServer, instance: str = "one") -> Any:
    """A process that holds a job."""
    await local.submit()
    assert (await register(local, instance))[0] == 200
    return await local.claim(instance=instance)


async def test_a_restarted_worker_takes_over_at_once_at_no_cost(autojump_clock: Any, local: LocalServer) -> None:
    grant = await holding(local)
    assert (await register(local, "two", replaces="one"))[0] == 200
    job = await local.job(1)
    assert (job["status"], job["attempts"], job.get("losses", 0)) == ("pending", 0, 0)
    assert "taken over" in job["attempt_history"][0]["error"]
    again = await local.claim(instance="two")
    assert again["job"]["id"] == 1
    assert again["lease"] != grant["lease"]


async def test_a_job_that_ends_its_workers_process_each_time_ends(autojump_clock: Any, local: LocalServer) -> None:
    """The system ends the whole service for want of memory, and starts it again: it would get this job for ever."""
    await holding(local, "0")
    policy = local.parts.writer._rules.retry
    most = policy.max_releases + policy.max_losses
    for number in range(1, most + 1):
        assert (await local.job(1))["status"] == "running"
        assert (await register(local, str(number), replaces=str(number - 1)))[0] == 200
        await local.claim(instance=str(number))
    job = await local.job(1)
    assert (job["status"], job["attempts"], job["losses"]) == ("dead", 0, policy.max_losses)
    assert "ended with its process" in job["last_error"]


@pytest.mark.parametrize("verb", ["heartbeat", "claim", "complete", "fail", "release", "unregister"])
async def test_what_the_replaced_process_says_is_refused(autojump_clock: Any, local: LocalServer, verb: str) -> None:
    grant = await holding(local)
    assert (await register(local, "two", replaces="one"))[0] == 200
    held = await local.claim(instance="two")
    path = {
        "heartbeat": "/api/workers/w1/heartbeat", "unregister": "/api/workers/w1/unregister",
        "claim": "/api/jobs/claim",
    }.get(verb, f"/api/jobs/1/{verb}")  # fmt: skip
    body = {"instance": "one"}
    if verb not in ("heartbeat", "unregister"):
        body |= {"worker_id": "w1"}
    body |= {"claim": {"job_type": "pdf"}, "fail": {"lease": grant["lease"], "error": "x"}}.get(verb, {})
    status, problem = await local.call("POST", path, body)
    assert (status, kind(problem)) == (409, "instance-replaced")
    assert "Another process has taken over" in problem["detail"]
    job = await local.job(1)
    assert (job["status"], job["attempts"]) == ("running", 1)  # what the new one holds stays
    assert (await local.call("GET", "/api/workers/w1"))[1]["status"] == "online"
    assert (await beat(local, "two"))[0] == 200
    assert held["job"]["id"] == 1


async def test_a_second_machine_under_the_same_id_is_refused_and_shown(
    autojump_clock: Any, local: LocalServer
) -> None:
    await holding(local)
    status, problem = await register(local, "two")
    assert (status, kind(problem)) == (409, "instance-alive")
    assert (await local.job(1))["status"] == "running"
    _, attention = await local.call("GET", "/api/stats/attention")
    (contested,) = attention["workers_contested"]
    assert (contested["id"], contested["host"]) == ("w1", "host of two")
    _, page = await local.call("GET", "/")
    assert b"another process on <bdi>host of two</bdi> asks for the same id" in page
    assert (await beat(local, "one"))[0] == 200


async def test_when_the_old_process_has_been_silent_for_two_heartbeats_another_may_have_the_id(
    autojump_clock: Any, local: LocalServer
) -> None:
    await holding(local)
    every = local.parts.services.settings.beat_every
    assert (await register(local, "two"))[0] == 409
    await trio.sleep(2 * every + 1)
    assert (await register(local, "two"))[0] == 200
    assert (await local.job(1))["status"] == "pending"
    _, attention = await local.call("GET", "/api/stats/attention")
    assert attention["workers_contested"] == []


async def test_a_refusal_for_a_while_is_no_answer_for_a_day(autojump_clock: Any, local: LocalServer) -> None:
    """With an Idempotency-Key the same request is made again when its Retry-After has passed."""
    await holding(local)
    body = {"id": "w1", "type": "pdf", "instance": "two"}

    async def asked() -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Idempotency-Key": "a-key"}
        return await local.call("POST", "/api/workers/register", body, headers=headers)

    status, problem = await asked()
    assert (status, kind(problem)) == (409, "instance-alive")
    await trio.sleep(2 * local.parts.services.settings.beat_every + 1)
    assert (await asked())[0] == 200


async def test_a_clock_that_is_set_forward_makes_no_process_silent(
    autojump_clock: Any, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await holding(local)
    every = local.parts.services.settings.beat_every
    await trio.sleep(every - 1)
    monkeypatch.setattr(local.parts.writer._time, "_clock", lambda: virtual_now() + 3_600_000)
    status, problem = await register(local, "two")
    assert (status, kind(problem)) == (409, "instance-alive")
    assert (await local.job(1))["status"] == "running"
    await trio.sleep(every + 2)
    assert (await register(local, "two"))[0] == 200


async def test_a_clock_that_is_set_back_makes_no_process_alive(
    autojump_clock: Any, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await holding(local)
    every = local.parts.services.settings.beat_every
    monkeypatch.setattr(local.parts.writer._time, "_clock", lambda: virtual_now() - 3_600_000)
    assert (await register(local, "two"))[0] == 409
    await trio.sleep(2 * every + 1)
    assert (await register(local, "two"))[0] == 200


async def test_two_machines_that_are_always_restarted_never_end_each_others_work(
    autojump_clock: Any, local: LocalServer
) -> None:
    """Each knows the instance that it had itself, and is started again as soon as it ends, for an hour."""
    every = local.parts.services.settings.beat_every
    known: dict[str, str | None] = {"a": None, "b": None}
    current: dict[str, str] = {}
    count = 0
    assert (await register(local, "a0"))[0] == 200
    known["a"] = current["a"] = "a0"
    await local.submit()
    grant = await local.claim(instance="a0")
    for second in range(0, 3600, round(every / 2)):
        for machine in ("a", "b"):
            if machine in current:
                status, _ = await beat(local, current[machine])
                if status != 200:
                    del current[machine]
            else:
                count += 1
                name = f"{machine}{count}"
                if (await register(local, name, known[machine]))[0] == 200:
                    known[machine] = current[machine] = name
        body = {"instance": "a0", "jobs": [{"job_id": 1, "lease": grant["lease"]}]}
        assert (await local.call("POST", "/api/workers/w1/heartbeat", body))[0] == 200, second
        await trio.sleep(every / 2)
    assert current == {"a": "a0"}
    job = await local.job(1)
    assert (job["status"], job["attempts"]) == ("running", 1)


async def test_clients_without_an_instance_go_on_as_before(autojump_clock: Any, local: LocalServer) -> None:
    await local.submit()
    assert (await register(local, None))[0] == 200
    grant = await local.claim()
    assert (await register(local, None))[0] == 200  # jobs that run stay
    assert (await local.job(1))["status"] == "running"
    assert (await local.call("POST", "/api/workers/w1/heartbeat"))[0] == 200
    body = {"worker_id": "w1", "lease": grant["lease"]}
    assert (await local.call("POST", "/api/jobs/1/complete", body))[0] == 200
    assert (await local.call("POST", "/api/workers/w1/unregister"))[0] == 200


async def test_a_restart_of_the_server_forgets_no_instance(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        await holding(local)
    async with open_local(tmp_path / "data") as local:
        assert (await register(local, "two"))[0] == 409
        assert (await beat(local, "one"))[0] == 200


async def test_a_claim_that_waits_is_refused_when_its_process_is_replaced(
    autojump_clock: Any, local: LocalServer
) -> None:
    assert (await register(local, "one"))[0] == 200
    answers: list[Any] = []

    async def wait() -> None:
        body = {"worker_id": "w1", "job_type": "pdf", "wait": 60, "instance": "one"}
        answers.append(await local.call("POST", "/api/jobs/claim", body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        assert (await register(local, "two", replaces="one"))[0] == 200
        job = await local.submit()
    ((status, problem),) = answers
    assert (status, kind(problem)) == (409, "instance-replaced")
    assert (await local.claim(instance="two"))["job"]["id"] == job
