"""What existing clients send is taken as they mean it, and never costs a heartbeat or a finished result."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, raw

OLD_NAMES = ["worker 1", "größe", "рабочий 7", "転換 機", "a  b", "@:%#?&=+"]


@pytest.mark.parametrize(
    ("sent", "shown", "share"),
    [("50%", "50%", 50.0), (50, 50, 50.0), (12.5, 12.5, 12.5), ("almost there", "almost there", None),
     ([1, 2], [1, 2], None), (True, True, None), ({"stage": "ocr"}, {"stage": "ocr"}, None)],
)  # fmt: skip
async def test_progress_is_any_json(
    local: LocalServer, autojump_clock: Any, sent: Any, shown: Any, share: float | None
) -> None:
    await local.register()
    job_id = await local.submit()
    await local.claim()
    status, answer = await local.call("POST", "/api/workers/w1/heartbeat", {"job_id": job_id, "progress": sent})
    assert (status, answer["abandon"]) == (200, [])
    assert (await local.job(job_id))["progress"] == shown
    page = await raw(local, "GET", f"/jobs/{job_id}")
    html = (await page.get_data()).decode()
    assert page.status_code == 200
    assert ("<progress" in html) == (share is not None)
    if share is not None:
        assert f'value="{share}"' in html


async def test_progress_that_is_too_large_renews_the_lease_all_the_same(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    job_id = await local.submit()
    await local.claim()
    body = {"job_id": job_id, "progress": {"message": "x" * 20_000}}
    status, answer = await local.call("POST", "/api/workers/w1/heartbeat", body)
    assert (status, answer["abandon"]) == (200, [])
    assert answer["lease_expires_at"]
    assert "20014 bytes" in (await local.job(job_id))["progress"]["message"]


@pytest.mark.parametrize("job_id", [0, None])
async def test_a_heartbeat_without_a_job(local: LocalServer, autojump_clock: Any, job_id: int | None) -> None:
    await local.register()
    status, answer = await local.call("POST", "/api/workers/w1/heartbeat", {"job_id": job_id, "progress": "50%"})
    assert (status, answer["status"], answer["abandon"]) == (200, "ok", [])


@pytest.mark.parametrize("result", ["# markdown", 7, [1, {"a": None}], False, {"filename": 3}])
async def test_a_result_is_any_json(local: LocalServer, autojump_clock: Any, result: Any) -> None:
    await local.register()
    job_id = await local.submit()
    await local.claim()
    done = {"worker_id": "w1", "output_key": "", "result": result}
    assert await local.call("POST", f"/api/jobs/{job_id}/complete", done) == (200, {"status": "completed"})
    assert (await local.job(job_id))["result"] == result
    assert (await raw(local, "GET", f"/jobs/{job_id}")).status_code == 200
    assert (await local.call("GET", f"/api/files/{job_id}/output/url"))[0] == 404


@pytest.mark.parametrize("nothing", ["", None])
async def test_empty_tags_are_none(local: LocalServer, autojump_clock: Any, nothing: str | None) -> None:
    body = {"type": "pdf", "source_hash": HEX, "tags": [nothing, "inbox", nothing]}
    status, made = await local.call("POST", "/api/jobs", body)
    assert status == 201
    assert (await local.job(made["job_id"]))["tags"] == ["inbox"]
    status, many = await local.call("POST", "/api/jobs/batch", {"jobs": [body | {"type": "text"}]})
    assert status == 200
    assert (await local.job(many["items"][0]["job_id"]))["tags"] == ["inbox"]


async def test_an_empty_name_of_a_worker_is_none(local: LocalServer, autojump_clock: Any) -> None:
    status, made = await local.call("POST", "/api/admin/workers", {"id": "box", "name": "", "type": "pdf"})
    assert (status, made["name"]) == (201, "box")
    assert "name" not in (await local.call("GET", "/api/workers/box"))[1]


@pytest.mark.parametrize("name", OLD_NAMES)
async def test_names_with_spaces_and_of_any_script(local: LocalServer, autojump_clock: Any, name: str) -> None:
    """As a worker's id (in the path, in bodies, and as UTF-8 in the header) and as a job's type."""
    status, made = await local.call("POST", "/api/admin/workers", {"id": name, "type": name})
    assert status == 201
    own = {"X-Worker-ID": name, "X-Worker-Secret": made["secret"]}
    status, _ = await local.call("POST", "/api/workers/register", {"id": name, "type": name}, headers=own)
    assert status == 200
    where = f"/api/workers/{quote(name)}"
    assert (await local.call("POST", f"{where}/heartbeat", b"null", headers=own))[0] == 200
    job_id = await local.submit(type=name)
    status, granted = await local.call("POST", "/api/jobs/claim", {"worker_id": name, "job_type": name}, headers=own)
    assert (status, granted["job"]["id"], granted["job"]["worker_id"]) == (200, job_id, name)
    failed = {"worker_id": name, "error": "no"}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", failed, headers=own))[0] == 200
    assert (await raw(local, "GET", f"/workers/{quote(name)}")).status_code == 200
    status, listed = await local.call("GET", f"/api/jobs?type={quote(name)}")
    assert [job["id"] for job in listed["jobs"]] == [job_id]
    assert (await local.call("GET", where))[1]["id"] == name


async def test_a_slash_stays_refused(local: LocalServer, autojump_clock: Any) -> None:
    for body in ({"id": "a/b", "type": "pdf"}, {"id": "a", "type": "a/b"}):
        assert (await local.call("POST", "/api/workers/register", body))[0] == 422


async def test_a_worker_that_sends_no_heartbeat_is_told_of(local: LocalServer, autojump_clock: Any) -> None:
    """Its document is not converted over and over in silence: the attempt and the overview say why."""
    await local.register()
    job_id = await local.submit()
    await local.claim()
    await trio.sleep(200)
    words = "silent while it worked; raise BLOBFORGE_WORKER_TIMEOUT"
    assert words in (await local.job(job_id))["attempt_history"][0]["error"]
    (cause,) = (await local.call("GET", "/api/stats/attention"))[1]["silent"]
    assert words in cause["example"]
    assert words in (await (await raw(local, "GET", "/")).get_data()).decode()


async def test_who_existing_dashboards_ask(local: LocalServer, autojump_clock: Any) -> None:
    assert (await local.call("GET", "/api/auth/info", headers={}))[1]["oidc_enabled"] is False
    page = await raw(local, "GET", "/logout")
    assert page.status_code == 200
    assert '<form method="post" action="/auth/logout">' in (await page.get_data()).decode()
