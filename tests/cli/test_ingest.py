"""`submit` and `ingest` against a real server, with its own store and with SeaweedFS: what is sent, what is not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from blobforge.cli.ingest.cache import Content, HashCache, open_cache
from blobforge.cli.ingest.find import Candidate, RejectedPath
from blobforge.cli.ingest.hashing import hash_chunk
from tests.cli.conftest import COMMAND, Running, running_server, s3_settings
from tests.fixtures.seaweed import Seaweed


@pytest.fixture(params=["embedded", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A server on each of the two stores."""
    settings: dict[str, str] = {}
    if request.param == "s3":
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        settings = s3_settings(seaweed, tmp_path.name)
    with running_server(tmp_path / "here", settings) as running:
        yield running


def library(running: Running) -> Path:
    """Four documents of which two are the same, and what is none."""
    for name, content in {
        "books/comics/obelix.pdf": "menhir",
        "books/comics/again.pdf": "menhir",
        "books/novel.pdf": "once upon a time",
        "letter.PDF": "dear reader",
        "books/notes.txt": "not me",
        ".hidden/secret.pdf": "nor me",
    }.items():
        path = running.folder / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (an_hour_ago := time.time() - 3600, an_hour_ago))  # a hash is kept of what has settled
    time.sleep(0.15)  # no hash is kept of a file whose ctime is younger than 0.1 s, and no ctime can be set back
    return running.folder / "library"


def requests(running: Running) -> Counter[str]:
    """How often each address was called since the server's start, by its own log."""
    log = (running.folder.parent / "server.log").read_text()
    return Counter(
        f"{line['method']} {re.sub('[0-9]+', 'N', line['path'])}"
        for line in map(json.loads, filter(lambda line: line.startswith("{"), log.splitlines()))
        if line["event"] == "request"
    )


def records(output: str) -> dict[str, dict[str, object]]:
    return {Path(str(record["path"])).name: record for record in map(json.loads, output.splitlines())}


def test_a_library(any_store: Running) -> None:
    folder = library(any_store)
    first = any_store.blobforge("ingest", folder, "--json", "--tag", "all", "--priority", "2")
    assert first.returncode == 0, first.stderr
    done = records(first.stdout)
    assert sorted(done) == ["again.pdf", "letter.PDF", "novel.pdf", "obelix.pdf"]
    assert done["obelix.pdf"]["sha256"] == hashlib.sha256(b"menhir").hexdigest()
    assert done["obelix.pdf"]["job_id"] == done["again.pdf"]["job_id"]
    assert done["obelix.pdf"]["uploaded"] != done["again.pdf"]["uploaded"], "the same bytes go over the wire once"
    assert first.stderr == "4 files: 3 new, 1 known already; 3 uploaded (33 Bytes)\n"

    job_id = int(str(done["again.pdf"]["job_id"]))
    job = any_store.wait_for(job_id, "pending")
    assert sorted(job["tags"]) == ["again", "all", "books", "comics", "obelix"], "the tags of both files"
    assert job["priority"] == 2
    assert any_store.json("stats")["pending_jobs"] == 3
    target = any_store.folder / "back.pdf"
    any_store.ok("jobs", "download", str(job_id), "--source", "-o", target)
    assert target.read_text() == "menhir"

    before = requests(any_store)
    second = any_store.blobforge("ingest", folder, "--json")
    assert second.stderr == "4 files: 0 new, 4 known already\n"
    assert {record["uploaded"] for record in records(second.stdout).values()} == {False}
    assert requests(any_store) - before == {"POST /api/jobs/batch": 1}


def test_without_tags_and_without_doing_anything(running: Running) -> None:
    folder = library(running)
    listed = running.blobforge("ingest", folder, "--dry-run", "--json")
    assert listed.returncode == 0
    tags = {Path(line["path"]).name: line["tags"] for line in map(json.loads, listed.stdout.splitlines())}
    assert tags["obelix.pdf"] == ["books", "comics", "obelix"]
    assert listed.stderr == "4 files (39 Bytes) would be submitted.\n"
    relative = running.ok("ingest", "library/books", "--dry-run", "--type", "txt")
    assert relative == "txt\tlibrary/books/notes.txt\tlibrary, books, notes\n"
    assert requests(running) == {}, "nobody was asked"

    running.ok("ingest", folder / "books" / "comics", "--no-tags")
    (job,) = running.json("jobs", "list")["jobs"]
    assert job.get("tags") in (None, [])


def test_one_bad_file_spoils_no_other(running: Running) -> None:
    folder = library(running)
    (folder / "books" / "locked").mkdir()
    odd = folder / f"odd.{'x' * 101}"
    odd.write_text("its suffix is too long for a type")
    gone = folder / "gone.pdf"
    done = running.blobforge("submit", folder, odd, gone, "--json")
    assert done.returncode != 0
    told = records(done.stdout)
    assert "job_id" in told["obelix.pdf"]
    assert "error" in told[odd.name]
    assert told["gone.pdf"]["error"] == "no such file or folder"
    assert done.stderr.splitlines()[-1] == "6 files: 3 new, 1 known already, 2 failed; 3 uploaded (33 Bytes)"
    nothing = running.blobforge("ingest", folder, "--type", "odt")
    assert nothing.returncode == 2
    reason = "no .odt file in this folder (--suffix takes others)"
    assert nothing.stderr == f"{folder}: {reason}\nError: Nothing to submit.\n"


def test_a_bucket_that_lost_a_source_gets_it_again(any_store: Running) -> None:
    """A job waits for a source that never came: whoever submits the file again brings it."""
    document = any_store.folder / "late.pdf"
    document.write_bytes(b"late" * 50_000)
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    _announce(any_store, digest)
    (line,) = any_store.ok("submit", document, "--json").splitlines()
    record = json.loads(line)
    assert (record["existing"], record["uploaded"]) == (True, True)
    any_store.wait_for(record["job_id"], "pending")


def _announce(running: Running, digest: str) -> None:
    import httpx

    token = (running.folder / "data" / "admin-token").read_text().strip()
    answer = httpx.post(
        f"{running.url}/api/jobs",
        json={"type": "pdf", "source_hash": digest},
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    assert answer.json()["status"] == "uploading"


def test_a_changed_file_is_read_again_and_a_wrong_hash_is_forgotten(running: Running) -> None:
    document = running.folder / "a.pdf"
    document.write_text("one")
    _settle(document)
    first = json.loads(running.ok("submit", document, "--json"))
    assert first["sha256"] == hashlib.sha256(b"one").hexdigest()
    document.write_text("two")
    second = json.loads(running.ok("submit", document, "--json"))
    assert second["sha256"] == hashlib.sha256(b"two").hexdigest()

    # Somebody makes the cache lie: the upload is refused, and the next run reads the file.
    cache = running.folder.parent / "cache" / "blobforge" / "hashes.sqlite3"
    _settle(document)
    running.ok("submit", document)
    with sqlite3.connect(cache) as connection:
        assert connection.execute("UPDATE files SET sha256 = ?", ("0" * 64,)).rowcount == 1
    connection.close()
    lied = running.blobforge("submit", document)
    assert lied.returncode == 1
    assert "changed before it was uploaded: it has SHA-256" in lied.stderr
    assert json.loads(running.ok("submit", document, "--json"))["sha256"] == hashlib.sha256(b"two").hexdigest()
    assert "0 new, 1 known" in running.blobforge("submit", document, "--no-cache").stderr


def test_the_cache_takes_what_a_disk_may_say(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    file = Candidate("a.pdf", "pdf", (), size=1, mtime_ns=253_370_764_800 * 10**9, ctime_ns=1, inode=(1 << 64) - 1)
    old = file._replace(path="b.pdf", mtime_ns=-(10**18) * 3)
    content = Content("0" * 64, 1, pointer=False)
    cache.put([(old, content), (file, content)])
    # The future (here the year 9999) is not settled: a write now would be as new.
    assert cache.get([old, file, old._replace(ctime_ns=2)]) == [content, None, None]
    cache.close()


def _settle(document: Path) -> None:
    """As it is an hour later: neither of its times is the one that a write now would leave."""
    os.utime(document, ns=(1, 1))
    time.sleep(0.15)


def test_a_change_that_keeps_size_and_mtime_is_seen(running: Running) -> None:
    document = running.folder / "a.pdf"
    document.write_text("one")
    _settle(document)
    assert "1 new" in running.blobforge("submit", document).stderr
    document.write_text("two")
    _settle(document)
    assert "1 new" in running.blobforge("submit", document).stderr
    cache = running.folder.parent / "cache" / "blobforge" / "hashes.sqlite3"
    with sqlite3.connect(cache) as connection:
        assert connection.execute("UPDATE files SET sha256 = ?", ("0" * 64,)).rowcount == 1
    connection.close()
    assert "1 known already" in running.blobforge("submit", document, "--rehash").stderr
    assert "1 known already" in running.blobforge("submit", document).stderr, "what was read replaced what was known"


def test_a_file_that_changes_leaves_no_job_behind(any_store: Running) -> None:
    """Its bytes are others than were announced: the job that waits for the announced ones is taken back."""
    document = any_store.folder / "log.pdf"
    document.write_bytes(b"one")
    large = any_store.folder / "large.pdf"
    large.write_bytes(b"l" * 100_000)
    for file in (document, large):
        _settle(file)
        any_store.ok("submit", file)
    cache = any_store.folder.parent / "cache" / "blobforge" / "hashes.sqlite3"
    with sqlite3.connect(cache) as connection:
        assert connection.execute("UPDATE files SET sha256 = replace(sha256, '1', '2')").rowcount == 2
    connection.close()
    done = any_store.blobforge("submit", document, large)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "2 files: 0 new, 2 failed"
    assert any_store.json("stats")["uploading_jobs"] == 0
    assert any_store.json("stats")["total_jobs"] == 2


def test_unreadable_files_are_in_the_summary(running: Running) -> None:
    folder = library(running)
    (folder / "dangling.pdf").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.pdf")
    done = running.blobforge("ingest", folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "6 files: 3 new, 1 known already, 2 failed; 3 uploaded (33 Bytes)"


def test_from_stdin_and_from_a_list(running: Running) -> None:
    library(running)
    environment = running.environment()

    def piped(given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [*COMMAND, *arguments]
        return subprocess.run(
            command, input=given, capture_output=True, env=environment, cwd=running.folder, timeout=60, check=False
        )

    done = piped(b"from a pipe", "submit", "-", "--name", "mail/report.pdf", "--path-tags", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["path"], record["sha256"]) == ("mail/report.pdf", hashlib.sha256(b"from a pipe").hexdigest())
    job = running.json("jobs", "show", str(record["job_id"]))
    assert (job["type"], job["source_path"], job["tags"]) == ("pdf", "mail/report.pdf", ["mail", "report"])
    unnamed = piped(b"x", "submit", "-")
    assert unnamed.returncode == 2
    assert b"give --type" in unnamed.stderr

    listed = piped(b"library/books/notes.txt\0library/letter.PDF\0", "ingest", "--files-from", "-", "-0", "--quiet")
    assert listed.returncode == 0, listed.stderr
    tags = [running.json("jobs", "show", number)["tags"] for number in listed.stdout.decode().split()]
    assert sorted(tags) == [["library", "books", "notes"], ["library", "letter"]]


def test_a_broken_cache_costs_nothing_but_time(running: Running) -> None:
    cache = running.folder.parent / "cache" / "blobforge" / "hashes.sqlite3"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"no database at all, and long enough to be taken for none" * 100)
    folder = library(running)
    running.ok("ingest", folder)
    with sqlite3.connect(cache) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (4,)
    connection.close()
    cache.unlink()
    cache.mkdir()
    running.ok("ingest", folder)


def test_ctrl_c_and_again(any_store: Running) -> None:
    """Interrupted in the middle, the summary says what is left, and the next run does the rest and no more."""
    folder = any_store.folder / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.pdf").write_bytes(b"%02d" % number * 200_000)
    child = any_store.start("ingest", folder)
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    counts = summed(stderr)
    assert counts["new"] + counts["known already"] == 3 + len(stdout.splitlines()), "counted and not told"
    assert counts["not done"]
    assert "Run the same command again to go on" in stderr
    again = any_store.blobforge("ingest", folder)
    assert again.returncode == 0, again.stderr
    assert "60 files" in again.stderr
    third = any_store.blobforge("ingest", folder)
    assert third.stderr == "60 files: 0 new, 60 known already\n"
    while any_store.json("stats")["pending_jobs"] != 60:
        time.sleep(0.1)


def summed(stderr: str) -> Counter[str]:
    """The parts of a summary, which add up to the number of files that were found."""
    found, parts = re.findall(r"^(\d+) files?: ([^;\n]*)", stderr, re.MULTILINE)[-1]
    counts = Counter({name: int(number) for number, name in re.findall(r"(\d+) ([a-z ]+)", parts)})
    assert counts.total() == int(found), stderr
    return counts


def test_a_file_that_grows_while_it_is_read(any_store: Running) -> None:
    """As fast as it is read, it would be for ever; it is one that failed, and no job waits for what it was."""
    growing, still = any_store.folder / "growing.pdf", any_store.folder / "still.pdf"
    growing.write_bytes(b"g" * (8 << 20))
    still.write_bytes(b"s")
    over = threading.Event()

    def grow() -> None:
        with growing.open("ab", buffering=0) as file:
            while not over.is_set() and file.tell() < 1 << 30:
                file.write(b"g" * 4096)
                time.sleep(0.0005)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        done = any_store.blobforge("submit", growing, still)
    finally:
        over.set()
        writer.join()
    assert done.returncode == 1
    assert summed(done.stderr) == {"new": 1, "failed": 1}
    assert done.stderr.count("growing.pdf") == 1, "its path is said once"
    stats = any_store.json("stats")
    assert (stats["total_jobs"], stats["uploading_jobs"]) == (1, 0)
    assert "1 new" in any_store.blobforge("submit", growing, still).stderr


def test_a_file_that_grows_as_fast_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.pdf"
    path.write_bytes(b"l" * 1000)
    blocks = 0

    class Growing:
        """Each block that is hashed is followed by another one."""

        def update(self, block: bytes) -> None:
            nonlocal blocks
            blocks += 1
            if blocks < 50:
                with path.open("ab") as file:
                    file.write(block)

        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr("hashlib.sha256", Growing)
    (found,) = hash_chunk(
        [Candidate(str(path), "pdf", (), 1000, 0, 0, 0)], HashCache(None), threading.Event(), pointers=False
    )
    assert isinstance(found, RejectedPath)
    assert "was written to while it was read" in found.reason
    assert blocks == 2


def test_a_server_that_is_away_for_a_while(running: Running) -> None:
    """Killed and started again in the middle of an upload: nothing is lost, and nothing has to be said again."""
    folder = running.folder / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.pdf").write_bytes(b"%02d" % number * 300_000)
    child = running.start("ingest", folder)
    assert child.stdout is not None
    child.stdout.readline()
    running.kill_server()
    running.serve()
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr
    assert running.json("stats")["pending_jobs"] == 40


def test_a_bar_for_a_person(running: Running) -> None:
    folder = library(running)
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "ingest", str(folder)],
        cwd=running.folder,
        env=running.environment(TERM="xterm-256color", COLUMNS="120"),
        encoding="utf-8",
        timeout=30,
        dimensions=(24, 120),
    )
    child.expect(r"4/4 files")
    child.expect(r"4 files: 3 new, 1 known already")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "Traceback" not in (child.before or "")


def test_data_on_stdout_is_never_mixed_with_the_bar(running: Running) -> None:
    """stderr is a terminal, stdout a pipe: every line of stdout is JSON."""
    folder = library(running)
    leader, follower = os.openpty()
    done = subprocess.run(
        [*COMMAND, "ingest", str(folder), "--json"],
        cwd=running.folder,
        env=running.environment(TERM="xterm"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
        timeout=60,
        check=True,
    )
    os.close(follower)
    os.close(leader)
    assert len(records(done.stdout.decode())) == 4
