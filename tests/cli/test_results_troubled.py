"""`blobforge results download` where a disk is full, a cache is none, another run writes there, or jobs go."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blobforge.cli.common import CliError
from blobforge.cli.fetch import ledger
from blobforge.cli.fetch.fetching import SMALL
from blobforge.cli.fetch.folder import Folder
from blobforge.cli.fetch.report import FetchReport
from blobforge.client import AsyncClient, TransferRefused
from tests.cli.conftest import Running, running_server
from tests.cli.test_results import Archive, docs
from tests.cli.test_results_several import again, several
from tests.fixtures.converted import Document


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("troubled") / "here", {}) as running:
        yield running


@pytest.fixture
def archive(request: pytest.FixtureRequest, shared: Running, tmp_path: Path) -> Archive:
    return Archive(shared, request.node.name[:90], tmp_path / "to")


def test_the_disk_of_the_cache_is_full(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tuple((f"{n:03}" * 40, b"x") for n in range(99))
    archive.make(*docs(3), Document("a/many.pdf", b"", None, (), many))
    opened = ledger._open

    def full(path: Path | str) -> sqlite3.Connection:
        connection = opened(path)
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "_open", full)
        with pytest.raises(CliError, match=r"cache/blobforge: database or disk is full") as told:
            fetch_here()
    assert "XDG_CACHE_HOME" in told.value.hint
    fetch_here()
    assert len(archive.tree()) == 3 + len(many)


def test_the_disk_of_the_folder_is_full(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.make(*docs(1))
    real = os.open

    def full(path: Any, flags: int, *more: Any, **named: Any) -> int:
        return real("/dev/full" if str(path).endswith(".part") else path, flags, *more, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(CliError, match=rf"{archive.root}/books/0/0.md: No space left"):
            fetch_here()
    assert archive.tree() == {}
    assert fetch_here().fetched == 1


@pytest.mark.parametrize("cache", ["/dev/null", "nowhere"])
def test_without_a_cache_large_results_are_fetched_and_nothing_is_left(
    archive: Archive, tmp_path: Path, cache: str
) -> None:
    """No folder can be made in the one, and the other is none, as it is relative."""
    large = os.urandom(SMALL + 1)
    archive.make(Document("a.pdf", large, "a.bin"), Document("b.pdf", b"small", "b.md"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    ran = archive.running.blobforge(
        "results", "download", "--tag", archive.tag, "--to", archive.root, XDG_CACHE_HOME=cache, TMPDIR=str(temporary)
    )
    assert (ran.returncode, archive.tree()) == (0, {"a.bin": large, "b.md": b"small"}), ran.stderr
    assert not [each for each in temporary.iterdir() if each.name.startswith("blobforge-")]


def test_a_large_result_whose_place_is_taken_is_not_fetched(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, whole, by each run, and was thrown away then."""
    archive.make(Document("a.pdf", os.urandom(SMALL + 1), "a.bin"))
    archive.root.mkdir()
    (archive.root / "a.bin").write_bytes(b"of another")

    async def fetched(*_: Any, **__: Any) -> None:
        raise AssertionError("it was fetched")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncClient, "download", fetched)
        report = fetch_here()
    assert (report.fetched, report.failed) == (0, 1)
    assert archive.tree() == {"a.bin": b"of another"}
    (archive.root / "a.bin").unlink()
    assert fetch_here().fetched == 1


def test_two_runs_that_do_not_know_of_each_other(archive: Archive, tmp_path: Path) -> None:
    """They have other caches, as two users have, or name the server differently."""
    archive.make(*docs(2))
    archive.root.mkdir()
    with Folder(archive.root).held():
        ran = archive.fetch()
        assert (ran.returncode, archive.tree()) == (5, {})
        assert "Another run fetches into" in ran.stderr
    assert archive.fetch().returncode == 0
    port = archive.running.url.rpartition(":")[2]
    ran = archive.running.blobforge(
        "results", "download", "--tag", archive.tag, "--to", archive.root, "--server", f"http://localhost:{port}"
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert "2 there already" in ran.stderr


def test_a_job_that_is_deleted_while_it_is_fetched_is_no_failure(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = archive.make(*docs(3))
    real = AsyncClient.read

    async def deleted_meanwhile(client: AsyncClient, url: str, **named: Any) -> bytes:
        if f"/{first}/1/" in url:  # the job and its attempt
            await client.delete_job(first)
            raise TransferRefused(404, url, "there is no such object")
        return await real(client, url, **named)

    monkeypatch.setattr(AsyncClient, "read", deleted_meanwhile)
    report = fetch_here()
    assert (report.found, report.fetched, report.failed) == (2, 2, 0)
    assert set(archive.tree()) == {"books/1/1.md", "books/2/2.md"}


def test_an_object_that_the_store_has_lost_is_a_failure(
    archive: Archive, fetch_here: Callable[[], FetchReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.make(*docs(1))

    async def lost(client: AsyncClient, url: str, **named: Any) -> bytes:
        raise TransferRefused(404, url, "there is no such object")

    monkeypatch.setattr(AsyncClient, "read", lost)
    assert fetch_here().failed == 1


@pytest.mark.parametrize(
    "command",
    [
        ("results", "download"),
        ("results", "manifest"),
        ("submit", "a.pdf", "--wait", "--download"),
        ("replay", "1"),
    ],
    ids=" ".join,
)
def test_a_variable_that_is_not_set_is_not_this_folder(shared: Running, command: tuple[str, ...]) -> None:
    before = sorted(shared.folder.iterdir())
    ran = shared.blobforge(*command, "--to", "")
    assert (ran.returncode, sorted(shared.folder.iterdir())) == (2, before)
    assert "It is empty" in ran.stderr


def test_what_an_error_of_a_write_lacks(tmp_path: Path) -> None:
    from blobforge.client.transfer import naming

    with pytest.raises(OSError, match="No space") as told, naming(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert told.value.filename == str(tmp_path / "x")
    with pytest.raises(FileNotFoundError) as other, naming(tmp_path / "x"):
        (tmp_path / "y").read_bytes()
    assert str(other.value.filename) == str(tmp_path / "y")


def test_a_ledger_of_an_earlier_release_is_kept(archive: Archive) -> None:
    """It did not note which output is the main one: that of the same name is then taken for it."""
    (job_id,) = archive.make(several("books/a.pdf"))
    archive.fetched()
    path = ledger._named(archive.cache, archive.root.resolve(), archive.running.url, ".sqlite3")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("ALTER TABLE results DROP COLUMN main; PRAGMA user_version = 2")
    before = archive.calls()["POST /api/files/urls"]
    assert archive.fetched() == []
    assert archive.calls()["POST /api/files/urls"] == before, "nothing was signed: all is known"
    again(archive, job_id, several(None, ("a.md", b"new"), ("img/1.png", b"new")))
    assert [each["name"] for each in archive.fetched()] == ["img/1.png", "a.md"]
