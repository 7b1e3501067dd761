"""Replaced results over HTTP: what a rule would delete; and all outputs of one go, beside either store."""

from __future__ import annotations

from typing import Any

import trio

from actors.mailbox import ask
from actors.messages import Prune
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish
from tests.web.test_accepted import Both, both, seaweed_or_none  # noqa: F401 - fixtures
from tests.web.test_outputs import completed, listed, named


async def test_what_a_rule_would_delete_is_said_and_stays(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"a source")
    await local.register()
    for number in range(3):
        await finish(local)
        if number < 2:
            assert (await local.call("POST", "/api/jobs/1/retry", {}))[0] == 200

    async def would(query: str = "") -> tuple[int, int, int, int]:
        status, found = await local.call("GET", f"/api/admin/superseded{query}")
        assert status == 200, found
        return found["results"], found["bytes"], found["due_results"], found["due_bytes"]

    assert await would() == (2, 18, 0, 0), "the settings keep all"
    assert await would("?keep=1") == (2, 18, 1, 9)
    assert await would("?keep=0") == (2, 18, 2, 18)
    assert await would("?older_than=3600") == (2, 18, 0, 0)
    await trio.sleep(4000)
    assert await would("?older_than=3600") == (2, 18, 2, 18)
    assert await would("?older_than=36000&keep=1") == (2, 18, 1, 9), "by either"
    assert_problem(await local.call("GET", "/api/admin/superseded?keep=-1"), 422, "invalid")
    assert await would() == (2, 18, 0, 0)


async def test_several_outputs_of_a_replaced_result_go(both: Both) -> None:  # noqa: F811
    local = both.local
    job_id = await both.pending()
    await local.register()
    prefixes = []
    for attempt, names in enumerate((["a.md", "img/1.png", "img/2.png"], ["a.md"]), start=1):
        grant = await local.claim()
        prefixes.append(grant["output_key"].removesuffix("output"))
        status, answer = await named(local, grant, *names)
        assert status == 200
        for each in answer["urls"]:
            assert await both.put(each["url"], f"{attempt}{each['name']}".encode(), each["headers"]) == 200
        assert (await completed(local, grant, "all"))[0] == 200
        if attempt == 1:
            assert (await local.call("POST", f"/api/jobs/{job_id}/retry", {}))[0] == 200
    parts = local.parts
    pruned = await ask(parts.writer.mailbox, Prune((), superseded_before=parts.services.now() + 1))
    assert pruned.results == 1

    async def gone() -> bool:
        return (await parts.services.objects.list_page(prefixes[0])).objects == []

    await both.until(gone)
    assert [each["name"] for each in await listed(local, job_id)] == ["a.md"]
    assert await both.output(job_id) == b"2a.md"
    assert len((await parts.services.objects.list_page(prefixes[1])).objects) == 1
