"""Which file is the output."""

from __future__ import annotations

import base64
import os
import zipfile
from pathlib import Path

import pytest

from blobforge.client import Job as JobRecord
from blobforge.runner import Job, JobFailed
from blobforge.runner.outputs import collect


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "work" / "outputs").mkdir(parents=True)
    record = JobRecord(id=7, type="pdf", status="running", source_hash="0" * 64, source_path="in/a book.pdf")
    return Job(record, tmp_path / "work", tmp_path / "work" / "source", lambda _: None)


def test_the_file_at_the_output_path(job: Job) -> None:
    job.output.write_text("x")
    assert collect(job) == (job.output.resolve(), None, {})


def test_one_file_in_the_folder_keeps_its_name(job: Job) -> None:
    (job.outputs / "deep").mkdir()
    (job.outputs / "deep" / "text.md").write_text("x")
    assert collect(job) == ((job.outputs / "deep" / "text.md").resolve(), "text.md", {})


def test_several_files_become_one_archive_the_same_each_time(job: Job) -> None:
    (job.outputs / "pages").mkdir()
    (job.outputs / "pages" / "2.txt").write_text("two")
    (job.outputs / "1.txt").write_text("one")
    path, name, _ = collect(job)
    first = path.read_bytes()
    assert name == "a book.zip"
    with zipfile.ZipFile(path) as archive:
        assert {entry: archive.read(entry) for entry in archive.namelist()} == {
            "1.txt": b"one",
            "pages/2.txt": b"two",
        }
    (job.outputs / "1.txt").touch()
    assert collect(job)[0].read_bytes() == first


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
    original = {"caf%E9.txt": base64.b64encode(LATIN).decode()}
    assert collect(job) == (path.resolve(), "caf%E9.txt", original)
    (job.outputs / "caf\u00e9.txt").write_text("its namesake in UTF-8")
    archive, _, originals = collect(job)
    assert originals == original
    with zipfile.ZipFile(archive) as opened:
        assert set(opened.namelist()) == {"caf%E9.txt", "caf\u00e9.txt"}
        assert opened.read("caf%E9.txt") == LATIN


@pytest.mark.parametrize("names", [[LATIN, b"caf%E9.txt"], [b"\xe9" * 100]], ids=["same name", "too long"])
def test_a_name_that_cannot_be_sent_at_all_fails_for_good(job: Job, names: list[bytes]) -> None:
    for name in names:
        beside(job.outputs, name)
    with pytest.raises(JobFailed) as failure:
        collect(job)
    assert (failure.value.kind, failure.value.retryable) == ("OutputName", False)
