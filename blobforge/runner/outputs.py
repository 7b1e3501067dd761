"""Which file is the output: the one at `job.output`, or what lies below `job.outputs`."""

from __future__ import annotations

import base64
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from blobforge.client.text import sendable
from blobforge.runner.job import Job, JobFailed

_LONGEST_NAME = 255  # bytes of one part of a name, as the server takes it
_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's own; with no dates in it, the same files make the same archive


class OutputFile(NamedTuple):
    """The file to upload. `name` is what it is to be called when downloaded, None where nothing says it.

    `originals` has, for each name that is sent escaped because it is no UTF-8, its own bytes in base64.
    """

    path: Path
    name: str | None
    originals: dict[str, str]


def collect(job: Job) -> OutputFile:
    """Find the output; several files become one ZIP file. Blocking. Raises JobFailed and OSError."""
    files = _files(job.outputs)
    single = _regular(job, job.output) if os.path.lexists(job.output) else None
    if single is not None:
        if files:
            raise JobFailed(
                "there are files both at the output path and in the outputs folder", kind="OutputAmbiguous"
            )
        return OutputFile(single, None, {})
    if not files:
        raise JobFailed("the converter ended well but left no output file", kind="OutputMissing")
    if len(files) == 1:
        ((name, file),) = _named([(files[0].name, files[0])]).items()
        return OutputFile(_regular(job, file), name, _originals([(name, files[0].name)]))
    stem = PurePosixPath(job.source_path).stem or f"job-{job.id}"
    whole = [(path.relative_to(job.outputs).as_posix(), path) for path in files]
    entries = _named(whole)
    pairs = zip(entries, (name for name, _ in whole), strict=True)
    return OutputFile(_zipped(job, entries), f"{stem}.zip", _originals(pairs))


def _files(folder: Path) -> list[Path]:
    """Every file below, in the order of names. Links to folders are not followed."""
    return sorted(
        Path(parent, name) for parent, _folders, names in os.walk(folder, followlinks=False) for name in names
    )


def _regular(job: Job, path: Path) -> Path:
    """The file itself. A link that leads out of the job's folder may have come from the document."""
    real = path.resolve()
    if not real.is_relative_to(job.workdir.resolve()) or not real.is_file():
        raise JobFailed(f"the output {path.name!r} is no file in the job's own folder", kind="OutputMissing")
    return real


def _named(files: list[tuple[str, Path]]) -> dict[str, Path]:
    """The files by the names that they are sent under. Raises JobFailed for names that cannot be sent at all."""
    named: dict[str, Path] = {}
    for name, path in files:
        sent = sendable(name)
        if sent in named:
            raise _unsendable(f"two outputs would be called {sent!r}, one of them escaped")
        if any(len(part.encode()) > _LONGEST_NAME for part in sent.split("/")):
            raise _unsendable(f"an output's name is too long when it is escaped: {sent[:100]!r}...")
        named[sent] = path
    return named


def _unsendable(why: str) -> JobFailed:
    return JobFailed(f"{why}: let the converter name its files in UTF-8", kind="OutputName", retryable=False)


def _originals(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {sent: base64.b64encode(os.fsencode(name)).decode() for sent, name in pairs if sent != name}


def _zipped(job: Job, entries: dict[str, Path]) -> Path:
    target = job.workdir / "outputs.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in entries.items():
            real = _regular(job, path)
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with real.open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                while chunk := source.read(1 << 20):
                    into.write(chunk)
    return target
