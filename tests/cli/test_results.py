"""`blobforge results download`: a folder that holds all results, each once, whole, under a name of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from blobforge.cli.fetch.fetching import SIDE_BY_SIDE, SMALL
from blobforge.cli.fetch.ledger import open_ledger, parts_folder
from blobforge.cli.fetch.report import FetchReport
from blobforge.client import AsyncClient
from tests.cli.conftest import Running, running_server
from tests.cli.terminal import terminal
from tests.fixtures.converted import Document, convert, done, source_of
from tests.fixtures.forked import Done

SOAK = bool(os.environ.get("SOAK"))
CALLS = re.compile(r'^blobforge_http_requests_total\{[^}]*route="([^"]+)"[^}]*\} ([0-9.e+]+)', re.MULTILINE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for the module; each test has a tag of its own."""
    with running_server(tmp_path_factory.mktemp("results") / "here", {}) as running:
        yield running


class Archive:
    """Results with one tag, and the folder that they are fetched into."""

    def __init__(self, running: Running, tag: str, folder: Path) -> None:
        self.running = running
        self.tag = tag
        self.root = folder
        self.token = (running.folder / "data" / "admin-token").read_text().strip()

    def make(self, *documents: Document, type_: str = "pdf", batch: int | None = None) -> list[int]:
        tagged = [each._replace(tags=(self.tag,)) for each in documents]
        return done(self.running.url, self.token, tagged, type_=type_, batch=batch)

    def again(self, job_id: int, output: bytes, name: str | None = None) -> None:
        """Convert a completed job once more."""

        async def retry() -> None:
            async with AsyncClient(self.running.url, token=self.token) as client:
                await client.retry_job(job_id)
                await convert(client, {job_id: Document(None, output, name)})

        trio.run(retry)

    def fetch(self, *options: str | Path) -> Done:
        return self.running.blobforge("results", "download", "--tag", self.tag, "--to", self.root, *options)

    def fetched(self, *options: str | Path) -> list[dict[str, Any]]:
        """What a run that goes well says of each result that it has fetched."""
        ran = self.fetch("--json", *options)
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def verified(self, *options: str) -> Done:
        """Whether the folder holds what a manifest lists."""
        manifest = self.root.with_name("manifest.ndjson")
        made = self.running.blobforge(
            "results", "manifest", "--tag", self.tag, "--status", "completed", "--to", manifest
        )
        assert made.returncode == 0, made.stderr
        key = self.root.with_name("installation.pub")
        key.write_text(self.running.blobforge("results", "key", "--quiet").stdout)
        return self.running.blobforge("results", "verify", manifest, self.root, "--key", key, *options)

    def tree(self) -> dict[str, bytes]:
        """All that is in the folder."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if not path.is_dir()
        }

    def calls(self) -> dict[str, float]:
        """How often each route was asked."""
        with self.running_client() as client:
            text = client.get("/metrics").text
        counts: dict[str, float] = {}
        for route, count in CALLS.findall(text):
            counts[route] = counts.get(route, 0) + float(count)
        return counts

    def parts_served(self) -> float:
        """How often a part of an object was asked for, and no whole one."""
        with self.running_client() as client:
            found = [line for line in client.get("/metrics").text.splitlines() if "206" in line and "objects" in line]
        return sum(
            float(line.rpartition(" ")[2]) for line in found if line.startswith("blobforge_http_requests_total")
        )

    def running_client(self) -> Any:
        import httpx

        return httpx.Client(base_url=self.running.url, headers={"Authorization": f"Bearer {self.token}"})

    @property
    def cache(self) -> Path:
        return self.running.folder.parent / "cache" / "blobforge"


@pytest.fixture
def archive(request: pytest.FixtureRequest, shared: Running, tmp_path: Path) -> Archive:
    return Archive(shared, request.node.name[:90], tmp_path / "to")


def docs(many: int) -> list[Document]:
    return [Document(f"books/{n % 3}/{n}.pdf", f"text {n}".encode(), f"{n}.md") for n in range(many)]


@pytest.mark.timeout(1800 if SOAK else 120)
def test_a_folder_is_filled_verified_and_not_fetched_twice(archive: Archive) -> None:
    many = 20_000 if SOAK else 40
    ids = archive.make(*docs(many))
    told = archive.fetched()
    expected = {f"books/{n % 3}/{n}.md": f"text {n}".encode() for n in range(many)}
    assert archive.tree() == expected
    assert sorted(each["job_id"] for each in told) == sorted(ids)
    for each in told:
        content = expected[each["path"]]
        assert (each["size"], each["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    before = archive.calls()
    assert archive.fetched() == []
    asked = {route: n - before.get(route, 0) for route, n in archive.calls().items() if n != before.get(route, 0)}
    # What was completed shortly before the first run is listed once more.
    assert asked.pop("GET /api/jobs") <= 1 + many / 100
    assert asked == {"GET /livez": 1, "GET /metrics": 1}, "no URL, and no bytes"
    (new,) = archive.make(Document("books/new.pdf", b"new", "new.md"))
    assert [each["job_id"] for each in archive.fetched()] == [new]
    assert archive.fetch().stderr.endswith(f"; {many + 1} results in the folder\n")


def test_names_of_every_kind_stay_in_the_folder(archive: Archive, tmp_path: Path) -> None:
    kinds = [
        ("../../../../tmp/x.pdf", "../../evil.md", "tmp/evil.md"),
        ("/etc/cron.d/x", "/etc/passwd", "etc/cron.d/passwd"),
        ("C:\\docs\\x.pdf", "..\\..\\boot.ini", "C/docs/boot.ini"),
        ("a/.git/hooks/x", ".bashrc", "a/%2Egit/hooks/%2Ebashrc"),
        ("b/x", "a\nb\x1b]0;c", "b/a%0Ab%1B]0;c"),
        ("con/x", "nul.txt", "%63on/%6Eul.txt"),
        ("c/x", "end. ", "c/end.%20"),
        ("d/x", "..", None),
        ("\u05d0\u05d1/x", "\u05d3\u05d5\u05d7.md", "\u05d0\u05d1/\u05d3\u05d5\u05d7.md"),
        ("e/x", "a\u202egpj.md", "e/a%E2%80%AEgpj.md"),
        ("f/x", "x" * 512, None),
        ("g/x", "ü" * 256 + ".md", None),
        ("/".join(["h" * 60] * 60) + "/x", "deep.md", None),
        (None, "none.md", "none.md"),
        ("i/report.pdf", None, "i/report-output"),
    ]
    archive.make(*[Document(path, str(n).encode(), name) for n, (path, name, _) in enumerate(kinds)])
    told = {each["job_id"]: each["path"] for each in archive.fetched()}
    tree = archive.tree()
    assert sorted(tree) == sorted(told.values())
    assert sorted(int(content) for content in tree.values()) == list(range(len(kinds))), "each once, whole"
    for n, (_, _, path) in enumerate(kinds):
        if path is not None:
            assert tree[path] == str(n).encode()
    assert [path.name for path in tmp_path.iterdir()] == ["to"], "nothing beside the folder"
    assert archive.fetched() == []
    verified = archive.verified()
    assert (verified.returncode, verified.stdout) == (0, ""), verified.stderr
    assert f"{len(kinds)} as signed" in verified.stderr


def test_two_with_one_name_are_kept_apart_by_rule(archive: Archive) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))
    ids = archive.make(
        Document("a/1.pdf", b"0", "x.md"),
        Document("a/2.pdf", b"1", "X.md"),
        Document("a/3.pdf", b"2", "x.md"),
        Document(f"{composed}/1.pdf", b"3", "x.md"),
        Document(f"{decomposed}/2.pdf", b"4", "x.md"),
        Document("a/x.md/1.pdf", b"5", "y.md"),  # a folder where a file is
        Document("b/c/1.pdf", b"6", "d"),
        Document("b/1.pdf", b"7", "c"),  # a file where a folder is
    )
    archive.fetched()
    apart = {
        "a/x.md": b"0",
        f"a/X~{ids[1]}.md": b"1",
        f"a/x~{ids[2]}.md": b"2",
        f"{composed}/x.md": b"3",
        f"{decomposed}/x~{ids[4]}.md": b"4",
        "a/x.md~/y.md": b"5",
        "b/c/d": b"6",
        f"b/c~{ids[7]}": b"7",
    }
    assert archive.tree() == apart
    (late,) = archive.make(Document("a/9.pdf", b"8", "x.md"))
    archive.fetched("--full")
    assert archive.tree() == apart | {f"a/x~{late}.md": b"8"}
    shutil.rmtree(archive.root)
    archive.fetched()
    assert archive.tree() == apart | {f"a/x~{late}.md": b"8"}, "whatever came when"
    assert archive.verified().returncode == 0
    (archive.root / "a/x.md~/y.md").write_bytes(b"6")
    assert archive.verified().stdout == f"changed\ta/x.md~/y.md\tjob {ids[5]}\n"


@pytest.mark.parametrize("layout", ["id", "hash"])
def test_layouts(archive: Archive, layout: str) -> None:
    (job_id,) = archive.make(Document("a/b.pdf", b"x", "b.md"))
    archive.fetched("--layout", layout)
    source = hashlib.sha256(source_of(0, Document("a/b.pdf", b"x", tags=(archive.tag,)))).hexdigest()
    path = f"{job_id}/b.md" if layout == "id" else f"{source[:2]}/{source}/b.md"
    assert archive.tree() == {path: b"x"}
    other = archive.fetch()
    assert other.returncode == 5
    assert f"--layout {layout}" in other.stderr


def test_a_result_that_was_made_again_replaces_the_former(archive: Archive) -> None:
    first, second = archive.make(Document("a/b.pdf", b"old", "b.md"), Document("c/d.pdf", b"old", "d.md"))
    archive.fetched()
    archive.again(first, b"new", "b.md")
    archive.again(second, b"new", "d.txt")
    assert {each["job_id"] for each in archive.fetched()} == {first, second}
    assert archive.tree() == {"a/b.md": b"new", "c/d.txt": b"new"}
    archive.again(second, b"newer", "d.txt")
    archive.fetched()
    assert archive.tree() == {"a/b.md": b"new", "c/d.txt": b"newer"}


def test_what_is_gone_is_fetched_again_and_what_is_not_ours_stays(archive: Archive) -> None:
    archive.make(*docs(6))
    archive.fetched()
    (archive.root / "books/0/0.md").unlink()
    (archive.root / "books/1/1.md").write_bytes(b"edited here")
    ran = archive.fetch()
    assert ran.returncode == 5
    assert "books/1/1.md is in" in ran.stderr
    assert "--overwrite" in ran.stderr
    assert archive.tree()["books/0/0.md"] == b"text 0"
    assert archive.tree()["books/1/1.md"] == b"edited here"
    assert len(archive.fetched("--overwrite")) == 1
    assert archive.tree()["books/1/1.md"] == b"text 1"


def test_changes_that_no_time_shows_are_found_by_reading(archive: Archive) -> None:
    archive.make(*docs(3))
    archive.fetched()
    path = archive.root / "books/1/1.md"
    status = path.stat()
    path.write_bytes(b"text 9")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert archive.fetched() == []
    assert len(archive.fetched("--verify", "--overwrite")) == 1
    assert path.read_bytes() == b"text 1"


def test_with_its_ledger_lost_a_folder_is_known_by_its_bytes(archive: Archive) -> None:
    archive.make(*docs(6))
    archive.fetched()
    shutil.rmtree(archive.cache / "results")
    before = archive.calls()
    assert [each["fetched"] for each in archive.fetched()] == [False] * 6
    objects = [{route: n for route, n in calls.items() if "objects" in route} for calls in (before, archive.calls())]
    assert objects[0] == objects[1] != {}, "no bytes were moved"
    assert archive.fetched() == []


def test_no_link_in_the_folder_leads_out_of_it(archive: Archive, tmp_path: Path) -> None:
    archive.make(Document("linked/a.pdf", b"x", "a.md"), Document("plain/a.pdf", b"y", "a.md"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    archive.root.mkdir()
    (archive.root / "linked").symlink_to(elsewhere)
    assert archive.fetch().returncode == 5
    assert list(elsewhere.iterdir()) == []
    assert archive.tree()["plain/a.md"] == b"y"


def test_nothing_but_results_is_left_by_a_run_that_was_killed(archive: Archive) -> None:
    documents = [*docs(3 * SIDE_BY_SIDE), Document("large.pdf", os.urandom(3 * SMALL), "large.bin")]
    archive.make(*documents)
    child = archive.running.start("results", "download", "--tag", archive.tag, "--to", archive.root, "--json")
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    archive.fetched()
    expected = {f"{Path(each.path or '').parent}/{each.name}".removeprefix("./"): each.output for each in documents}
    assert archive.tree() == expected
    assert list((archive.cache / "results").glob("*.parts")) == []


def test_a_large_result_goes_on_from_its_beginning(archive: Archive) -> None:
    content = os.urandom(4 * SMALL)
    (job_id,) = archive.make(Document("a.pdf", content, "a.bin"))
    key = archive.running.json("jobs", "show", str(job_id))["output_key"]
    parts = parts_folder(archive.cache, archive.root.resolve(), archive.running.url)
    parts.mkdir(parents=True)
    named = hashlib.sha256(b"%s\0%d" % (key.encode(), job_id)).hexdigest()[:32]
    (parts / f"{named}.part").write_bytes(content[: 3 * SMALL])
    before = archive.parts_served()
    archive.fetched()
    assert archive.parts_served() == before + 1
    assert archive.tree() == {"a.bin": content}


def test_two_runs_into_one_folder_do_not_meet(archive: Archive) -> None:
    archive.root.mkdir()
    ledger = open_ledger(archive.cache, archive.root.resolve(), archive.running.url)
    ran = archive.fetch()
    ledger.close()
    assert ran.returncode == 5
    assert "Another run" in ran.stderr
    assert archive.fetch().returncode == 0


def test_it_goes_on_as_results_come(archive: Archive) -> None:
    archive.make(*docs(2))
    child = archive.running.start("results", "download", "--tag", archive.tag, "--to", archive.root, "--watch")
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(2)]
    (late,) = archive.make(Document("late.pdf", b"late", "late.md"))
    told.append(child.stdout.readline())
    assert told[-1] == f"{late}\tlate.md\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert archive.tree()["late.md"] == b"late"


def test_a_server_that_is_away_is_waited_for(running: Running, tmp_path: Path) -> None:
    archive = Archive(running, "away", tmp_path / "to")
    archive.make(*docs(1))
    child = running.start("results", "download", "--tag", archive.tag, "--to", archive.root, "--watch")
    assert child.stdout is not None
    child.stdout.readline()
    running.kill_server()
    running.serve()
    (late,) = archive.make(Document("late.pdf", b"late", "late.md"))
    assert child.stdout.readline() == f"{late}\tlate.md\n"


def test_the_bar_says_how_far_it_is(archive: Archive) -> None:
    archive.make(*docs(3))
    with terminal(archive.running, "results", "download", "--tag", archive.tag, "--to", str(archive.root)) as shown:
        shown.see("fetching")
        shown.see("3 fetched")


def test_since_is_of_the_completion(archive: Archive) -> None:
    old, new = archive.make(Document("a.pdf", b"a", "a.md"), Document("b.pdf", b"b", "b.md"))
    completed = archive.running.json("jobs", "show", str(new))["completed_at"]
    first = archive.running.json("jobs", "show", str(old))["completed_at"]
    since = max(completed, first)
    assert {each["job_id"] for each in archive.fetched("--since", since)} <= {old, new}
    assert archive.fetched("--since", "2100-01-01") == []
    assert len(archive.fetched()) == 2 - len([each for each in (first, completed) if each == since])
    assert archive.fetch("--since", "yesterday").returncode == 2


@pytest.mark.parametrize(
    "since", ["2100-01-01", "2100-01-01T00:00", "2100-01-01T00:00:00Z", "2100-01-01T02:00+02:00"]
)
def test_a_time_is_read_alike_by_the_download_and_the_manifest(archive: Archive, since: str) -> None:
    archive.make(*docs(1))
    assert archive.fetched("--since", since) == []
    listed = archive.running.blobforge("results", "manifest", "--tag", archive.tag, "--since", since)
    assert listed.returncode == 0, listed.stderr
    assert "job_id" not in listed.stdout


def test_only_what_has_changed_is_listed(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.make(*docs(3))
    listed: list[str | None] = []
    real: Callable[..., Any] = AsyncClient.list_jobs

    async def watched(client: AsyncClient, **filters: Any) -> Any:
        listed.append(filters.get("updated_since"))
        return await real(client, **filters)

    monkeypatch.setattr(AsyncClient, "list_jobs", watched)
    assert fetch_here().fetched == 3
    assert fetch_here().fetched == 0
    assert listed[0] is None
    assert listed[1] is not None
    (archive.root / "books/1/1.md").unlink()
    assert fetch_here().fetched == 1
    assert listed[2] is None, "something was missing"


def test_a_run_in_which_something_failed_is_not_counted_as_seen(
    archive: Archive, fetch_here: Callable[[], FetchReport]
) -> None:
    archive.make(*docs(3))
    archive.root.mkdir()
    (archive.root / "books").write_text("in the way")
    assert fetch_here().failed == 3
    (archive.root / "books").unlink()
    assert fetch_here().fetched == 3


def test_an_expired_url_is_signed_anew(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = archive.make(*docs(3))
    asked: list[int] = []
    real: Callable[..., Any] = AsyncClient.download_urls

    async def stale(client: AsyncClient, job_ids: list[int], *kind: Any) -> Any:
        asked.append(len(job_ids))
        links = await real(client, job_ids, *kind)
        if len(asked) > 1:
            return links
        return [replace(each, url=each.url.replace("expires=", "expires=1")) for each in links]

    monkeypatch.setattr(AsyncClient, "download_urls", stale)
    report = fetch_here()
    assert (report.fetched, report.failed) == (3, 0)
    assert asked == [len(ids), 1, 1, 1]


@pytest.mark.parametrize("happens", ["deleted", "converted again"])
def test_what_happens_to_a_job_while_its_result_is_fetched(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch, happens: str
) -> None:
    ids = archive.make(*docs(2))
    asked: list[int] = []
    real: Callable[..., Any] = AsyncClient.download_urls

    async def meanwhile(client: AsyncClient, job_ids: list[int], *kind: Any) -> Any:
        asked.append(len(job_ids))
        if happens == "deleted" and len(asked) == 1:
            await client.delete_job(ids[0])
        if happens == "converted again" and len(asked) == 2:
            await client.retry_job(job_ids[0])
            await convert(client, {job_ids[0]: Document(None, b"newer", "0.md")})
        links = await real(client, job_ids, *kind)
        if happens == "deleted" or len(asked) > 1:
            return links
        first = replace(links[0], url=links[0].url.replace("expires=", "expires=1"))
        return [first, *links[1:]]

    monkeypatch.setattr(AsyncClient, "download_urls", meanwhile)
    report = fetch_here()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(archive.root.parent / "cache"))
    if happens == "deleted":
        assert (report.found, report.fetched, report.failed) == (1, 1, 0)
        assert list(archive.tree()) == ["books/1/1.md"]
    else:
        assert (report.fetched, report.failed) == (1, 1)
        assert fetch_here().fetched == 1
        assert archive.tree() == {"books/0/0.md": b"newer", "books/1/1.md": b"text 1"}


def test_what_was_submitted_is_fetched_when_it_is_done(archive: Archive, tmp_path: Path) -> None:
    running = archive.running
    source = tmp_path / "in" / "a.submitted"
    source.parent.mkdir()
    source.write_bytes(b"hello")
    worker = running.start("work", "--type", "submitted", "--exec", "cp {source} {output}")
    ran = running.blobforge("submit", source, "--wait", "--download", "--to", archive.root)
    assert ran.returncode == 0, ran.stderr
    assert list(archive.tree().values()) == [b"hello"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert running.blobforge("submit", source, "--download").returncode == 2


def test_the_script_of_a_batch_fetches_the_same_under_the_same_names(archive: Archive, tmp_path: Path) -> None:
    with archive.running_client() as client:
        batch = client.post("/api/batches", json={"name": archive.tag}).json()["id"]
        *_, clash, several = archive.make(
            Document("a/$(touch pwned)/x.pdf", b"0", "`touch pwned`.md"),
            Document("-rf/it's.pdf", b"1", "'; touch pwned; '$(touch pwned).md"),
            Document("../../../etc/x", b"2", '"$HOME" \\ %s%n.md'),
            Document("a\nb/x", b"3", "--config"),
            Document("b/x", b"", "empty"),
            Document("c/1.pdf", b"5", "same.md"),
            Document("c/2.pdf", b"6", "same.md"),
            Document("d/x.pdf", b"", several=(("main.md", b"7"), ("in/'it'.png", b"8"))),
            batch=batch,
        )
        script = client.get(f"/api/batches/{batch}/results.sh").text
    archive.fetched()
    # Which of two with one name has the plain one is decided by who is there first; several outputs stand apart.
    expected = {path.replace("d/x/", f"d/x~{several}/"): content for path, content in archive.tree().items()}
    names = ("c/same.md", f"c/same~{clash}.md", f"c/same~{clash - 1}.md")

    def run(text: str, **environment: str) -> tuple[int, str, dict[str, bytes]]:
        file, folder = tmp_path / "fetch.sh", tmp_path / "here"
        file.write_text(text)
        environment |= {"PATH": os.environ["PATH"], "no_proxy": "*"}
        ran = subprocess.run(
            ["sh", file, folder], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
        )
        found = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if not each.is_dir()}
        return ran.returncode, ran.stderr, {path: each.read_bytes() for path, each in found.items()}

    def same(tree: dict[str, bytes]) -> bool:
        one, other = dict(tree), dict(expected)
        clashing = [sorted(each.pop(name) for name in names if name in each) for each in (one, other)]
        return one == other and clashing == [[b"5", b"6"]] * 2

    status, said, tree = run(script)
    assert (status, said) == (0, "9 fetched, 0 were there, 0 failed\n")
    assert same(tree), tree
    assert {each.name for each in tmp_path.iterdir()} >= {"here", "to", "fetch.sh"}
    assert not list(tmp_path.rglob("pwned"))
    # What is there is not fetched again; what another has put there stays, and what is broken is fetched beside it.
    (tmp_path / "here/b/empty").unlink()
    assert run(script)[:2] == (0, "1 fetched, 8 were there, 0 failed\n")
    # When its URLs are no longer good it asks the server, with a token.
    old = re.sub(r'(date \+%s\)" -lt )\d+', r"\g<1>0", script)
    shutil.rmtree(tmp_path / "here")
    status, said, tree = run(old)
    assert (status, tree) == (1, {})
    assert "no longer good: download it again. Set BLOBFORGE_API_TOKEN" in said
    status, said, tree = run(old, BLOBFORGE_API_TOKEN=archive.token)
    assert (status, said) == (0, "9 fetched, 0 were there, 0 failed\n")
    assert same(tree), tree
    # One that was cut off does nothing; a file that cannot be fetched is said.
    shutil.rmtree(tmp_path / "here")
    assert run(script[: len(script) // 2])[2] == {}
    status, said, tree = run(script.replace("/objects/", "/object/", 1))
    assert status == 1
    assert "not fetched: ./" in said
    assert said.endswith("8 fetched, 0 were there, 1 failed\n")
