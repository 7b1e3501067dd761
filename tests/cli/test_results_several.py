"""`blobforge results download` of results with several outputs, and of sources with several paths."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.cli.fetch import fetching
from blobforge.client import ApiError, AsyncClient, Client, TransferRefused
from tests.cli.conftest import Running, running_server
from tests.cli.test_results import SOAK, Archive
from tests.fixtures.converted import Document, convert, source_of

BOOK = (("a.md", b"![](img/1.png)"), ("img/1.png", b"one"), ("img/2.png", b"two"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("several") / "here", {}) as running:
        yield running


@pytest.fixture
def archive(request: pytest.FixtureRequest, shared: Running, tmp_path: Path) -> Archive:
    return Archive(shared, request.node.name[:90], tmp_path / "to")


def several(path: str | None, *outputs: tuple[str, bytes]) -> Document:
    return Document(path, b"", None, (), outputs or BOOK)


def again(archive: Archive, job_id: int, document: Document) -> None:
    async def retry() -> None:
        async with AsyncClient(archive.running.url, token=archive.token) as client:
            await client.retry_job(job_id)
            await convert(client, {job_id: document})

    trio.run(retry)


def also_at(archive: Archive, number: int, document: Document, *paths: str) -> None:
    """The same source is submitted under further paths."""

    async def submit() -> None:
        source = source_of(number, document._replace(tags=(archive.tag,)))
        async with AsyncClient(archive.running.url, token=archive.token) as client:
            digest = hashlib.sha256(source).hexdigest()
            for path in paths:
                job = {"type": "pdf", "source_hash": digest, "source_path": path}
                (answer,) = (await client.submit_jobs([job])).items
                assert answer.existing

    trio.run(submit)


def in_order(archive: Archive, *options: str) -> list[str]:
    return [each["name"] for each in archive.fetched(*options) if "name" in each]


def test_all_outputs_of_a_job_stand_in_a_folder_of_its_own(archive: Archive) -> None:
    first, second, _ = archive.make(
        several("books/a.pdf"), several("books/a.docx"), Document("books/b.pdf", b"single", "b.md")
    )
    told = archive.fetched()
    expected = {f"books/a/{name}": content for name, content in BOOK}
    expected |= {f"books/a~{second}/{name}": content for name, content in BOOK}
    assert archive.tree() == expected | {"books/b.md": b"single"}
    for job_id in (first, second):
        assert [each["name"] for each in told if each["job_id"] == job_id][-1] == "a.md", "the main one last"
    assert archive.fetched() == []
    assert archive.fetch("--full").stderr.endswith("; 3 results in the folder\n")
    verified = archive.verified()
    assert (verified.returncode, verified.stdout) == (0, ""), verified.stderr
    assert "7 as signed" in verified.stderr
    (archive.root / "books/a/img/1.png").write_bytes(b"eno")
    assert archive.verified().stdout == f"changed\tbooks/a/img/1.png\tjob {first}\n"


@pytest.mark.parametrize("layout", ["id", "hash"])
def test_layouts(archive: Archive, layout: str) -> None:
    (job_id,) = archive.make(several("books/a.pdf"))
    archive.fetched("--layout", layout)
    folder = str(job_id)
    if layout == "hash":
        digest = archive.running.json("jobs", "show", folder)["source_hash"]
        folder = f"{digest[:2]}/{digest}"
    assert archive.tree() == {f"{folder}/{name}": content for name, content in BOOK}
    assert archive.verified("--layout", layout).returncode == 0


def test_folders_and_files_are_never_in_each_others_way(archive: Archive) -> None:
    documents = [
        several("x/a.pdf"),
        Document("x/1.pdf", b"file", "a"),  # a file where a job's folder is
        Document("x/a/c.pdf", b"inside", "c.md"),  # a file for that folder
        several("y/b.pdf", ("B.md", b"0"), ("b.md", b"1")),
        several("y/c.pdf", ("only.md", b"one of one")),
    ]
    ids = archive.make(*documents)
    archive.fetched()
    tree = archive.tree()
    assert {f"x/a/{name}" for name, _ in BOOK} < set(tree)
    assert tree[f"x/a~{ids[1]}"] == b"file"
    assert tree["x/a~/c.md"] == b"inside"
    assert sorted((tree["y/b/B.md"], tree[f"y/b/b~{ids[3]}.md"])) == [b"0", b"1"]
    assert tree["y/c/only.md"] == b"one of one", "it has a name, as others may come beside it"
    assert len(tree) == 8
    assert archive.verified().returncode == 0
    shutil.rmtree(archive.root)
    archive.fetched()
    assert archive.tree() == tree, "by rule"


def test_a_rerun_leaves_nothing_of_the_former(archive: Archive) -> None:
    (job_id,) = archive.make(several("books/a.pdf"))
    archive.fetched()
    again(archive, job_id, several(None, ("a.md", b"new"), ("img/2.png", b"two")))
    assert in_order(archive) == ["img/2.png", "a.md"]
    assert archive.tree() == {"books/a/a.md": b"new", "books/a/img/2.png": b"two"}
    again(archive, job_id, Document(None, b"single", "a.md"))
    archive.fetched()
    assert archive.tree() == {"books/a.md": b"single"}
    again(archive, job_id, several(None))
    archive.fetched()
    assert archive.tree() == {f"books/a/{name}": content for name, content in BOOK}
    assert archive.verified().returncode == 0


def test_what_is_not_ours_is_no_former_result(archive: Archive) -> None:
    (job_id,) = archive.make(several("books/a.pdf"))
    (archive.root / "books/a").mkdir(parents=True)
    (archive.root / "books/a/img").write_bytes(b"a stranger's")
    ran = archive.fetch()
    assert ran.returncode == 5
    assert ran.stderr.count(f"job {job_id}: ") == 1, "told once, whatever many of its outputs"
    assert "books/a/a.md" not in archive.tree(), "the main one is there where all are"
    again(archive, job_id, Document(None, b"single", "a.md"))
    archive.fetched()
    assert archive.tree() == {"books/a/img": b"a stranger's", "books/a.md": b"single"}


def test_it_goes_on_where_it_was(archive: Archive) -> None:
    outputs = [("a.md", b"main"), *((f"img/{n}.png", b"%d" % n) for n in range(60))]
    archive.make(several("books/a.pdf", *outputs))
    child = archive.running.start("results", "download", "--tag", archive.tag, "--to", archive.root, "--json")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    assert "books/a/a.md" not in archive.tree()
    here = {path for path in archive.tree() if not path.rpartition("/")[2].startswith(".")}
    told = archive.fetched()
    assert archive.tree() == {f"books/a/{name}": content for name, content in outputs}
    assert {each["path"] for each in told if each["fetched"]} == {f"books/a/{name}" for name, _ in outputs} - here
    assert told[-1]["name"] == "a.md"
    (archive.root / "books/a/img/7.png").unlink()
    assert [each["path"] for each in archive.fetched()] == ["books/a/img/7.png"]


def test_a_result_stands_at_all_paths_of_its_source(archive: Archive) -> None:
    documents = [Document("in/a.pdf", b"single", "a.md"), several("in/b.pdf")]
    archive.make(*documents)
    archive.fetched()
    also_at(archive, 0, documents[0], "copy/x.pdf", "in/other.pdf", "a.pdf")
    also_at(archive, 1, documents[1], "copy/b.pdf")
    told = archive.fetched()
    single = {"in/a.md", "copy/x.md", "in/other.md", "a.md"}
    assert archive.tree() == dict.fromkeys(single, b"single") | {
        f"{folder}/b/{name}": content for name, content in BOOK for folder in ("in", "copy")
    }
    assert not any(each["fetched"] for each in told), "no bytes are moved for a copy"
    assert len(told) == 3 + len(BOOK)
    assert archive.fetched() == []
    verified = archive.verified()
    assert (verified.returncode, verified.stdout) == (0, ""), verified.stderr
    (archive.root / "copy/x.md").unlink()
    assert archive.verified().stdout.startswith("missing\tcopy/x.md\t")
    assert [each["path"] for each in archive.fetched()] == ["copy/x.md"]
    shutil.rmtree(archive.root)
    assert sum(each["fetched"] for each in archive.fetched()) == 1 + len(BOOK)


def test_a_worker_a_submission_and_a_watcher(archive: Archive, tmp_path: Path) -> None:
    """The whole way, with our own runner."""
    running = archive.running
    source = tmp_path / "in" / "paper.whole"
    source.parent.mkdir()
    source.write_bytes(b"hello")
    script = "mkdir {outputs}/img; cp {source} {outputs}/paper.md; cp {source} {outputs}/img/1.png"
    worker = running.start("work", "--type", "whole", "--exec", f"sh -c '{script}'", "--max-jobs", "2")
    ran = running.blobforge("submit", source, "--wait", "--download", "--to", archive.root)
    assert ran.returncode == 0, ran.stderr
    here = {path.rpartition("/paper/")[2]: content for path, content in archive.tree().items()}
    assert here == {"paper.md": b"hello", "img/1.png": b"hello"}
    watching = tmp_path / "watching"
    child = running.start("results", "download", "--type", "whole", "--tag", "late", "--to", watching, "--watch")
    source.write_bytes(b"another")
    assert running.blobforge("submit", source, "--tag", "late", "--wait").returncode == 0
    assert child.stdout is not None
    lines = [child.stdout.readline().rstrip().rpartition("/paper/")[2] for _ in range(2)]
    assert lines == ["img/1.png", "paper.md"]
    child.terminate()
    child.wait(30)
    assert worker.wait(30) == 0


def test_by_their_ids(archive: Archive, tmp_path: Path) -> None:
    running = archive.running
    ids = archive.make(
        several("books/a.pdf"), Document("b.pdf", b"single", "b.md"), Document("c.pdf", b"not asked for")
    )
    job, single = map(str, ids[:2])
    listed = [json.loads(line) for line in running.ok("jobs", "outputs", job, "--json").splitlines()]
    assert [(each["name"], each["size"]) for each in listed] == [(name, len(content)) for name, content in BOOK]
    assert running.ok("jobs", "outputs", job, "--quiet").splitlines() == [name for name, _ in BOOK]
    assert running.ok("jobs", "download", job, "--name", "img/2.png", "-o", tmp_path / "2") == f"{tmp_path / '2'}\n"
    assert (tmp_path / "2").read_bytes() == b"two"
    assert running.ok("jobs", "download", job, "--name", "img/1.png", "-o", "-") == "one"
    ran = running.blobforge("jobs", "download", job, "-o", tmp_path / "main")
    assert (ran.returncode, (tmp_path / "main").read_bytes()) == (0, BOOK[0][1])
    assert f"`blobforge results download --job {job} --to DIR` fetches all" in ran.stderr
    ran = running.blobforge("jobs", "download", single, "-o", tmp_path / "single")
    assert (ran.returncode, ran.stderr) == (0, "")
    refused = running.blobforge("jobs", "download", job, "--name", "img/3.png")
    assert refused.returncode == 5
    assert "img/3.png" in refused.stderr
    assert running.blobforge("jobs", "download", job, "--name", "a.md", "--source").returncode == 2
    to = ("results", "download", "--to", archive.root)
    assert running.ok(*to, "--job", job, "--job", single, "--job", job).count("\n") == 4
    assert archive.tree() == {f"books/a/{name}": content for name, content in BOOK} | {"b.md": b"single"}
    assert running.ok(*to, "--job", job) == ""
    ran = running.blobforge(*to, "--job", single, "--job", "999999")
    assert (ran.returncode, ran.stdout) == (5, "")
    assert "job 999999: There is no job 999999." in ran.stderr
    for filters in (("--tag", "x"), ("--status", "any"), ("--watch",), ("--since", "2026-01-01")):
        assert running.blobforge(*to, "--job", job, *filters).returncode == 2


def test_what_the_store_has_changed_is_not_taken(archive: Archive, tmp_path: Path) -> None:
    running = archive.running
    ids = archive.make(several("a.pdf"), Document("b.pdf", b"single", "b.md"))
    for name, job_id in zip(("a.md", "output"), ids, strict=True):
        copies = running.folder.glob(f"data/objects/*/*/{job_id}/1/{name}")
        for stored in copies:
            then = stored.stat()
            stored.write_bytes(b"x" * then.st_size)
            os.utime(stored, ns=(then.st_atime_ns, then.st_mtime_ns))  # as a disk does it
        for target in (tmp_path / "x", "-"):
            ran = running.blobforge("jobs", "download", str(job_id), "-o", target)
            assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
            assert "has SHA-256" in ran.stderr
        assert not (tmp_path / "x").exists()
    ran = archive.fetch()
    assert ran.returncode == 1
    assert set(archive.tree()) == {"a/img/1.png", "a/img/2.png"}


def test_in_a_script(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = (("main.md", b"main"), *((f"{n}/\u00e9?.md", b"%d" % n) for n in range(7)))
    job, single = archive.make(several("a.pdf", *many), Document("b.pdf", b"single", "b.md"))
    real = AsyncClient.output_page

    async def by_twos(client: AsyncClient, *args: Any, **named: Any) -> Any:
        return await real(client, *args, **named | {"limit": 2})

    monkeypatch.setattr(AsyncClient, "output_page", by_twos)
    with Client(archive.running.url, token=archive.token) as client:
        found = list(client.outputs(job))
        assert [(each.name, client.fetch(each)) for each in found] == list(many)
        for each in found:
            client.save(each, f"{tmp_path}/out/")
        assert sorted(path.read_bytes() for path in (tmp_path / "out").glob("*/*%3F.md")) == [
            b"%d" % n for n in range(7)
        ]
        assert (tmp_path / "out" / "main.md").read_bytes() == b"main"
        assert [(each.name, each.filename) for each in client.outputs(single)] == [(None, "b.md")]
        outputs = client.outputs(job)
        assert next(outputs).name == "main.md"
        again(archive, job, several(None, *many))
        with pytest.raises(ApiError, match="converted again") as error:
            list(outputs)
        assert (error.value.status, error.value.type) == (409, "replaced")


@pytest.mark.parametrize("names", [["a.md", "img/1.png"], [name for name, _ in BOOK]], ids=["fewer", "the same"])
def test_a_result_that_is_replaced_while_it_is_fetched_is_never_mixed(
    archive: Archive, fetch_here: Any, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    new = [(name, b"new " + name.encode()) for name in names]
    (job_id,) = archive.make(several("books/a.pdf"))
    real = AsyncClient.output_page
    asked: list[int] = []

    async def meanwhile(client: AsyncClient, *args: Any, **named: Any) -> Any:
        asked.append(job_id)
        page = await real(client, *args, **named)
        if len(asked) == 1:
            await client.retry_job(job_id)
            await convert(client, {job_id: several(None, *new)})
        return page

    monkeypatch.setattr(AsyncClient, "output_page", meanwhile)
    report = fetch_here()
    assert (report.fetched, report.failed, len(asked)) == (1, 0, 2)
    assert archive.tree() == {f"books/a/{name}": content for name, content in new}


@pytest.mark.parametrize(
    "new",
    [
        [("a.md", b"new main"), ("img/1.png", b"new one"), ("img/2.png", b"new two")],
        [("other.md", b"new main"), ("a.md", b"no main now"), ("img/1.png", b"new one"), ("img/2.png", b"new two")],
    ],
    ids=["the same main one", "another main one"],
)
def test_the_main_one_never_stands_beside_another_attempts(
    archive: Archive, fetch_here: Any, monkeypatch: pytest.MonkeyPatch, new: list[tuple[str, bytes]]
) -> None:
    (job_id,) = archive.make(several("books/a.pdf"))
    assert fetch_here().fetched == 1
    again(archive, job_id, several(None, *new))
    real, moved = AsyncClient.read, trio.Event()

    async def cut(client: AsyncClient, url: str, **named: Any) -> bytes:
        if "1.png" in url:
            moved.set()
            return await real(client, url, **named)
        await moved.wait()
        await trio.sleep(0.3)  # until it is written
        raise TransferRefused(500, url, "cut")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncClient, "read", cut)
        assert fetch_here().failed == 1
    tree = archive.tree()
    assert tree == {"books/a/img/1.png": b"new one", "books/a/img/2.png": b"two"}, "and no main one"
    assert fetch_here().fetched == 1
    assert archive.tree() == {f"books/a/{name}": content for name, content in new}


def test_one_that_fails_holds_the_main_one_back(
    archive: Archive, fetch_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.make(several("books/a.pdf"), Document("b.pdf", b"single", "b.md"))
    real = AsyncClient.read

    async def refusing(client: AsyncClient, url: str, **named: Any) -> bytes:
        if "2.png" in url:
            raise TransferRefused(404, url, "gone")
        return await real(client, url, **named)

    monkeypatch.setattr(AsyncClient, "read", refusing)
    report = fetch_here()
    assert (report.found, report.fetched, report.failed) == (2, 1, 1)
    assert "books/a/a.md" not in archive.tree()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(archive.root.parent / "cache"))
    report = fetch_here()
    assert (report.fetched, report.failed) == (1, 0)
    assert "books/a/a.md" in archive.tree()


def test_very_many_outputs_of_one_job_are_listed_and_signed_by_the_hundred(
    archive: Archive, fetch_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 10_000 if SOAK else 40
    if not SOAK:
        monkeypatch.setattr(fetching, "SIGNED", 10)
    outputs = [("0.md", b"main"), *((f"{n % 7}/{n}", b"%d" % n) for n in range(1, many))]
    archive.make(several("books/a.pdf", *outputs))
    before = archive.calls()
    report = fetch_here()
    assert (report.fetched, report.files) == (1, many)
    assert archive.tree() == {f"books/a/{name}": content for name, content in outputs}
    asked = {route: n - before.get(route, 0) for route, n in archive.calls().items()}
    pages = many / (500 if SOAK else 10)
    assert asked["POST /api/files/urls"] <= 1 + pages + 1
    assert asked["GET /api/jobs/<id:job_id>/outputs"] == pages
    assert fetch_here().fetched == 0
