"""Which files `submit` takes, and under which name a download is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blobforge.cli.ingest.find import Candidate, RejectedPath, Selection, Tagger, find, no_tags, tags_of_path
from blobforge.cli.jobfiles import download_name
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
    every = list(find([str(path) for path in paths], Selection(job_type), tagger))
    assert [each for each in every if isinstance(each, RejectedPath)] == []
    return [each for each in every if isinstance(each, Candidate)]


def test_a_folder_stands_for_its_files_of_the_type(tree: Path) -> None:
    files = found([tree])
    assert [Path(file.path).relative_to(tree).as_posix() for file in files] == ["a.PDF", "b.pdf", "deep/er/c.pdf"]
    assert {file.type for file in files} == {"pdf"}
    (book,) = found([tree], "epub")
    status = (tree / "book.epub").stat()
    assert book == (str(tree / "book.epub"), "epub", (), 0, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, "")


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
    named = [str(tree / "no.pdf"), str(tree / "README"), str(tree / "folder.pdf"), "/dev/null", "nul\0.pdf"]
    every = list(find(named, Selection()))
    assert [each.reason for each in every if isinstance(each, RejectedPath)] == [
        "no such file or folder",
        "its name does not tell its type: give --type",
        "no .pdf file in this folder (--suffix takes others)",
        "not a file",
        "embedded null byte",
    ]
    assert len(every) == 5


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
    (tree / "link-to-folder.pdf").symlink_to(tree / "deep")
    names = [Path(file.path).name for file in found([tree])]
    assert names == ["a.PDF", "b.pdf", "c.pdf", "link.pdf"]


def test_what_looks_like_a_document_and_is_none_is_told(tree: Path) -> None:
    (tree / "broken.pdf").symlink_to(tree / "nowhere.pdf")
    (tree / "circle.pdf").symlink_to(tree / "circle.pdf")
    os.mkfifo(tree / "pipe.pdf")
    os.mkfifo(tree / "pipe.txt")
    told = {
        Path(each.path).name: each.reason for each in find([str(tree)], Selection()) if isinstance(each, RejectedPath)
    }
    assert told.keys() == {"broken.pdf", "circle.pdf", "pipe.pdf"}
    assert (told["broken.pdf"], told["pipe.pdf"]) == ("a link to nothing", "not a file")


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection("ocr", suffixes=["tif", ".PDF"]), ["a.PDF", "b.pdf", "deep/er/c.pdf", "x.TIF"]),
        (Selection(suffixes=["tar.gz"]), ["deep/y.tar.gz"]),
        (Selection(include=["deep/**"]), ["deep/er/c.pdf"]),
        (Selection(include=["[ab].*"], exclude=["b*"]), ["a.PDF"]),
        (Selection(exclude=["er/"]), ["a.PDF", "b.pdf"]),
        (Selection(exclude=["/deep", "!x"]), ["a.PDF", "b.pdf"]),
    ],
)
def test_suffixes_and_patterns(tree: Path, selection: Selection, names: list[str]) -> None:
    (tree / "x.TIF").touch()
    (tree / "deep" / "y.tar.gz").touch()
    files = [each for each in find([str(tree)], selection) if isinstance(each, Candidate)]
    assert [Path(file.path).relative_to(tree).as_posix() for file in files] == names
    assert {file.type for file in files} == ({"ocr"} if selection.type else {"gz"} if "gz" in names[0] else {"pdf"})


def test_a_list_of_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    listed = ["notes.txt", "./b.pdf", "deep", "b.pdf", "book.epub", "no.pdf"]
    every = list(find(["b.pdf"], Selection(), tags_of_path, listed=listed))
    assert [(each.path, each.tags) for each in every if isinstance(each, Candidate)] == [
        ("b.pdf", ("b",)),
        ("notes.txt", ("notes",)),
        ("deep/er/c.pdf", ("deep", "er", "c")),
        ("book.epub", ("book",)),
    ]
    assert [each.path for each in every if isinstance(each, RejectedPath)] == ["no.pdf"]
    narrow = Selection(suffixes=["pdf", "epub"], exclude=["deep/"])
    assert [each.path for each in find([], narrow, listed=["notes.txt", "deep/er/c.pdf", "book.epub"])] == [
        "book.epub"
    ]


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
        (job("C:\\in\\a.pdf"), True, "a.pdf"),
        (job(filename=".bash_aliases"), False, "%2Ebash_aliases"),
        (job(filename="\x1b[31mred\n.txt"), False, "%1B[31mred%0A.txt"),
        (job(filename=3), False, "job-7.output"),
        (job(), True, "job-7.source"),
    ],
)
def test_a_download_is_named_by_others_and_stays_in_this_folder(of: Job, source: bool, name: str) -> None:
    assert download_name(of, source) == name
