"""A worker in quarantine, as the API shows it."""

from __future__ import annotations

from typing import Any

import msgspec

from blobforge.quarantine import Quarantine
from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer, virtual_now
from tests.web.calls import stream
from web.api.encode import rfc3339


async def test_by_hand_and_back(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    async with stream(local) as events:
        answer = await local.call("POST", "/api/workers/w1/quarantine", {"reason": "its disk"})
        assert answer == (200, {"status": "quarantined"})
        await local.call("POST", "/api/workers/w1/readmit")
        assert [frame.event for frame in await events.rest()] == ["worker_quarantined", "worker_readmitted"]


async def test_what_is_shown_of_it(local: LocalServer, autojump_clock: Any) -> None:
    for worker_id in ("w1", "w2"):
        await local.register(worker_id)
    (_, shown) = await local.call("GET", "/api/workers/w1")
    assert (shown["quarantined"], "evidence" in shown) == (False, False)
    at = rfc3339(virtual_now())
    for worker_id in ("w1", "w2"):
        await local.call("POST", f"/api/workers/{worker_id}/quarantine", {"reason": "its disk"})
        assert (await local.claim(worker_id))["job"] is None
    (_, shown) = await local.call("GET", "/api/workers/w1")
    assert {name: shown[name] for name in ("status", "quarantined", "evidence", "quarantined_at")} == {
        "status": "online", "quarantined": True, "evidence": "its disk", "quarantined_at": at,
    }  # fmt: skip
    assert "trial_at" not in shown, "none by hand"
    (_, attention) = await local.call("GET", "/api/stats/attention")
    assert [(each["id"], each["evidence"]) for each in attention["quarantined"]] == [
        ("w1", "its disk"), ("w2", "its disk"),
    ]  # fmt: skip
    job_id = await local.submit()
    waiting = (await local.job(job_id))["waiting"]
    assert (waiting["code"], "w1, w2" in waiting["text"]) == ("all-quarantined", True)
    (_, scale) = await local.call("GET", "/api/scale")
    assert scale["online"] == 0
    await local.call("POST", "/api/workers/w1/readmit")
    waiting = (await local.job(job_id))["waiting"]
    assert (waiting["code"], "in quarantine: w2" in waiting["text"]) == ("next", True)
    assert (await local.claim("w1"))["job"]["id"] == job_id
    assert (await local.call("POST", "/api/workers/none/quarantine", {}))[0] == 404


async def test_the_page_of_a_worker_says_when_its_next_trial_is(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w1")
    held = Quarantine(virtual_now(), "it failed all", "pdf", trial_at=virtual_now() + 300_000)
    with looked_into(local.parts.services.settings.database) as database:
        database.probe.change("workers", {"quarantine": msgspec.json.encode(held).decode()}, id="w1")
    status, page = await local.call("GET", "/workers/w1")
    assert status == 200
    assert b">in 5 minutes</time>; two that succeed in a row end it" in page
