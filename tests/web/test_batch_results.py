"""The results of a batch with signed URLs: all of them, whatever the pages, and the truth about how it ended."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from tests.fixtures.local import LocalServer
from tests.web import test_outputs as several
from tests.web.calls import assert_problem, finish, raw
from tests.web.test_files import path_of
from web.api import batchfiles


async def test_each_file_is_named_and_signed_whatever_the_pages(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batchfiles, "PAGE", 2)
    monkeypatch.setattr(batchfiles, "SIGNED", 2)
    _, batch = await local.call("POST", "/api/batches", {"name": "a batch"})
    await local.register()
    for n in range(3):
        await local.submit(b"%d" % n, source_path=f"in/{n}.pdf", batch=batch["id"])
        await finish(local, result={"filename": "same.md"})
    second = {"type": "pdf", "source_hash": hashlib.sha256(b"0").hexdigest(), "source_path": "further/0.pdf"}
    assert (await local.call("POST", "/api/jobs", second))[0] == 200
    await local.submit(b"not of it")
    await finish(local)
    grant = await several.claimed(local, b"has several")
    await several.brought(local, grant, "a.md", "b/c.md")
    assert (await several.completed(local, grant, "all"))[0] == 200
    again = {"type": "pdf", "source_hash": grant["job"]["source_hash"], "batch": batch["id"]}
    assert (await local.call("POST", "/api/jobs", again))[0] == 200
    await local.submit(b"no result yet", batch=batch["id"])

    answer = await raw(local, "GET", f"/api/batches/{batch['id']}/results")
    assert answer.status_code == 200
    *files, end = [msgspec.json.decode(line) for line in (await answer.get_data()).splitlines()]
    assert end == {"files": 6, "end": True}
    assert [(each["job_id"], each["name"], each["apart"]) for each in files] == [
        (1, "in/same.md", "in/same~1.md"),
        (1, "further/same.md", "further/same~1.md"),
        (2, "in/same.md", "in/same~2.md"),
        (3, "in/same.md", "in/same~3.md"),
        (5, "job-5~5/a.md", "job-5~5/a.md"),
        (5, "job-5~5/b/c.md", "job-5~5/b/c.md"),
    ]
    fetched = await local.http.get(path_of(files[0]["url"]))
    assert len(await fetched.get_data()) == files[0]["size"]
    assert files[0]["expires_at"] > "2026"
    # The script has the first page, and says where to go on; a part has nothing but the commands for one.
    script = await (await raw(local, "GET", f"/api/batches/{batch['id']}/results.sh")).get_data(as_text=True)
    assert script.count("\nget ") == 3
    assert "\nnext=2\n" in script
    part = await (await raw(local, "GET", f"/api/batches/{batch['id']}/results.sh?part=true&cursor=2")).get_data(
        as_text=True
    )
    assert [line.split()[0] for line in part.splitlines()] == ["get", "get", "get", "next="]
    for suffix in ("", ".sh"):
        assert_problem(await local.call("GET", f"/api/batches/99/results{suffix}"), 404, "no-such-batch")
