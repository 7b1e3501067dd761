"""Which files are the outputs, and what they are called."""

from __future__ import annotations

import base64
import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from blobforge.client import Job as JobRecord
from blobforge.outputs import MOST
from blobforge.runner import Job, JobFailed
from blobforge.runner.outputs import OutputFile, collect, originals, packed


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "work" / "outputs").mkdir(parents=True)
    record = JobRecord(id=7, type="pdf", status="running", source_hash="0" * 64, source_path="in/a book.pdf")
    return Job(record, tmp_path / "work", tmp_path / "work" / "source", lambda _: None)


def names(files: list[OutputFile]) -> list[str | None]:
    return [each.name for each in files]


def test_the_file_at_the_output_path(job: Job) -> None:
    job.output.write_text("x")
    assert collect(job) == [OutputFile(job.output.resolve(), None)]


def test_one_file_in_the_folder_keeps_its_name(job: Job) -> None:
    (job.outputs / "deep").mkdir()
    (job.outputs / "deep" / "text.md").write_text("x")
    assert collect(job) == [OutputFile((job.outputs / "deep" / "text.md").resolve(), "text.md")]


@pytest.mark.parametrize(
    ("made", "main"),
    [
        (["pages/2.txt", "1.txt", "a book.md"], "a book.md"),
        (["pages/2.txt", "img/a book.png", "z.txt"], "img/a book.png"),
        (["pages/1.txt", "z.txt", "y.txt"], "y.txt"),
    ],
    ids=["as the source is called", "wherever it is", "else the first of the uppermost"],
)
def test_several_files_are_each_an_output_and_one_is_the_main_one(job: Job, made: list[str], main: str) -> None:
    for name in made:
        (job.outputs / name).parent.mkdir(exist_ok=True)
        (job.outputs / name).write_text(name)
    found = collect(job)
    assert names(found) == [main, *sorted(set(made) - {main})]
    assert {each.name: each.path.read_text() for each in found} == {name: name for name in made}


def test_packed_they_are_one_archive_the_same_each_time(job: Job) -> None:
    (job.outputs / "pages").mkdir()
    (job.outputs / "pages" / "2.txt").write_text("two")
    (job.outputs / "1.txt").write_text("one")
    path, name, _ = packed(job, collect(job))
    first = path.read_bytes()
    assert name == "a book.zip"
    with zipfile.ZipFile(path) as archive:
        assert {entry: archive.read(entry) for entry in archive.namelist()} == {
            "1.txt": b"one",
            "pages/2.txt": b"two",
        }
    (job.outputs / "1.txt").touch()
    assert packed(job, collect(job)).path.read_bytes() == first


def test_what_a_handler_has_returned_is_the_output_in_its_order(job: Job) -> None:
    for name in ("outputs/z/1.md", "outputs/not asked for", "elsewhere/a", "elsewhere/b/c"):
        (job.workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (job.workdir / name).write_text(name)
    job.returned = [job.outputs / "z" / "1.md", job.workdir / "elsewhere" / "a"]
    assert names(collect(job)) == ["z/1.md", "a"]
    job.returned = [Path("elsewhere")]  # the folder itself: what is in it
    assert names(collect(job)) == ["a", "b/c"]
    job.returned = [job.workdir / "elsewhere" / "b"]
    assert names(collect(job)) == ["c"]
    job.returned = [job.source]
    with pytest.raises(JobFailed, match="no file"):
        collect(job)
    (job.workdir / "empty").mkdir()
    job.returned = [job.workdir / "empty"]
    with pytest.raises(JobFailed, match="without files"):
        collect(job)


def test_more_than_an_attempt_may_have_are_told_of(job: Job) -> None:
    for number in range(MOST + 1):
        (job.outputs / str(number)).touch()
    with pytest.raises(JobFailed, match=r"10,001 outputs.*--zip") as failure:
        collect(job)
    assert (failure.value.kind, failure.value.retryable) == ("TooManyOutputs", False)


def test_nothing_or_both_is_a_failure(job: Job) -> None:
    with pytest.raises(JobFailed, match="no output") as failure:
        collect(job)
    assert failure.value.kind == "OutputMissing"
    job.output.write_text("x")
    (job.outputs / "y").write_text("y")
    with pytest.raises(JobFailed, match="both") as failure:
        collect(job)
    assert failure.value.kind == "OutputAmbiguous"


@pytest.mark.parametrize("where", ["output", "outputs/link"])
def test_a_link_out_of_the_folder_is_not_uploaded(job: Job, tmp_path: Path, where: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (job.workdir / where).symlink_to(tmp_path / "secret")
    with pytest.raises(JobFailed, match="own folder"):
        collect(job)


def test_a_folder_is_no_output(job: Job) -> None:
    job.output.mkdir()
    with pytest.raises(JobFailed, match="no file"):
        collect(job)


LATIN = b"caf\xe9.txt"


def beside(folder: Path, name: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_bytes(name)
    return path


def test_a_name_that_is_no_utf8_is_sent_escaped(job: Job) -> None:
    path = beside(job.outputs, LATIN)
    original = base64.b64encode(LATIN).decode()
    assert collect(job) == [OutputFile(path.resolve(), "caf%E9.txt", original)]
    (job.outputs / "caf\u00e9.txt").write_text("its namesake in UTF-8")
    files = collect(job)
    assert originals(files) == {"caf%E9.txt": original}
    with zipfile.ZipFile(packed(job, files).path) as opened:
        assert set(opened.namelist()) == {"caf%E9.txt", "caf\u00e9.txt"}
        assert opened.read("caf%E9.txt") == LATIN


def test_names_are_sent_composed_and_without_control_characters(job: Job) -> None:
    for name in ("Ä.txt", "a\nb.txt"):
        (job.outputs / unicodedata.normalize("NFD", name)).write_text(name)
    files = collect(job)
    assert set(names(files)) == {"Ä.txt", "a%0Ab.txt"}
    assert {base64.b64decode(each).decode() for each in originals(files).values()} == {"A\u0308.txt", "a\nb.txt"}


@pytest.mark.parametrize("many", [[LATIN, b"caf%E9.txt"], [b"\xe9" * 100]], ids=["same name", "too long"])
def test_a_name_that_cannot_be_sent_at_all_fails_for_good(job: Job, many: list[bytes]) -> None:
    for name in many:
        beside(job.outputs, name)
    with pytest.raises(JobFailed) as failure:
        collect(job)
    assert (failure.value.kind, failure.value.retryable) == ("OutputName", False)


def test_a_folder_that_cannot_be_read_is_not_left_out_in_silence(job: Job) -> None:
    """Nobody may list what is so deep that its path is longer than a path may be; root neither."""
    (job.outputs / "a").write_text("a")
    inner = os.open(job.outputs, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=inner)
        outer, inner = inner, os.open("d" * 200, os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(os.open("lost", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
    os.close(inner)
    with pytest.raises(JobFailed, match="cannot be read: File name too long"):
        collect(job)


def test_a_link_to_a_folder_is_followed_by_none(job: Job) -> None:
    (job.outputs / "v1").mkdir()
    (job.outputs / "v1" / "a").write_text("a")
    (job.outputs / "b").write_text("b")
    (job.outputs / "latest").symlink_to("v1")
    assert names(collect(job)) == ["b", "v1/a"]
    (job.workdir / "elsewhere").mkdir()
    (job.workdir / "elsewhere" / "c").write_text("c")
    (job.outputs / "pages").symlink_to(job.workdir / "elsewhere")
    with pytest.raises(JobFailed, match="'pages' among the outputs is a link to a folder elsewhere"):
        collect(job)


def test_a_converter_may_remove_the_folder_of_outputs(job: Job) -> None:
    job.outputs.rmdir()
    job.output.write_text("one")
    assert names(collect(job)) == [None]
