"""Charts over HTTP: ranges of time, how long things took, why attempts failed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from actors.mailbox import ask
from actors.messages import Audit, Note
from blobforge.serve import server
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish
from web.api.encode import rfc3339

CHARTS = ("history", "times", "causes")  # which have slots
HOUR = 3_600_000
DAY = 24 * HOUR


async def get(local: LocalServer, chart: str, **query: Any) -> Any:
    status, answer = await local.call("GET", f"/api/stats/{chart}?{urlencode(query)}")
    assert status == 200, answer
    return answer


async def test_a_chart_is_of_a_window_or_of_a_range(local: LocalServer, autojump_clock: Any) -> None:
    """As finely as figures of that age are kept, in a few hundred slots at most."""
    now = local.parts.now()
    for chart, steps in (("history", (60, 900, 3600, 21_600)), ("times", (300, 3600, 3600, 21_600))):
        for window, step, hours in zip(("1h", "24h", "7d", "30d"), steps, (1, 24, 168, 720), strict=True):
            found = await get(local, chart, window=window)
            assert (found["window"], found["step_seconds"], found["type"]) == (window, step, None)
            assert len(found["at"]) == hours * 3600 // step
            assert found["at"][-1] == now // 1000 // step * step
    for chart in CHARTS:
        assert (await get(local, chart))["window"] == "1h"
        since, until = rfc3339(now - 3 * DAY), rfc3339(now - 2 * DAY)
        found = await get(local, chart, since=since, until=until, type="pdf")
        assert (found["window"], found["since"], found["until"]) == (None, since, until)
        assert (found["step_seconds"], found["type"]) == (3600, "pdf")
        assert found["at"][0] <= (now - 3 * DAY) // 1000 < found["at"][1]
        assert 24 <= len(found["at"]) <= 25
        assert len((await get(local, chart, since=rfc3339(now - HOUR // 2)))["at"]) <= 31
        long_ago = await get(local, chart, since=rfc3339(now - 400 * DAY))
        assert long_ago["since"] > rfc3339(now - 33 * DAY), "it says what is left of the range"
        assert len(long_ago["at"]) <= 129


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"window": "2h"}, "window"),
        ({"window": "1h", "since": -HOUR}, "window"),
        ({"until": 0}, "since"),
        ({"since": HOUR}, "since"),
        ({"since": -HOUR, "until": -HOUR}, "until"),
        ({"since": -HOUR, "until": -2 * HOUR}, "until"),
        ({"since": -50 * DAY, "until": -40 * DAY}, "until"),
        ({"since": "yesterday"}, "since"),
        ({"type": "x" * 101}, "type"),
    ],
)
async def test_a_range_that_is_none_is_refused(
    local: LocalServer, autojump_clock: Any, query: dict[str, Any], field: str
) -> None:
    now = local.parts.now()
    said = {name: rfc3339(now + each) if isinstance(each, int) else each for name, each in query.items()}
    for chart in CHARTS:
        answer = await local.call("GET", f"/api/stats/{chart}?{urlencode(said)}")
        assert_problem(answer, 422, "invalid", field=field)


async def test_times_and_causes_over_time(local: LocalServer, autojump_clock: Any) -> None:
    for chart in ("times", "causes"):
        assert (await get(local, chart))["kept_since"] is None
    await local.register()
    for number in range(13):
        await local.submit(b"%d" % number)
    await trio.sleep(100)
    for _ in range(3):
        await finish(local)
    kinds = ["OutOfMemory"] * 2 + [f"Odd{letter}" for letter in "abcdefgh"]
    for kind in kinds:
        job_id = (await local.claim())["job"]["id"]
        body = {"worker_id": "w1", "error": "no", "kind": kind, "retryable": False}
        assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[0] == 200
    found = await get(local, "times")
    assert found["kept_since"] == rfc3339(found["at"][-1] * 1000)
    queued, ran = found["queued"], found["ran"]
    assert (queued["total"], ran["total"]) == (13, 3)
    assert queued["n"] == [None] * 11 + [13]
    for share in ("p50", "p90", "p99"):
        assert 80 < queued["overall"][share] < 125
        assert queued[share] == [None] * 11 + [queued["overall"][share]]
    assert sum(bar["n"] for bar in queued["histogram"]) == 13
    assert queued["histogram"][0]["least_seconds"] <= 100 < queued["histogram"][-1]["below_seconds"]
    causes = await get(local, "causes", window="24h")
    assert (causes["total"], len(causes["causes"])) == (10, 5)
    first = causes["causes"][0]
    assert (first["kind"], first["total"], first["n"][-1]) == ("OutOfMemory", 2, 2)
    assert (await local.call("GET", f"/api/failures/{first['id']}"))[0] == 200
    assert causes["others"] == [None] * 23 + [4]
    assert (await get(local, "causes", type="other"))["total"] == 0


async def test_charts_are_marked_where_servers_started_and_stopped(local: LocalServer, autojump_clock: Any) -> None:
    """Also those of one type: what it does may be for that."""
    for action in ("server.stopped", "server.started"):
        audit = Audit("server", "server", "", action, "b<i>1:8080", "1.2.3")
        await ask(local.parts.writer.mailbox, Note(), audit=audit)
        await trio.sleep(1)
    found = await get(local, "marks", type="pdf")
    assert [(each["kind"], each["server"], each["version"], each["type"]) for each in found["marks"]] == [
        ("started", "b<i>1:8080", "1.2.3", None), ("stopped", "b<i>1:8080", "1.2.3", None)
    ]  # fmt: skip
    await local.submit(b"1")
    for place in ("/", "/types/pdf"):
        _, page = await local.call("GET", place)
        assert "server <bdi>b&lt;i&gt;1:8080</bdi> started (version <bdi>1.2.3</bdi>)" in str(page)


async def test_a_server_goes_on_where_its_start_cannot_be_put_on_record(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the writer meets with it."""

    def broken(_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(local.parts.writer._store, "insert_audit", broken)
        await server._on_record(local.parts, "server.started")
    assert (await get(local, "marks"))["marks"] == []
    await server._on_record(local.parts, "server.started")
    assert [each["kind"] for each in (await get(local, "marks"))["marks"]] == ["started"]


async def test_charts_are_marked_where_types_were_paused(local: LocalServer, autojump_clock: Any) -> None:
    """By the audit log, in the words of who did it; other settings are no mark."""
    await local.submit(b"1")
    before = local.parts.now()
    await trio.sleep(60)
    assert (await local.call("POST", "/api/types/pdf/pause", {"reason": "the fonts <b>are</b> away"}))[0] == 200
    assert (await local.call("PATCH", "/api/types/ocr", {"paused": True, "reason": "no GPU"}))[0] == 200
    assert (await local.call("PATCH", "/api/types/ocr", {"max_running": 3}))[0] == 200
    await trio.sleep(60)
    assert (await local.call("POST", "/api/types/pdf/resume", {}))[0] == 200
    found = await get(local, "marks")
    assert [(each["type"], each["kind"], each.get("reason")) for each in found["marks"]] == [
        ("pdf", "resumed", None), ("ocr", "paused", "no GPU"), ("pdf", "paused", "the fonts <b>are</b> away")
    ]  # fmt: skip
    assert not found["more"]
    assert [each["kind"] for each in (await get(local, "marks", type="pdf"))["marks"]] == ["resumed", "paused"]
    early = await get(local, "marks", since=rfc3339(before - HOUR), until=rfc3339(before + 1))
    assert early["marks"] == []
    status, page = await local.call("GET", "/types/pdf")
    assert status == 200
    assert str(page).count("data-mark=") == 2
    assert "the fonts &lt;b&gt;are&lt;/b&gt; away" in str(page)
