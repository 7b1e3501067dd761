"""The report on a fetch: the counts, and the line of data for each result. State owned here: both."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliSession
from blobforge.cli.fetch.ledger import FetchedResult
from blobforge.cli.progress import Progress


@dataclass
class FetchReport:
    """`fetched + adopted + failed` is the number of results that were dealt with, of `found`; `code` is the first
    failure's. `lines`: each result is told on stdout."""

    session: CliSession
    lines: bool = True
    progress: Progress = field(default_factory=lambda: Progress(shown=False))
    found: int = 0
    fetched: int = 0
    adopted: int = 0  # were in the folder already, though nothing was known of them
    failed: int = 0
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

    def done(self, result: FetchedResult, *, moved: bool) -> None:
        """It is in the folder. `moved`: its bytes were fetched for that."""
        if moved:
            self.fetched += 1
            self.bytes += result.size
        else:
            self.adopted += 1
        self.progress.file_done(0, sent=result.size if moved else 0)
        if self.session.json:
            record = {"job_id": result.job_id, "path": result.path, "size": result.size, "sha256": result.sha256}
            click.echo(output.json_line(record | {"fetched": moved}))
        elif self.session.quiet:
            click.echo(str(result.job_id))
        elif self.lines and moved:
            click.echo(f"{result.job_id}\t{output.one_line(result.path)}")

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
        parts = [f"{self.fetched} fetched" + (f" ({output.size_text(self.bytes)})" if self.fetched else "")]
        if self.adopted:
            parts.append(f"{self.adopted} there already")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if rest := self.found - self.fetched - self.adopted - self.failed:
            parts.append(f"{rest} not done")
        if held is None:
            return ", ".join(parts)
        return f"{', '.join(parts)}; {held} result{'s' if held != 1 else ''} in the folder"
