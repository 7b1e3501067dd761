"""Groups in the API: whose a job is is kept and shown, turns are taken by it, and why a job waits says so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem


async def test_from_submissions_of_groups_to_their_claims(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    _, found = await local.call("PATCH", "/api/types/pdf", {"weights": {"acme": 2, "": 3, "beta": 5}})
    assert found["weights"] == {"acme": 2, "": 3, "beta": 5}
    _, found = await local.call("PATCH", "/api/types/pdf", {"weights": {"beta": 1, "": 1}})
    assert found["weights"] == {"acme": 2}
    for number in range(4):
        await local.submit(b"acme %d" % number, group="acme")
    assert await local.submit(b"beta", group="beta") == 5
    assert await local.submit(b"nobody's", group=None) == 6
    assert await local.submit(b"nobody's", group="beta") == 6, "a group is no part of what it is"
    assert [(await local.job(each)).get("group") for each in (4, 5, 6)] == ["acme", "beta", None]
    waiting = (await local.job(4))["waiting"]
    assert (waiting["code"], waiting["ahead"]) == ("turn", 4)
    assert "3 of them of its own group acme" in waiting["text"]
    waiting = (await local.job(6))["waiting"]
    assert (waiting["code"], "in turns with jobs that have a group" in waiting["text"]) == ("next", True)
    assert [(await local.claim())["job"]["id"] for _ in range(6)] == [1, 5, 6, 2, 3, 4]
    body = {"jobs": [{"type": "pdf", "source_hash": HEX, "group": "beta"}]}
    _, answer = await local.call("POST", "/api/jobs/batch", body)
    assert (await local.job(answer["items"][0]["job_id"]))["group"] == "beta"
    _, found = await local.call("PATCH", "/api/types/pdf", {"weights": None})
    assert "weights" not in found


@pytest.mark.parametrize("group", ["", "a" * 101, "a\nb", 7, ["a"]])
async def test_what_is_no_group_is_refused(local: LocalServer, autojump_clock: Any, group: Any) -> None:
    body = {"type": "pdf", "source_hash": HEX, "group": group}
    assert assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")["field"] == "group"


@pytest.mark.parametrize("weights", [{"a": 0}, {"a": 1001}, {"a": 1.5}, {"a" * 101: 2}, {"a\n": 2}])
async def test_what_is_no_weight_is_refused(local: LocalServer, autojump_clock: Any, weights: Any) -> None:
    found = await local.call("PATCH", "/api/types/pdf", {"weights": weights})
    told = assert_problem(found, 422, "invalid")
    assert told["field"].startswith("weights")
    assert "regex" not in told["detail"]


async def test_there_may_be_so_many_weights(local: LocalServer, autojump_clock: Any) -> None:
    many = {f"group {number}": 2 for number in range(1000)}
    assert (await local.call("PATCH", "/api/types/pdf", {"weights": many}))[0] == 200
    found = await local.call("PATCH", "/api/types/pdf", {"weights": {"one more": 2}})
    assert assert_problem(found, 422, "invalid")["field"] == "weights"
    assert (await local.call("PATCH", "/api/types/pdf", {"weights": {"one more": 2, "group 0": 1}}))[0] == 200


async def test_what_no_worker_has_is_said_once(local: LocalServer, autojump_clock: Any) -> None:
    """Whatever groups the jobs have; and a group is nothing that a worker has to have."""
    await local.submit(b"1", group="a")
    await local.submit(b"2", group="a", requires=["gpu"])
    await local.submit(b"3", requires=["gpu"])
    _, attention = await local.call("GET", "/api/stats/attention")
    (unmatched,) = attention["unmatched"]
    assert (unmatched["requires"], unmatched["pending"]) == (["gpu"], 2)
