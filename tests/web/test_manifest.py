"""The manifest over HTTP: every job once, whatever the pages; and the key that signs it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from actors.messages import AddSigningKey
from blobforge import manifest
from blobforge.installation import fingerprint
from blobforge.machinery.datadir import SECRET_FILE
from blobforge.manifest import ManifestJob
from blobforge.manifest_signature import check
from blobforge.store import lists
from tests.fixtures.local import LocalServer, open_local
from tests.web import test_outputs as several
from tests.web.calls import assert_problem, finish
from web.api import manifest as route


async def fetched(local: LocalServer, query: str = "") -> tuple[bytes, list[ManifestJob]]:
    """A manifest that its key has proven, and its jobs."""
    status, body = await local.call("GET", f"/api/results/manifest{query}")
    assert status == 200, body
    _, known = await local.call("GET", "/api/installation")
    end = check(io.BytesIO(body), known["public_key"])
    head, *lines = manifest.read(io.BytesIO(body))
    assert isinstance(head, manifest.ManifestHead)
    assert head.key == end.key == known["fingerprint"] == fingerprint(known["public_key"])
    assert head.installation == known["id"] == local.parts.installation
    jobs = [line for line in lines if isinstance(line, ManifestJob)]
    assert (end.jobs, end.outputs) == (len(jobs), sum(job.outputs_total for job in jobs))
    return body, jobs


async def test_a_manifest_says_what_was_made_of_what(local: LocalServer, autojump_clock: object) -> None:
    await local.register()
    waiting = await local.submit(b"another")
    job_id = await local.submit(b"a book", source_path="books/a.pdf", priority=1)
    await finish(local, result={"filename": "a.md", "content_type": "text/markdown"})
    _, jobs = await fetched(local)
    assert [job.job_id for job in jobs] == [waiting, job_id]
    job = jobs[1]
    assert (job.source_path, job.source_size, job.status, job.attempts) == ("books/a.pdf", 6, "completed", 1)
    [output] = job.outputs
    assert (output.name, output.size, output.media_type) == ("a.md", len(b"converted"), "text/markdown")
    assert output.sha256 is not None
    assert (jobs[0].status, jobs[0].outputs_total, jobs[0].outputs) == ("pending", 0, [])


async def test_what_was_asked_of_the_converter_and_what_it_was_are_in_it(
    local: LocalServer, autojump_clock: object
) -> None:
    await local.register()
    plain = await local.submit(b"a book")
    asked = await local.submit(b"a book", options={"pages": [1, 2], "language": "fr"})
    for _ in range(2):
        said = {"worker_id": "w1", "job_type": "pdf", "accepts": ["options"], "converter": "marker 1.3"}
        _, grant = await local.call("POST", "/api/jobs/claim", said)
        body = {"worker_id": "w1", "lease": grant["lease"], "result": {}}
        assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200
    _, jobs = await fetched(local)
    assert [job.job_id for job in jobs] == [plain, asked]
    assert [job.options for job in jobs] == [None, {"language": "fr", "pages": [1, 2]}]
    assert [job.made_by for job in jobs] == ["marker 1.3", "marker 1.3"]


async def test_every_job_is_in_it_once_whatever_changes_meanwhile(
    local: LocalServer, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of lists one whose priority is changed while it is read would be there twice, or never."""
    monkeypatch.setattr(route, "PAGE", 3)
    monkeypatch.setattr(lists, "WALKED_AT_ONCE", 2)
    ids = [await local.submit(f"{n}".encode(), priority=1 + n % 5) for n in range(11)]
    pages = 0

    moment = local.parts.services.reads.moment

    async def between(read: object) -> object:
        nonlocal pages
        pages += 1
        for job_id in (ids[0], ids[-1]):
            status, _ = await local.call("PATCH", f"/api/jobs/{job_id}/priority", {"priority": 1 + pages % 5})
            assert status == 200
        return await moment(read)  # type: ignore[arg-type]

    monkeypatch.setattr(local.parts.services.reads, "moment", between)
    _, jobs = await fetched(local)
    assert [job.job_id for job in jobs] == ids
    assert pages >= 4


async def test_all_outputs_of_a_job_are_in_it(
    local: LocalServer, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "MOST_OUTPUTS", 3)
    names = ["a/1.md", "a/2.md", "b.json"]
    first = await several.claimed(local, b"1")
    await several.brought(local, first, *names, "told of, and not part of the result")
    assert (await several.completed(local, first, [{"name": name} for name in names]))[0] == 200
    second = await several.claimed(local, b"2")
    await several.brought(local, second, *names)
    assert (await several.completed(local, second, "all"))[0] == 200
    await local.submit(b"3")
    _, jobs = await fetched(local)
    assert [job.job_id for job in jobs] == [1, 2, 3]
    for job in jobs[:2]:
        assert [(each.name, each.size) for each in job.outputs] == [(name, len(name)) for name in names]


async def test_all_paths_of_a_source_are_in_it(local: LocalServer, autojump_clock: object) -> None:
    for name in ("in/one.pdf", "in/two.pdf", "in/three.pdf"):
        job_id = await local.submit(b"one source", source_path=name)
    await local.submit(b"another", source_path="in/two/other.txt")
    _, jobs = await fetched(local, "?q=three")
    assert [(job.job_id, job.source_path, job.paths) for job in jobs] == [
        (job_id, "in/one.pdf", ["in/two.pdf", "in/three.pdf"])
    ]


async def test_it_is_of_the_jobs_that_match(local: LocalServer, autojump_clock: object) -> None:
    await local.register()
    tagged = await local.submit(b"1", tags=["scan"], source_path="in/one.pdf")
    other = await local.submit(b"2", source_path="in/two.pdf")
    await finish(local)
    assert [job.job_id for job in (await fetched(local, "?tag=scan"))[1]] == [tagged]
    assert [job.job_id for job in (await fetched(local, "?q=two"))[1]] == [other]
    assert [job.job_id for job in (await fetched(local, "?status=completed"))[1]] == [tagged]
    assert [job.job_id for job in (await fetched(local, "?completed_since=2000-01-01T00:00:00Z"))[1]] == [tagged]
    assert (await fetched(local, "?completed_since=2199-01-01T00:00:00Z"))[1] == []
    answer = await local.call("GET", "/api/results/manifest?status=finished")
    assert_problem(answer, 422, "invalid", field="status")


async def test_the_key_stays_and_another_follows_where_the_secret_is_lost(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_local(tmp_path / "data") as local:
        _, first = await local.call("GET", "/api/installation")
        body, _ = await fetched(local)
    async with open_local(tmp_path / "data") as local:
        assert (await local.call("GET", "/api/installation"))[1] == first
    kept = (tmp_path / "data" / SECRET_FILE).read_text()
    (tmp_path / "data" / SECRET_FILE).unlink()
    async with open_local(tmp_path / "data") as local:  # as after a restore without the secret
        _, second = await local.call("GET", "/api/installation")
        assert second["public_key"] != first["public_key"]
        assert [each["public_key"] for each in second["former"]] == [first["public_key"]]
        await fetched(local)
    check(io.BytesIO(body), first["public_key"])  # what was signed is as good as before
    (tmp_path / "data" / SECRET_FILE).write_text(kept)
    async with open_local(tmp_path / "data") as local:  # it was found again
        assert (await local.call("GET", "/api/installation"))[1]["public_key"] == first["public_key"]


async def test_of_two_servers_that_make_a_key_at_once_the_first_ones_is_it(
    local: LocalServer, autojump_clock: object
) -> None:
    _, known = await local.call("GET", "/api/installation")
    await local.ask(AddSigningKey("of another server", b"sealed", known=0))
    assert (await local.call("GET", "/api/installation"))[1] == known
    keys = await local.parts.services.reads.run(lambda reader: reader.signing_keys())
    assert [each.public_key for each in keys] == [known["public_key"]]
    assert all(known["public_key"].encode() not in each.sealed for each in keys)


async def test_a_manifest_whose_reader_was_shut_out_has_no_last_line(
    local: LocalServer, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.long_answers.CHECKED_SECONDS", 0)
    monkeypatch.setattr(route, "PAGE", 1)
    for n in range(4):
        await local.submit(f"{n}".encode())
    status, made = await local.call("POST", "/api/admin/tokens", {"name": "reader", "scopes": ["read"]})
    assert status == 201
    moment = local.parts.services.reads.moment

    async def between(read: object) -> object:
        await local.call("DELETE", f"/api/admin/tokens/{made['id']}")
        return await moment(read)  # type: ignore[arg-type]

    monkeypatch.setattr(local.parts.services.reads, "moment", between)
    _, body = await local.call("GET", "/api/results/manifest", token=made["token"])
    _, known = await local.call("GET", "/api/installation")
    with pytest.raises(manifest.ManifestError) as cut:
        check(io.BytesIO(body), known["public_key"])
    assert cut.value.kind == "truncated"
