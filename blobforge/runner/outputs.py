"""Which file is the output: the one at `job.output`, or what lies below `job.outputs`."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from blobforge.runner.job import Job, JobFailed

_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's own; with no dates in it, the same files make the same archive


class Output(NamedTuple):
    """The file to upload. `name` is what it is to be called when downloaded, None where nothing says it."""

    path: Path
    name: str | None


def collect(job: Job) -> Output:
    """Find the output; several files become one ZIP file. Blocking. Raises JobFailed and OSError."""
    files = _files(job.outputs)
    single = _regular(job, job.output) if os.path.lexists(job.output) else None
    if single is not None:
        if files:
            raise JobFailed(
                "there are files both at the output path and in the outputs folder", kind="OutputAmbiguous"
            )
        return Output(single, None)
    if not files:
        raise JobFailed("the converter ended well but left no output file", kind="OutputMissing")
    if len(files) == 1:
        return Output(_regular(job, files[0]), files[0].name)
    stem = PurePosixPath(job.source_path).stem or f"job-{job.id}"
    return Output(_zipped(job, files), f"{stem}.zip")


def _files(folder: Path) -> list[Path]:
    """All that is not a folder, in the order of names. Links to folders are not followed."""
    return sorted(
        Path(parent, name) for parent, _folders, names in os.walk(folder, followlinks=False) for name in names
    )


def _regular(job: Job, path: Path) -> Path:
    """The file itself. A link that leads out of the job's folder may have come from the document."""
    real = path.resolve()
    if not real.is_relative_to(job.workdir.resolve()) or not real.is_file():
        raise JobFailed(f"the output {path.name!r} is no file in the job's own folder", kind="OutputMissing")
    return real


def _zipped(job: Job, files: list[Path]) -> Path:
    target = job.workdir / "outputs.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            real = _regular(job, path)
            entry = zipfile.ZipInfo(path.relative_to(job.outputs).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with real.open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                while chunk := source.read(1 << 20):
                    into.write(chunk)
    return target
