"""Which files `submit` takes, and under which name a download is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blobforge.cli.ingest.find import Candidate, Problem, Tagger, find, no_tags, tags_of_path
from blobforge.cli.jobs import download_name
from blobforge.client import Job


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.pdf", "a.PDF", "deep/er/c.pdf", "notes.txt", ".hidden.pdf", ".git/d.pdf", "book.epub", "README"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.pdf").mkdir()
    return tmp_path


def found(paths: list[Path], job_type: str | None = None, tagger: Tagger = no_tags) -> list[Candidate]:
    """The files, where nothing is wrong."""
    every = list(find(paths, job_type, tagger))
    assert [each for each in every if isinstance(each, Problem)] == []
    return [each for each in every if isinstance(each, Candidate)]


def test_a_folder_stands_for_its_files_of_the_type(tree: Path) -> None:
    files = found([tree])
    assert [Path(file.path).relative_to(tree).as_posix() for file in files] == ["a.PDF", "b.pdf", "deep/er/c.pdf"]
    assert {file.type for file in files} == {"pdf"}
    (book,) = found([tree], "epub")
    status = (tree / "book.epub").stat()
    assert book == (str(tree / "book.epub"), "epub", (), 0, status.st_mtime_ns, status.st_ino)


def test_a_file_counts_whatever_its_name_and_once(tree: Path) -> None:
    files = found([tree / "notes.txt", tree / ".hidden.pdf", tree / "b.pdf", tree / "b.pdf", tree])
    assert [(Path(file.path).name, file.type) for file in files] == [
        ("notes.txt", "txt"),
        (".hidden.pdf", "pdf"),
        ("b.pdf", "pdf"),
        ("a.PDF", "pdf"),
        ("c.pdf", "pdf"),
    ]
    assert [(file.path, file.type) for file in found([tree / "README"], "text")] == [(str(tree / "README"), "text")]


def test_what_cannot_be_taken_is_named(tree: Path) -> None:
    every = list(find([tree / "no.pdf", tree / "README", tree / "folder.pdf", Path("/dev/null")], None))
    assert [each.reason for each in every if isinstance(each, Problem)] == [
        "no such file or folder",
        "its name does not tell its type: give --type",
        "no .pdf file in this folder",
        "not a file",
    ]
    assert len(every) == 4


def test_folders_deeper_than_pythons_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    Path("x.pdf").touch()
    os.chdir(tmp_path)
    try:
        (file,) = found([Path("d")])
        assert file.path == "d/" * depth + "x.pdf"
    finally:
        # pytest tidies up old folders by recursion, and would end a later run with an error.
        subprocess.run(["rm", "-rf", "d"], check=True)


def test_a_link_in_a_circle_is_not_followed(tree: Path) -> None:
    (tree / "deep" / "circle").symlink_to(tree)
    (tree / "link.pdf").symlink_to(tree / "b.pdf")
    (tree / "broken.pdf").symlink_to(tree / "nowhere.pdf")
    names = [Path(file.path).name for file in found([tree])]
    assert names == ["a.PDF", "b.pdf", "c.pdf", "link.pdf"]


@pytest.mark.parametrize(
    ("argument", "path", "tags"),
    [
        ("books", "books/comics/obelix.pdf", ("books", "comics", "obelix")),
        (".", "books/comics/obelix.pdf", ("books", "comics", "obelix")),
        ("/srv/library", "/srv/library/books/comics/obelix.pdf", ("books", "comics", "obelix")),
        ("../library", "../library/books/obelix.pdf", ("books", "obelix")),
        ("a", "a/a/a.pdf", ("a",)),
        ("x", "x/two words/archive.tar.gz", ("x", "two words", "archive.tar")),
        ("x", "x/" + "y" * 150 + ".pdf", ("x", "y" * 100)),
        ("x", "x/line\nbreak\udcff.pdf", ("x", "line break\ufffd")),
    ],
)
def test_a_place_becomes_tags(argument: str, path: str, tags: tuple[str, ...]) -> None:
    assert tags_of_path(argument, path) == tags


def job(source_path: str | None = None, filename: object = None) -> Job:
    result = None if filename is None else {"filename": filename}
    return Job(id=7, type="pdf", status="completed", source_hash="0" * 64, source_path=source_path, result=result)


@pytest.mark.parametrize(
    ("of", "source", "name"),
    [
        (job("in/a.pdf", "a.txt"), False, "a.txt"),
        (job("in/a.pdf", "a.txt"), True, "a.pdf"),
        (job("in/a.pdf"), False, "job-7.output"),
        (job(filename="../../etc/passwd"), False, "passwd"),
        (job(filename=".."), False, "job-7.output"),
        (job(filename=".bash_aliases"), False, "bash_aliases"),
        (job(filename="\x1b[31mred\n.txt"), False, "red .txt"),
        (job(filename=3), False, "job-7.output"),
        (job(), True, "job-7.source"),
    ],
)
def test_a_download_is_named_by_others_and_stays_in_this_folder(of: Job, source: bool, name: str) -> None:
    assert download_name(of, source) == name
