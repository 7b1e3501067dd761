"""Types of jobs: how many there may be, and when one makes room for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from tests.fixtures.local import open_local
from tests.web.calls import put_output


async def test_job_types_are_kinds_of_work_and_not_labels(tmp_path: Path, autojump_clock: Any) -> None:
    """16,000 of them made one list take 79 seconds."""
    async with open_local(tmp_path / "data", max_types=3) as local:
        for number in range(3):
            assert (await local.submit(str(number).encode(), type=f"t{number}")) == number + 1
        body = {"type": "one-more", "source_hash": "0" * 64}
        status, problem = await local.call("POST", "/api/jobs", body)
        assert (status, problem["field"]) == (422, "type")
        assert "BLOBFORGE_MAX_TYPES" in problem["error"]
        await local.submit(b"again", type="t0")  # those that are known go on


async def test_types_without_jobs_make_room_for_others(tmp_path: Path, autojump_clock: Any) -> None:
    """Who had once used up the types could never have another one, whatever was deleted."""
    async with open_local(tmp_path / "data", max_types=2) as local:
        first = await local.submit(b"1", type="a")
        await local.submit(b"2", type="b")
        assert (await local.call("POST", "/api/jobs", {"type": "c", "source_hash": "0" * 64}))[0] == 422
        assert (await local.call("DELETE", f"/api/jobs/{first}"))[0] == 204
        assert await local.submit(b"3", type="c") == 3
        assert (await local.call("POST", "/api/jobs", {"type": "a", "source_hash": "0" * 64}))[0] == 422
        await trio.sleep(3700)  # and the metrics know no more types than there may be
        _, text = await local.call("GET", "/metrics")
        assert b'blobforge_jobs{priority="3",status="pending",type="c"} 1.0' in text
        assert b'type="a",' not in text.split(b"# HELP blobforge_jobs ")[1].split(b"# HELP")[0]
        assert b'status="pending",type="a"' not in text


async def test_what_is_set_for_a_type(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        await local.register()
        await local.submit(b"1")
        status, found = await local.call("GET", "/api/types/pdf")
        more = {"breaker": 50, "own_fault": False, "quarantine": True}
        defaults = {"max_attempts": 3, "retry_backoff": 30.0, "worker_timeout": 180.0, **more}
        assert (status, found) == (
            200, {"type": "pdf", "paused": False, "jobs": {"pending": 1}, "in_force": defaults}
        )  # fmt: skip
        body = {"paused": True, "reason": "broken", "max_attempts": 5, "retry_backoff": 0.5, "worker_timeout": 7200.5}
        status, found = await local.call("PATCH", "/api/types/pdf", body)
        assert status == 200
        assert found.pop("paused_at").endswith("Z")
        assert found == {
            "type": "pdf", "jobs": {"pending": 1}, "paused_by": "token:1",
            "in_force": {"max_attempts": 5, "retry_backoff": 0.5, "worker_timeout": 7200.5, **more}, **body,
        }  # fmt: skip
        assert (await local.call("GET", "/api/types"))[1]["types"] == [(await local.call("GET", "/api/types/pdf"))[1]]
        assert (await local.claim())["job"] is None
        waiting = (await local.job(1))["waiting"]
        assert (waiting["code"], "broken" in waiting["text"]) == ("paused", True)
        (paused,) = (await local.call("GET", "/api/stats/attention"))[1]["paused"]
        assert (paused["type"], paused["by"], paused["reason"], paused["pending"]) == ("pdf", "token:1", "broken", 1)
        status, found = await local.call("PATCH", "/api/types/pdf", {"paused": None, "max_attempts": None})
        assert (found["paused"], found["in_force"]["max_attempts"], found["retry_backoff"]) == (False, 3, 0.5)
        assert (await local.claim())["job"]["id"] == 1
        status, found = await local.call("PATCH", "/api/types/pdf", {"retry_backoff": None})
        assert "retry_backoff" not in found


async def test_a_pause_by_the_breaker_is_shown_and_the_first_success_ends_it(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with open_local(tmp_path / "data") as local:
        await local.register()
        assert (await local.call("PATCH", "/api/types/pdf", {"urgent_after": 7200}))[1]["urgent_after"] == 7200.0
        body = {"breaker": 2, "own_fault": True, "quarantine": False}
        _, found = await local.call("PATCH", "/api/types/pdf", body)
        assert {name: found[name] for name in body} == {name: found["in_force"][name] for name in body} == body
        stream = local.parts.broadcaster.subscribe(types=frozenset({"type_paused", "type_resumed"}))
        for source in (b"1", b"2"):
            await local.submit(source)
            job = (await local.claim())["job"]
            body = {"worker_id": "w1", "error": "KeyError: 'x'"}
            assert (await local.call("POST", f"/api/jobs/{job['id']}/fail", body))[0] == 200
        _, found = await local.call("GET", "/api/types/pdf")
        assert (found["paused_by"], found["jobs"]) == ("server", {"failed": 2})
        assert found["reason"].startswith("2 attempts in a row failed with KeyError")
        (paused,) = (await local.call("GET", "/api/stats/attention"))[1]["paused"]
        assert (paused["by"], paused["probe_at"]) == ("server", found["probe_at"])
        number = await local.submit(b"3")
        waiting = (await local.job(number))["waiting"]
        assert (waiting["code"], waiting["until"]) == ("paused", found["probe_at"])
        assert "by its breaker: 2 attempts" in waiting["text"]
        with trio.fail_after(90):
            assert (await local.claim(wait=30))["job"] is None
            grant = await local.claim(wait=60)  # woken when one is let through
        await put_output(local, grant["output_key"])
        body = {"worker_id": "w1", "output_key": grant["output_key"]}
        assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200
        assert (await local.call("GET", "/api/types"))[1]["types"][0]["paused"] is False
        _, log = await local.call("GET", "/api/admin/audit")
        by_server = [each["action"] for each in log["entries"] if each["actor"] == "server"]
        assert by_server == ["type.resume", "type.pause"]
        local.parts.broadcaster.unsubscribe(stream)
        told = b""
        while (piece := await stream.next()) is not None:
            told += piece
        assert told.count(b"event: type_paused") == told.count(b"event: type_resumed") == 1


async def test_what_cannot_be_set_for_a_type(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_types=2) as local:
        assert (await local.call("GET", "/api/types/none"))[0] == 404
        for body, field in (
            ({"reason": "of what?"}, "reason"),
            ({"max_attempts": 0}, "max_attempts"),
            ({"retry_backoff": -1}, "retry_backoff"),
            ({"retry_backoff": "soon"}, "retry_backoff"),
            ({"worker_timeout": 0.5}, "worker_timeout"),
            ({"breaker": 101}, "breaker"),
            ({"own_fault": 1}, "own_fault"),
            ({"unheard_of": 1}, None),
        ):
            status, problem = await local.call("PATCH", "/api/types/pdf", body)
            assert (status, problem.get("field")) == (422, field), body
        assert (await local.call("POST", "/api/types/%20pdf/pause"))[1]["field"] == "type"
        for name in ("a", "b"):  # before there is a job of it
            assert (await local.call("POST", f"/api/types/{name}/pause"))[0] == 200
        status, problem = await local.call("POST", "/api/types/c/pause")
        assert (status, problem["field"]) == (422, "type")
        await local.submit(b"1", type="c")
        assert (await local.call("POST", "/api/types/c/pause"))[0] == 200
        _, page = await local.call("GET", "/api/types?limit=2")
        assert ([each["type"] for each in page["types"]], page["next_cursor"]) == (["a", "b"], "b")
        _, page = await local.call("GET", "/api/types?limit=2&cursor=b")
        assert ([each["type"] for each in page["types"]], page.get("next_cursor")) == (["c"], None)


async def test_a_pause_outlives_a_restart_and_is_told_to_streams(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        stream = local.parts.broadcaster.subscribe(types=frozenset({"type_paused", "type_resumed"}))
        for verb, body in (("pause", {"reason": "broken"}), ("resume", None), ("resume", None), ("pause", None)):
            assert (await local.call("POST", f"/api/types/pdf/{verb}", body))[0] == 200
        local.parts.broadcaster.unsubscribe(stream)
        told = b""
        while (piece := await stream.next()) is not None:
            told += piece
        names = [line for line in told.split(b"\n") if line.startswith(b"event: ") and b"ping" not in line]
        assert names == [b"event: type_paused", b"event: type_resumed", b"event: type_paused"]
        assert b'"data":{"by":"token:1","type":"pdf","reason":"broken"}' in told
    async with open_local(tmp_path / "data") as local:
        await local.register()
        await local.submit(b"1")
        assert (await local.claim())["job"] is None


async def test_what_waits_for_too_long_is_urgent(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        await local.register()
        await local.call("PATCH", "/api/types/pdf", {"urgent_after": 60})
        first, second = [await local.submit(source, priority=5) for source in (b"1", b"2")]
        waiting = (await local.job(second))["waiting"]
        assert waiting["text"].endswith(" It is urgent when it has been ready for 60 s.")
        await trio.sleep(130)
        assert [(await local.job(each))["priority"] for each in (first, second)] == [1, 1]
        await local.submit(b"3", priority=2)
        assert (await local.claim())["job"]["id"] == first
