"""The report on the files: the counts, and the line of data for each. State owned here: both. Every other stage only
tells its results."""

from __future__ import annotations

from dataclasses import dataclass, field

import click
import msgspec

from blobforge.cli import common, output
from blobforge.cli.common import CliSession
from blobforge.cli.ingest.find import RejectedPath
from blobforge.cli.ingest.hashing import Hashed
from blobforge.cli.progress import Progress
from blobforge.client import BatchItem, Job, SubmittedFile


@dataclass
class Report:
    """`new + existing + failed` is the number of files that were dealt with, of `found`; `code` is the first
    failure's. `keep_ids`: the jobs are to be waited for. `lines`: each file is told on stdout.
    """

    session: CliSession
    keep_ids: bool = False
    lines: bool = True
    progress: Progress = field(default_factory=lambda: Progress(shown=False))
    found: int = 0
    new: int = 0
    existing: int = 0
    differing: dict[str, int] = field(default_factory=dict)  # of these: how many keep what was said otherwise
    failed: int = 0
    misnamed: int = 0  # of those that failed
    uploaded: int = 0
    bytes: int = 0
    unfinished: int = 0
    code: int = 0
    batch: int | None = None  # for which they are submitted
    job_ids: list[int] = field(default_factory=list)
    keep_completed: bool = False
    completed: list[Job] = field(default_factory=list)  # of those that were waited for, where they are to be kept

    def discovered(self, files: int, size: int) -> None:
        """So many more files, of so many bytes, are there to submit."""
        self.found += files
        self.progress.found(files, size)

    def done(self, hashed: Hashed, answer: BatchItem, *, status: str, uploaded: bool) -> None:
        """The server has the job, and the file's bytes."""
        if answer.existing:
            self.existing += 1
            for name in answer.ignored or ():
                self.differing[name] = self.differing.get(name, 0) + 1
        else:
            self.new += 1
        if uploaded:
            self.uploaded += 1
            self.bytes += hashed.content.size
        if self.keep_ids:
            self.job_ids.append(answer.job_id)
        self.progress.file_done(hashed.file.size, sent=hashed.content.size if uploaded else 0)
        submitted = SubmittedFile(
            path=shown(hashed.file.shown),
            job_id=answer.job_id,
            status=status,
            existing=answer.existing,
            uploaded=uploaded,
            size=hashed.content.size,
            sha256=hashed.content.sha256,
            ignored=answer.ignored,
        )
        if self.session.json:
            click.echo(msgspec.json.encode(submitted))
        elif self.session.quiet:
            click.echo(str(answer.job_id))
        elif self.lines:
            click.echo(f"{answer.job_id}\t{status}\t{output.one_line(submitted.path)}")

    def failure(self, path: str, size: int, error: Exception) -> None:
        """One file failed; the others go on. Raises what is a bug of ours."""
        cli_error = common.as_cli_error(error)
        if cli_error is None:
            raise error
        self.failed += 1
        self.code = self.code or cli_error.exit_code
        self.progress.file_done(size, sent=0)
        message = cli_error.message.removeprefix(f"{path}: ").removeprefix(f"{path} ")  # some name it themselves
        click.echo(f"{output.one_line(shown(path))}: {output.one_line(message)}", err=True)
        hint = getattr(cli_error, "hint", "")
        if hint and self.failed == 1:
            click.echo(hint, err=True)
        if self.session.json:
            click.echo(msgspec.json.encode({"path": shown(path), "error": message}))

    def took_back(self, hashed: Hashed, answer: BatchItem, error: Exception) -> None:
        """The server found other bytes than were announced: what was told as done is none."""
        if answer.existing:
            self.existing -= 1
        else:
            self.new -= 1
        self.failure(hashed.file.shown, hashed.file.size, error)

    def problem(self, problem: RejectedPath) -> None:
        """Something that cannot be taken at all."""
        self.misnamed += problem.misnamed
        self.failure(problem.path, problem.size, common.CliError(problem.reason))

    def summary(self) -> str:
        """`5 files: 3 new, 1 known already, 1 failed; 3 uploaded (1.2 MiB)`; the parts add up to the first number."""
        parts = [f"{self.new} new"]
        if self.existing:
            kept = ", ".join(f"{name} of {count}" for name, count in self.differing.items())
            parts.append(f"{self.existing} known already" + (f" (kept as it was: {kept})" if kept else ""))
        if self.failed:
            parts.append(f"{self.failed} failed")
        rest = self.found - self.new - self.existing - self.failed
        if rest:
            parts.append(f"{rest} not done")
        sent = f"; {self.uploaded} uploaded ({output.size_text(self.bytes)})" if self.uploaded else ""
        left = f"; {self.unfinished} did not complete" if self.unfinished else ""
        return f"{self.found} file{'s' if self.found != 1 else ''}: {', '.join(parts)}{sent}{left}"


def shown(path: str) -> str:
    """A file's name is bytes; JSON has no place for bad ones."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
