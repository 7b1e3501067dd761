"""The report on a fetch: the counts, and the line of data for each result. State owned here: both."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliSession
from blobforge.cli.fetch.ledger import FetchedFile
from blobforge.cli.progress import Progress


@dataclass
class FetchReport:
    """`fetched + adopted + failed` is the number of results that were dealt with, of `found`; `code` is the first
    failure's. `lines`: each file is told on stdout."""

    session: CliSession
    lines: bool = True
    progress: Progress = field(default_factory=lambda: Progress(shown=False))
    found: int = 0
    fetched: int = 0
    adopted: int = 0  # were in the folder already, though nothing was known of them
    failed: int = 0
    files: int = 0  # that were fetched: a result may have several
    bytes: int = 0
    code: int = 0

    def discovered(self, results: int) -> None:
        """So many more are to be fetched."""
        self.found += results
        self.progress.found(results, 0)

    def vanished(self) -> None:
        """One was deleted before it could be fetched."""
        self.found -= 1
        self.progress.file_done(0, sent=0)

    def file(self, file: FetchedFile, *, name: str | None, moved: bool) -> None:
        """A file is in the folder. `moved`: its bytes were fetched. `name`: which of several outputs it is."""
        if moved:
            self.files += 1
            self.bytes += file.size
        if self.session.json:
            record = {"job_id": file.job_id, "path": file.path, "size": file.size, "sha256": file.sha256}
            click.echo(output.json_line(record | ({"name": name} if name is not None else {}) | {"fetched": moved}))
        elif self.lines and moved and not self.session.quiet:
            click.echo(f"{file.job_id}\t{output.one_line(file.path)}")

    def done(self, job_id: int, size: int, *, moved: bool) -> None:
        """A result is in the folder, whole. `moved`: bytes were fetched for that, `size` of them."""
        if moved:
            self.fetched += 1
        else:
            self.adopted += 1
        self.progress.file_done(0, sent=size)
        if self.session.quiet and not self.session.json:
            click.echo(str(job_id))

    def failure(self, job_id: int, error: Exception) -> None:
        """One result failed; the others go on. Raises what is a bug of ours."""
        told = common.as_cli_error(error)
        if told is None:
            raise error
        self.failed += 1
        self.code = self.code or told.exit_code
        self.progress.file_done(0, sent=0)
        click.echo(f"job {job_id}: {output.one_line(told.message)}", err=True)
        if (hint := getattr(told, "hint", "")) and self.failed == 1:
            click.echo(hint, err=True)
        if self.session.json:
            click.echo(output.json_line({"job_id": job_id, "error": told.message}))

    def summary(self, held: int | None = None) -> str:
        """`2 fetched (1.2 MiB), 1 failed; 500 results in the folder`."""
        files = f"{self.files} files, " if self.files != self.fetched else ""
        parts = [f"{self.fetched} fetched" + (f" ({files}{output.size_text(self.bytes)})" if self.fetched else "")]
        if self.adopted:
            parts.append(f"{self.adopted} there already")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if rest := self.found - self.fetched - self.adopted - self.failed:
            parts.append(f"{rest} not done")
        if held is None:
            return ", ".join(parts)
        return f"{', '.join(parts)}; {held} result{'s' if held != 1 else ''} in the folder"
