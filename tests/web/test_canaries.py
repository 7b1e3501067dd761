"""Canaries over the API: begun, followed, reported, cancelled; and workers that wait are woken for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import trio

from actors.messages import BeginCanary, Claim, Complete, Register, Unregister
from blobforge.canary import CanaryPlan
from tests.actors.test_scheduler import ids, polls, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN
from tests.web.calls import assert_problem

ASKED = {"types": ["pdf"], "made_by": "marker  1.4.0", "sample": 5}


async def converted(local: LocalServer, number: int) -> int:
    """A document that version 1.3 has converted."""
    job_id = await local.submit(b"document %d" % number, source_path=f"{number}.pdf")
    await local.ask(Register(ADMIN, "old", "pdf", converter="marker 1.3"))
    await local.ask(Claim(ADMIN, "old", ("pdf",)))
    await local.ask(Complete(ADMIN, "old", job_id, result='"text"'))
    return job_id


async def begun(local: LocalServer, documents: int = 2) -> Any:
    for number in range(documents):
        await converted(local, number)
    await local.ask(Register(ADMIN, "new", "pdf", converter="marker 1.4.0"))
    status, canary = await local.call("POST", "/api/canaries", ASKED)
    assert status == 201, canary
    return canary


async def finish(local: LocalServer, text: str, **fields: Any) -> Any:
    """The next comparison comes out as this text; what was claimed."""
    grant = await local.claim("new", **fields)
    await local.ask(Complete(ADMIN, "new", grant["job"]["id"], grant["lease"], result=f'"{text}"'))
    return grant


async def test_one_from_its_beginning_to_its_report(autojump_clock: Any, local: LocalServer) -> None:
    canary = await begun(local)
    assert {name: canary[name] for name in ("id", "state", "made_by", "sample", "taken", "left", "workers")} == {
        "id": 1, "state": "running", "made_by": "marker 1.4.0", "sample": 5, "taken": 2, "left": 2, "workers": 1,
    }  # fmt: skip
    grant = await finish(local, "text")
    assert (grant["job"]["type"], grant["job"]["canary"]) == ("pdf", 1), "a job like any other"
    _, job = await local.call("GET", "/api/jobs/4")
    assert (job["type"], job["canary"], job["waiting"]["code"]) == ("pdf", 1, "canary")
    _, report = await local.call("GET", "/api/canaries/1/report")
    assert report["verdict"] == "running"
    await finish(local, "other")
    _, report = await local.call("GET", "/api/canaries/1/report?worst=1")
    assert (report["verdict"], report["canary"]["state"], report["canary"]["left"]) == ("different", "ended", 0)
    (worst,) = report["worst"]
    assert (worst["job_id"], worst["original_id"], worst["change"], worst["source_path"]) == (
        4,
        2,
        "changed",
        "1.pdf",
    )
    _, page = await local.call("GET", "/api/canaries/1/jobs?limit=1")
    assert ([each["outcome"] for each in page["jobs"]], page["next_cursor"]) == (["same"], 3)
    _, page = await local.call("GET", "/api/canaries/1/jobs?outcome=different")
    assert ([each["job_id"] for each in page["jobs"]], page.get("next_cursor")) == ([4], None)
    _, listed = await local.call("GET", "/api/canaries")
    assert [each["id"] for each in listed["canaries"]] == [1]


async def test_nothing_of_it_is_in_lists_statistics_types_or_events(autojump_clock: Any, local: LocalServer) -> None:
    for number in range(2):
        await converted(local, number)
    await local.ask(Register(ADMIN, "new", "pdf", converter="marker 1.4.0"))
    paths = ("/api/jobs", "/api/types", "/api/stats", "/api/scale", "/api/failures", "/api/jobs?worker=new")
    before = [await local.call("GET", path) for path in paths]
    events = local.parts.broadcaster.events
    await local.ask(BeginCanary(CanaryPlan(("pdf",), "marker 1.4.0"), (1, 2), "token:1"))
    await finish(local, "other")
    assert local.parts.broadcaster.events == events, "no event"
    after = [await local.call("GET", path) for path in paths]
    assert after == before


async def test_a_worker_that_waits_is_woken_by_a_canary_and_by_what_is_given_back(
    autojump_clock: Any, local: LocalServer
) -> None:
    for number in range(2):
        await converted(local, number)
    await local.ask(Register(ADMIN, "new", "pdf", converter="marker 1.4.0"))
    async with polls(local) as claim:
        old, new = claim("old", "pdf"), claim("new", "pdf")
        await settle()
        began = trio.current_time()
        await local.ask(BeginCanary(CanaryPlan(("pdf",), "marker 1.4.0"), (1,), "token:1"))
        await settle()
        assert ids(new) == [3]
        assert trio.current_time() - began < 1
        assert old.outcome is None
        again = claim("new", "pdf")
        await settle()
        assert again.outcome is None
        await local.call("POST", "/api/jobs/3/release", {"worker_id": "new", "cause": "shutdown"})
        await settle()
        assert ids(again) == [3]


async def test_a_worker_that_takes_comparisons_alone_waits_for_them_and_holds_up_nobody(
    autojump_clock: Any, local: LocalServer
) -> None:
    await converted(local, 0)
    await local.ask(Register(ADMIN, "new", "pdf", converter="marker 1.4.0"))
    async with polls(local) as claim:
        only = claim("new", "pdf", accepts=("comparisons-only",))
        ordinary = claim("old", "pdf")
        await settle()
        await local.submit(b"ordinary")
        await settle()
        assert ids(ordinary) == [2]
        assert only.outcome is None
        await local.ask(BeginCanary(CanaryPlan(("pdf",), "marker 1.4.0"), (1,), "token:1"))
        await settle()
        assert ids(only) == [3]


async def test_one_that_cannot_be_begun_or_has_ended_says_why(autojump_clock: Any, local: LocalServer) -> None:
    assert_problem(await local.call("POST", "/api/canaries", ASKED), 409, "nothing-to-compare")
    await converted(local, 0)
    needs = ASKED | {"need_worker": True}
    assert_problem(await local.call("POST", "/api/canaries", needs), 409, "no-worker-of-version")
    wrong = await local.call("POST", "/api/canaries", ASKED | {"against": "marker>=1.4"})
    assert_problem(wrong, 409, "nothing-to-compare")
    assert_problem(await local.call("POST", "/api/canaries", ASKED | {"made_by": "marker"}), 422, "invalid")
    assert_problem(await local.call("POST", "/api/canaries", ASKED | {"sample": 1001}), 422, "invalid")
    status, canary = await local.call("POST", "/api/canaries", ASKED)
    assert (status, canary["workers"], canary["taken"]) == (201, 0, 1)
    assert_problem(await local.call("POST", "/api/jobs/2/retry", {}), 409, "job-of-canary")
    status, canary = await local.call("POST", "/api/canaries/1/cancel")
    assert (status, canary["state"], canary["jobs"]) == (200, "cancelled", {"cancelled": 1})
    assert_problem(await local.call("POST", "/api/canaries/1/cancel"), 409, "canary-ended")
    for path in ("", "/report", "/jobs"):
        assert_problem(await local.call("GET", f"/api/canaries/9{path}"), 404, "no-such-canary")


async def test_begun_and_stopped_on_its_page(autojump_clock: Any, local: LocalServer) -> None:
    form = {
        "Authorization": f"Bearer {local.parts.admin_token}", "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    await converted(local, 1)
    await local.submit(b"none of it is completed", type="ocr")
    await local.ask(Register(ADMIN, "gone", "pdf", converter="marker 1.2"))
    await local.ask(Unregister(ADMIN, "gone"))
    page = bytes((await local.call("GET", "/canaries?type=pdf"))[1]).decode()
    assert page.count("<option ") == 2
    assert 'name="types" value="pdf"' in page
    assert '<option value="pdf"></option>' in page
    assert '<option value="marker 1.3"></option>' in page
    told = urlencode({"types": "pdf", "made_by": "marker 2.0", "sample": "5", "need_worker": "true"}).encode()
    assert (await local.call("POST", "/do/canaries", told, headers=form))[0] == 303
    assert (await local.call("GET", "/api/canaries"))[1]["canaries"] == [], "no worker has it"
    told = urlencode({"types": "pdf", "made_by": "marker 2.0", "sample": "5"}).encode()
    response = await local.http.post("/do/canaries", headers=form, data=told)
    assert (response.status_code, response.headers["Location"]) == (303, "/canaries/1")
    assert b"/do/canaries/1/cancel" in (await local.call("GET", "/canaries/1"))[1]
    assert (await local.call("POST", "/do/canaries/1/cancel", b"", headers=form))[0] == 303
    assert (await local.call("GET", "/api/canaries/1"))[1]["state"] == "cancelled"
    assert b"/do/canaries/1/cancel" not in (await local.call("GET", "/canaries/1"))[1]
