"""The list of workers is filtered and paged; those that have gone for long are forgotten."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from blobforge.config import Settings
from blobforge.store.lists import WORKERS_PAGE_BYTES as PAGE_BYTES
from blobforge.store.sqlite.reader import Reader
from blobforge.worker import WorkerFilter
from tests.fixtures.local import EPOCH_MS, LocalServer, open_local
from tests.web.calls import finish, raw, token, worker
from web.dashboard.workers import PAGE

FILTERS = [
    WorkerFilter("online"), WorkerFilter("offline", enabled=True), WorkerFilter(enabled=False),
    WorkerFilter(type="ocr"), WorkerFilter(q="äb"), WorkerFilter(q="NEVER"), WorkerFilter("online", type="pdf"),
    WorkerFilter(silent_since=EPOCH_MS + 150_000),
]  # fmt: skip


async def listed(local: LocalServer, query: str) -> tuple[list[str], str | None]:
    answer = await raw(local, "GET", f"/api/workers{query}")
    assert answer.status_code == 200
    found = msgspec.json.decode(await answer.get_data(as_text=False))
    return [each["id"] for each in found], answer.headers.get("Link")


async def test_workers_are_filtered_and_paged(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(5):
        await local.register(f"w{number}", "pdf" if number % 2 else "ocr")
    await local.call("POST", "/api/workers/w0/unregister")
    assert (await listed(local, "?status=online"))[0] == ["w1", "w2", "w3", "w4"]
    assert (await listed(local, "?type=ocr"))[0] == ["w0", "w2", "w4"]
    page, link = await listed(local, "?limit=2&status=online")
    seen = list(page)
    while link is not None:
        assert link.startswith("</api/workers?") and link.endswith('>; rel="next"')  # noqa: PT018
        page, link = await listed(local, link[len("</api/workers") : -len('>; rel="next"')])
        assert len(page) <= 2
        seen += page
    assert seen == ["w1", "w2", "w3", "w4"]


async def test_a_page_of_workers_holds_so_many_bytes(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(90):
        body = {"id": f"w{number:02}", "type": "pdf", "metadata": {"about": "x" * 60_000}}
        assert (await local.call("POST", "/api/workers/register", body))[0] == 200
    page, link = await listed(local, "")
    assert len(page) == PAGE_BYTES // 60_000
    assert link is not None
    assert len((await listed(local, link[len("</api/workers") : -len('>; rel="next"')]))[0]) == 90 - len(page)


async def test_the_page_of_workers_leads_on(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(PAGE + 5):
        await local.register(f"w{number:03}", "ocr" if number == 2 else "pdf")
    await local.call("POST", "/api/workers/w000/unregister")
    await local.call("POST", "/api/workers/w001/drain")
    await local.call("POST", "/api/admin/workers/w003/disable")
    seen: list[str] = []
    path: str | None = "/workers?type=pdf"
    while path is not None:
        text = (await (await raw(local, "GET", path)).get_data()).decode()
        seen += re.findall(r'id="worker-(w\d+)"', text)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = html.unescape(following[1]) if following else None
    online = [f"w{number:03}" for number in range(4, PAGE + 5)]
    assert seen == [*online, "w001", "w000", "w003"], "those that work first, each once"
    text = (await (await raw(local, "GET", "/workers?status=disabled&q=W003")).get_data()).decode()
    assert re.findall(r'id="worker-(w\d+)"', text) == ["w003"]
    assert (await raw(local, "GET", "/workers?cursor=nonsense")).status_code == 422


async def test_those_that_fail_most_come_first(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(20):
        await local.submit(b"%d" % number)
    for name, failures, completions in (("good", 0, 6), ("bad", 5, 1), ("some", 1, 5)):
        await local.register(name)
        for _ in range(failures):
            job_id = (await local.claim(name))["job"]["id"]
            body = {"worker_id": name, "error": "no", "retryable": False}
            await local.call("POST", f"/api/jobs/{job_id}/fail", body)
        for _ in range(completions):
            await finish(local, name)
    await local.register("new")

    async def shown(query: str) -> str:
        return (await (await raw(local, "GET", f"/workers?{query}")).get_data()).decode()

    text = await shown("sort=failed")
    assert re.findall(r'id="worker-(\w+)"', text) == ["bad", "some", "good"]
    assert re.findall(r'class="above" title="More than others: (\d of \d)"', text) == ["5 of 6"]
    assert "33.3 % failed" in text
    assert re.findall(r'id="worker-(\w+)"', await shown("sort=completed&q=o")) == ["good", "some"]
    assert "all workers 33.3 %" in (await (await raw(local, "GET", "/workers/bad")).get_data()).decode()
    assert (await raw(local, "GET", "/workers?sort=name")).status_code == 422


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_a_filter_means_the_same_in_the_database_and_in_hand(
    local: LocalServer, autojump_clock: Any, wanted: WorkerFilter
) -> None:
    for number, type_ in enumerate(("pdf", "pdf", "ocr", "pdf")):
        await local.register(f"ÄB{number}", type_)
        await trio.sleep(100)
    await worker(local, "never heard")
    await local.call("POST", "/api/workers/ÄB0/unregister")
    await local.call("POST", "/api/admin/workers/ÄB1/disable")

    def read(reader: Reader) -> tuple[list[str], list[str], list[str], int]:
        all_, _ = reader.roster.by_id(WorkerFilter(), after="", limit=99)
        found, _ = reader.roster.by_id(wanted, after="", limit=99)
        ranked = reader.roster.by_rank(wanted, after=(0, ""), limit=99)
        in_hand = [each.id for each, _ in all_ if wanted.matches(each)]
        return in_hand, [each.id for each, _ in found], sorted(each.id for each, _ in ranked.workers), ranked.total

    in_hand, found, ranked, total = await local.parts.reads.run(read)
    assert in_hand == found == ranked
    assert 0 < total == len(found) < 5


@pytest.mark.parametrize("path", ["/api/admin/tokens", "/api/tokens"])
async def test_tokens_are_paged(local: LocalServer, autojump_clock: Any, path: str) -> None:
    for number in range(4):
        await token(local, "read", name=f"t{number}")
    whole = msgspec.json.decode(await (await raw(local, "GET", path)).get_data(as_text=False))
    seen: list[Any] = []
    following: str | None = f"{path}?limit=2"
    while following is not None:
        answer = await raw(local, "GET", following)
        seen += msgspec.json.decode(await answer.get_data(as_text=False))
        link = answer.headers.get("Link")
        following = link[1:].partition(">")[0] if link is not None else None
    assert seen == whole
    assert len(whole) >= 4


async def test_workers_that_have_gone_are_forgotten(tmp_path: Path, autojump_clock: Any) -> None:
    assert Settings().retention_workers == 30 * 86_400
    async with open_local(tmp_path / "data", retention_workers=7200) as local:
        await local.register("gone")
        await worker(local, "with its own credential")
        await local.register("here")
        for minutes in range(1, 200):
            await trio.sleep(60)
            await local.call("POST", "/api/workers/here/heartbeat", {})
            if minutes == 110:
                assert "gone" in (await listed(local, ""))[0]
        assert (await listed(local, ""))[0] == ["here", "with its own credential"]
