"""What one page, or one answer, shows of the database is of one moment: it is read in one piece."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.local import LocalServer
from web.reads import ReadPool

SHOWN = (
    "/", "/jobs", "/jobs/1", "/failures", "/types", "/types/pdf", "/workers", "/workers/w1", "/api/jobs",
    "/api/jobs/1", "/api/jobs/1/events", "/api/jobs/1/attempts", "/api/workers", "/api/workers/w1", "/api/stats",
    "/api/stats/outlook", "/api/stats/attention", "/api/failures",
)  # fmt: skip


@pytest.mark.parametrize("path", SHOWN)
async def test_one_answer_is_one_moment(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A running job and a waiting one, so that nothing is left out for want of something to say."""
    await local.register()
    await local.submit(b"one")
    await local.submit(b"two")
    await local.claim()
    bearer = {"Authorization": f"Bearer {local.parts.admin_token}"}
    assert (await local.http.get(path, headers=bearer)).status_code == 200
    reads: list[Any] = []
    run = ReadPool.run

    async def counted(pool: ReadPool, read: Any) -> Any:
        reads.append(read)
        return await run(pool, read)

    monkeypatch.setattr(ReadPool, "run", counted)
    response = await local.http.get(path, headers=bearer)
    assert response.status_code == 200
    assert len(reads) == 1
