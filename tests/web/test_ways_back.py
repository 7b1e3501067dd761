"""From an earlier page of what is listed page by page there is a way back to the latest."""

from __future__ import annotations

from typing import Any

from tests.fixtures.local import LocalServer
from tests.web.calls import finish, token
from tests.web.test_comparison import page_of


async def test_the_attempts_and_the_history_of_a_job(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit()
    await finish(local)
    latest = await page_of(local, "/jobs/1")
    assert "Latest attempts" not in latest
    assert "What happened last" not in latest
    assert '<a href="/jobs/1">Latest attempts</a>' in await page_of(local, "/jobs/1?before=2")
    assert '<a href="/jobs/1#events-title">What happened last</a>' in await page_of(local, "/jobs/1?events=2-2")


async def test_the_audit_log(local: LocalServer, autojump_clock: Any) -> None:
    for _ in range(2):
        await token(local, "read")
    _, found = await local.call("GET", "/api/admin/audit?action=token.create&limit=1")
    first = 'href="/admin/audit?action=token.create">First page'
    assert first not in await page_of(local, "/admin/audit?action=token.create")
    assert first in await page_of(local, f"/admin/audit?action=token.create&cursor={found['next_cursor']}")
