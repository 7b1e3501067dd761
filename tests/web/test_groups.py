"""Groups in the API: whose a job is is kept and shown, turns are taken by it, and why a job waits says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from markupsafe import escape

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
    assert "of its group acme 0 jobs run now, and 3 more come before it" in waiting["text"]
    waiting = (await local.job(5))["waiting"]
    assert (waiting["code"], waiting["ahead"]) == ("turn", 1), (
        "the first of each group have one turn, the older is first"
    )
    waiting = (await local.job(6))["waiting"]
    assert (waiting["code"], "in turns with jobs that have a group" in waiting["text"]) == ("next", True)
    assert [(await local.claim())["job"]["id"] for _ in range(6)] == [1, 5, 6, 2, 3, 4]
    body = {"jobs": [{"type": "pdf", "source_hash": HEX, "group": "beta"}]}
    _, answer = await local.call("POST", "/api/jobs/batch", body)
    assert (await local.job(answer["items"][0]["job_id"]))["group"] == "beta"
    _, found = await local.call("PATCH", "/api/types/pdf", {"weights": None})
    assert "weights" not in found


async def test_jobs_are_found_and_changed_by_their_group(local: LocalServer, autojump_clock: Any) -> None:
    hostile = "<b>' OR 1=1 --"
    for number, group in enumerate(["a", hostile, None, "a"]):
        await local.submit(b"%d" % number, group=group)
    await local.submit(b"of a type without groups", type="png")

    async def found(group: str) -> list[int]:
        _, answer = await local.call("GET", f"/api/jobs?group={quote(group)}")
        assert answer["total"] == len(answer["jobs"])
        return [each["id"] for each in answer["jobs"]]

    assert [await found(each) for each in ("a", hostile, "A")] == [[4, 1], [2], []]
    assert_problem(await local.call("GET", "/api/jobs?group=a%0A"), 422, "invalid", field="group")
    page = await local.http.open(
        f"/jobs?group={quote(hostile)}", headers={"Authorization": f"Bearer {local.parts.admin_token}"}
    )
    assert f'name="group" value="{escape(hostile)}"' in await page.get_data(as_text=True)
    _, answer = await local.call("POST", "/api/jobs/cancel", {"group": "a"})
    assert (answer["matched"], answer["changed"]) == (2, 2)
    assert (await local.job(2))["status"] == "pending"


async def test_a_submission_is_told_that_a_job_keeps_its_group(local: LocalServer, autojump_clock: Any) -> None:
    body = {"type": "pdf", "source_hash": HEX, "group": "a", "priority": 3}
    _, first = await local.call("POST", "/api/jobs", body)
    assert "ignored" not in first
    _, again = await local.call("POST", "/api/jobs", body | {"group": "b", "priority": 1})
    assert again["ignored"] == ["group"]
    _, batch = await local.call("POST", "/api/jobs/batch", {"jobs": [body | {"group": "b"}, body]})
    assert [each.get("ignored") for each in batch["items"]] == [["group"], None]


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
