"""Which files are the outputs: what the handler has returned, the file at `job.output`, or what lies below
`job.outputs`; and what they are called."""

from __future__ import annotations

import base64
import os
import re
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from blobforge.client.text import sendable
from blobforge.outputs import MOST, wrong_name
from blobforge.runner.job import Job, JobFailed

_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's own; with no dates in it, the same files make the same archive
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class OutputFile(NamedTuple):
    """A file to upload. `name` is what it is to be called when downloaded, None where nothing says it.

    `original` is the name's own bytes, in base64, where they cannot be sent as they are.
    """

    path: Path
    name: str | None
    original: str | None = None


def collect(job: Job) -> list[OutputFile]:
    """Find the outputs, the main one first. Blocking. Raises JobFailed and OSError."""
    if job.returned:
        return _told(job, job.returned)
    files = _files(job.outputs)
    single = _regular(job, job.output) if os.path.lexists(job.output) else None
    if single is not None:
        if files:
            raise JobFailed(
                "there are files both at the output path and in the outputs folder", kind="OutputAmbiguous"
            )
        return [OutputFile(single, None)]
    if not files:
        raise JobFailed("the converter ended well but left no output file", kind="OutputMissing")
    return _main_first(job, _named(job, [(path.relative_to(job.outputs).as_posix(), path) for path in files]))


def packed(job: Job, files: list[OutputFile]) -> OutputFile:
    """The files as one, which is a ZIP file where there are several. Blocking. Raises OSError."""
    if len(files) == 1:
        return files[0]
    stem = PurePosixPath(job.source_path).stem or f"job-{job.id}"
    target = job.workdir / "outputs.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name, _ in sorted(files, key=lambda each: each.name or ""):
            assert name is not None, "several have names"
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                while chunk := source.read(1 << 20):
                    into.write(chunk)
    return OutputFile(target, f"{stem}.zip")


def originals(files: Iterable[OutputFile]) -> dict[str, str]:
    """The bytes of the names that are not sent as they are, by those that are."""
    return {name: original for _, name, original in files if name is not None and original is not None}


def _told(job: Job, returned: list[Path]) -> list[OutputFile]:
    """Those that the handler has returned, in its order. A folder stands for the files below it."""
    found: list[tuple[str, Path]] = []
    for each in returned:
        path = job.workdir / each
        if path.is_dir():
            found += [(below.relative_to(path).as_posix(), below) for below in _files(path)]
        else:
            beside = path.is_relative_to(job.outputs)
            found.append((path.relative_to(job.outputs).as_posix() if beside else path.name, path))
    found = list(dict.fromkeys(found))
    if not found:
        raise JobFailed("the handler has returned a folder without files", kind="OutputMissing")
    if [path for _, path in found] == [job.output]:
        return [OutputFile(_regular(job, job.output), None)]
    files = _named(job, found)
    return files if len(returned) > 1 or not (job.workdir / returned[0]).is_dir() else _main_first(job, files)


def _main_first(job: Job, files: list[OutputFile]) -> list[OutputFile]:
    """In the order of names, but the one that is called as the source comes first, or else one of the uppermost."""
    stem = PurePosixPath(job.source_path).stem

    def rank(file: OutputFile) -> tuple[bool, int, str]:
        name = file.name or ""
        return PurePosixPath(name).stem != stem, name.count("/"), name

    main = min(files, key=rank)
    return [main, *(each for each in files if each is not main)]


def _files(folder: Path) -> list[Path]:
    """Every file below, in the order of names. A link to a folder is not followed: its files are among them already.
    Raises JobFailed for one that leads elsewhere, and for a folder that cannot be read: their files would be left out
    in silence."""
    top, found = folder.resolve(), []
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        found += [Path(parent, name) for name in names]
        for path in (Path(parent, name) for name in folders):
            if os.path.islink(path) and not path.resolve().is_relative_to(top):
                said = f"{path.name!r} among the outputs is a link to a folder elsewhere"
                raise JobFailed(said, kind="OutputMissing")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):  # the converter has removed the folder: there is nothing in it
        return
    name = Path(error.filename or "").name
    raise JobFailed(f"the folder {name!r} among the outputs cannot be read: {error.strerror}", kind="OutputMissing")


def _regular(job: Job, path: Path) -> Path:
    """The file itself. A link that leads out of the job's folder may have come from the document."""
    real = path.resolve()
    if not real.is_relative_to(job.workdir.resolve()) or not real.is_file():
        raise JobFailed(f"the output {path.name!r} is no file in the job's own folder", kind="OutputMissing")
    return real


def _named(job: Job, files: list[tuple[str, Path]]) -> list[OutputFile]:
    """The files with the names that they are sent under. Raises JobFailed for names that cannot be sent at all."""
    if len(files) > MOST:
        said = f"{len(files):,} outputs, and an attempt has at most {MOST:,}: pack them into one file (--zip)"
        raise JobFailed(said, kind="TooManyOutputs", retryable=False)
    if len(files) == 1:
        files = [(PurePosixPath(files[0][0]).name, files[0][1])]
    named: dict[str, OutputFile] = {}
    for name, path in files:
        sent = _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", unicodedata.normalize("NFC", sendable(name)))
        if sent in named:
            raise _unsendable(f"two outputs would be called {sent!r}, one of them escaped")
        if (wrong := wrong_name(sent)) is not None:
            raise _unsendable(f"an output cannot be called {sent[:100]!r}: {wrong}")
        original = base64.b64encode(os.fsencode(name)).decode() if sent != name else None
        named[sent] = OutputFile(_regular(job, path), sent, original)
    return list(named.values())


def _unsendable(why: str) -> JobFailed:
    return JobFailed(f"{why}: let the converter name its files otherwise", kind="OutputName", retryable=False)
