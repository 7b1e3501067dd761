"""Parameters that are not known: refused where many jobs are changed, named where something is listed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, raw, state


@pytest.mark.parametrize("verb", ["retry", "cancel", "delete", "priority"])
@pytest.mark.parametrize("place", ["body", "query"])
async def test_a_misspelt_filter_changes_nothing(
    local: LocalServer, autojump_clock: Any, verb: str, place: str
) -> None:
    await local.submit()
    before = state(local)
    body: dict[str, Any] = {"type": "pdf"} | ({"priority": 1} if verb == "priority" else {})
    wrong = {"created_after": "2026-01-01T00:00:00Z"}
    query = "" if place == "body" else "?created_after=2026-01-01T00:00:00Z"
    answer = await local.call("POST", f"/api/jobs/{verb}{query}", body | (wrong if place == "body" else {}))
    problem = assert_problem(answer, 422, "invalid")
    assert "created_after" in problem["detail"]
    assert state(local) == before


@pytest.mark.parametrize("path", ["/api/jobs", "/api/workers", "/api/tokens", "/api/stats", "/api/failures"])
async def test_a_list_names_what_it_did_not_understand(local: LocalServer, autojump_clock: Any, path: str) -> None:
    asked = await raw(local, "GET", f"{path}?created_after=x&%E2%98%83=1")
    assert asked.status_code == 200
    assert asked.headers["X-Ignored-Parameters"] == "%E2%98%83, created_after" or (
        asked.headers["X-Ignored-Parameters"] == "created_after, %E2%98%83"
    )
    assert "X-Ignored-Parameters" not in (await raw(local, "GET", path)).headers


async def test_what_is_known_is_not_named(local: LocalServer, autojump_clock: Any) -> None:
    asked = await raw(local, "GET", "/api/jobs?status=dead&limit=5&offset=0")
    assert "X-Ignored-Parameters" not in asked.headers


async def test_null_in_a_query_is_no_filter_that_lets_all_through(local: LocalServer, autojump_clock: Any) -> None:
    """Found by schemathesis: `?status=null` listed every job."""
    await local.submit()
    assert (await local.call("GET", "/api/jobs?status=null"))[1]["jobs"] == []  # as any status that there is none of
    for query in ("failure=null", "created_since=NULL"):
        status, problem = await local.call("GET", f"/api/jobs?{query}")
        assert (status, problem["field"]) == (422, query.partition("=")[0])
    assert (await local.call("GET", "/api/jobs?tag=null&q=null"))[1]["jobs"] == []


async def test_a_number_is_no_time(local: LocalServer, autojump_clock: Any) -> None:
    """`?until=0.5` was taken for half a second after 1970; the description has RFC 3339."""
    for query in ("until=0.5", "since=1e3"):
        status, problem = await local.call("GET", f"/api/admin/audit?{query}")
        assert (status, problem["field"]) == (422, query.partition("=")[0])
    assert (await local.call("GET", "/api/jobs?created_until=2026-11-23T10:00:00Z"))[0] == 200
