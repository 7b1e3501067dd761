"""Git LFS pointers: a real repository, a real LFS remote (a folder), and a work tree that stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Running

NOVEL, COMIC = b"a novel of many pages\n" * 1000, b"\x00\xff a comic" * 5000
DIGESTS = {"novel.pdf": hashlib.sha256(NOVEL).hexdigest(), "comic.pdf": hashlib.sha256(COMIC).hexdigest()}


class Repository:
    """A clone whose LFS files are pointers, because nobody has pulled them."""

    def __init__(self, folder: Path) -> None:
        (folder / "home").mkdir(parents=True)
        self.environment = {"HOME": str(folder / "home"), "GIT_CONFIG_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
        self.remote = folder / "remote.git"
        origin = folder / "origin"
        self.git(folder, "init", "-q", "--bare", "-b", "main", "remote.git")
        self.git(folder, "init", "-q", "-b", "main", "origin")
        self.git(origin, "lfs", "install", "--local")
        self.git(origin, "lfs", "track", "*.pdf")
        (origin / "books").mkdir()
        (origin / "books" / "novel.pdf").write_bytes(NOVEL)
        (origin / "books" / "comic.pdf").write_bytes(COMIC)
        (origin / "small.txt").write_text("not in LFS")
        self.git(origin, "add", "-A")
        self.git(origin, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "books")
        self.git(origin, "remote", "add", "origin", self.remote.as_uri())
        self.git(origin, "push", "-q", "origin", "main")
        self.git(folder, "clone", "-q", self.remote.as_uri(), "clone")
        self.folder = folder / "clone"
        self.books = self.folder / "books"
        assert self.pointer("novel.pdf").startswith("version https://git-lfs")

    def git(self, folder: Path, *arguments: str) -> str:
        environment = {**os.environ, **self.environment}
        done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def pointer(self, name: str) -> str:
        return (self.books / name).read_text()

    def state(self) -> object:
        """All that an ingest must not change: the work tree, what Git thinks of it, and LFS's own store."""
        tree = {
            str(path.relative_to(self.folder)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and ".git" not in path.parts
        }
        return tree, self.git(self.folder, "status", "--porcelain"), self.objects()

    def objects(self) -> list[str]:
        return sorted(path.name for path in (self.folder / ".git" / "lfs" / "objects").rglob("*") if path.is_file())


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "git")


def ingest(
    running: Running, repository: Repository, *options: str, **environment: str
) -> dict[str, dict[str, object]]:
    done = running.ok("ingest", repository.folder, "--json", *options, **repository.environment | environment)
    return {Path(record["path"]).name: record for record in map(json.loads, done.splitlines())}


def test_a_pointer_stands_for_its_content(running: Running, repository: Repository) -> None:
    before = repository.state()
    first = ingest(running, repository)
    assert {name: record["sha256"] for name, record in first.items()} == DIGESTS
    assert {name: record["size"] for name, record in first.items()} == {
        "novel.pdf": len(NOVEL),
        "comic.pdf": len(COMIC),
    }
    assert all(record["uploaded"] for record in first.values())
    assert repository.state() == before, "nothing is left of the pull"
    job_id = str(first["novel.pdf"]["job_id"])
    assert running.json("jobs", "show", job_id)["status"] == "pending"
    running.ok("jobs", "download", job_id, "--source", "-o", "novel.pdf")
    assert (running.folder / "novel.pdf").read_bytes() == NOVEL


def test_nothing_is_pulled_that_the_server_has(running: Running, repository: Repository) -> None:
    """With the remote gone, there is nowhere to pull from: a server that has the content never notices."""
    for name, content in (("novel.pdf", NOVEL), ("comic.pdf", COMIC)):
        (running.folder / name).write_bytes(content)
    running.ok("submit", "novel.pdf", "comic.pdf")
    shutil.rmtree(repository.remote)
    second = ingest(running, repository)
    assert {(record["existing"], record["uploaded"]) for record in second.values()} == {(True, False)}


def test_what_is_here_already_is_neither_pulled_nor_removed(running: Running, repository: Repository) -> None:
    repository.git(repository.folder, "lfs", "fetch")
    shutil.rmtree(repository.remote)
    before = repository.state()
    assert repository.objects() == sorted(DIGESTS.values())
    assert all(record["uploaded"] for record in ingest(running, repository).values())
    assert repository.state() == before


def test_a_pull_that_fails_is_told_and_the_rest_goes_on(running: Running, repository: Repository) -> None:
    (content,) = (path for path in repository.remote.rglob(DIGESTS["novel.pdf"]) if path.is_file())
    content.unlink()
    before = repository.state()
    done = running.blobforge("ingest", repository.folder, **repository.environment)
    assert done.returncode == 1
    assert "novel.pdf: Git LFS cannot bring its content" in done.stderr
    assert "2 files: 1 new, 1 failed; 1 uploaded" in done.stderr
    assert repository.state() == before


def test_without_git_lfs(running: Running, repository: Repository, tmp_path: Path) -> None:
    """Only git itself is on PATH; the pointers are read all the same, and the message says what is missing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    git = shutil.which("git")
    assert git is not None
    (tools / "git").symlink_to(git)
    environment = repository.environment | {"PATH": str(tools), "GIT_EXEC_PATH": _without_lfs(tmp_path)}
    done = running.blobforge("ingest", repository.folder, **environment)
    assert done.returncode == 1
    assert "git-lfs is not installed" in done.stderr
    assert "apt-get install git-lfs" in done.stderr


def _without_lfs(tmp_path: Path) -> str:
    """Git's own commands, without git-lfs wherever it may have been installed."""
    folder = tmp_path / "git-core"
    folder.mkdir()
    core = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())
    for command in core.iterdir():
        if command.name != "git-lfs":
            (folder / command.name).symlink_to(command)
    return str(folder)


def test_outside_of_a_repository_and_as_plain_files(running: Running, repository: Repository, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(repository.books, alone)
    done = running.blobforge("ingest", alone, **repository.environment)
    assert done.returncode == 1
    assert "in no Git repository" in done.stderr
    plain = running.ok("ingest", alone, "--no-lfs", "--json", **repository.environment)
    digests = {json.loads(line)["sha256"] for line in plain.splitlines()}
    assert digests == {hashlib.sha256(path.read_bytes()).hexdigest() for path in alone.iterdir()}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_of_a_pull(
    running: Running, repository: Repository, tmp_path: Path, how: signal.Signals
) -> None:
    """git-lfs is stopped in its download by a hook of ours in its place; then the signal comes."""
    before = repository.state()
    real = shutil.which("git-lfs")
    tools = tmp_path / "bin"
    tools.mkdir()
    begun = tmp_path / "begun"
    (tools / "git-lfs").write_text(
        f'#!/bin/sh\n[ "$1" = smudge ] || exec {real} "$@"\n{real} "$@" && touch {begun} && exec sleep 60\n'
    )
    (tools / "git-lfs").chmod(0o755)
    environment = repository.environment | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    child = running.start("ingest", repository.folder, **environment)
    while not begun.exists():
        time.sleep(0.01)
    child.send_signal(how)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == (130 if how == signal.SIGINT else 143), stderr
    assert repository.state() == before
    assert len(ingest(running, repository)) == 2
