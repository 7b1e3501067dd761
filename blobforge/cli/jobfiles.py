"""`blobforge jobs download` and `jobs outputs`: the files of a few jobs, by their ids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.selection import for_each, one_id, several_ids

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, FileLink, Job, OutputInfo

_STDOUT = Path("-")
_PAGE = 1000  # outputs: the server's own limit


class WantedFile(NamedTuple):
    """Which of a job's files is meant: its source, the output of this name, or the main one."""

    source: bool
    name: str | None

    async def link(self, client: AsyncClient, job_id: int) -> FileLink:
        """Where it is. Raises what the client raises, ApiError for one that is not there."""
        from blobforge.client import ApiError

        if self.name is not None:
            (link,) = await client.output_urls([(job_id, self.name)])
        else:
            (link,) = await client.download_urls([job_id], "source" if self.source else "output")
        if link.error is not None:
            raise ApiError(link.status_code, link.type.rpartition(":")[2], link.error)
        return link


@click.command()
@several_ids
@click.option(
    "-o",
    "--output",
    "target",
    type=common.NamedPath(dir_okay=False, allow_dash=True, path_type=Path),
    help="Where to write it, - for stdout; by default the name that the worker gave it, in this folder.",
)
@click.option("--source", is_flag=True, help="The source instead of the output.")
@click.option("--name", metavar="NAME", help="Of several outputs this one; `jobs outputs` lists them.")
@session_options
@pass_session
def download(
    session: CliSession, job_ids: tuple[int, ...], target: Path | None, source: bool, name: str | None
) -> None:
    """Download the output of jobs, or their sources. Prints each path; never overwrites a file unless -o names it.

    Of several outputs it is the main one, or the one of --name; `results download --job` fetches all.

    \b
      blobforge jobs download 17
      blobforge jobs download 17 18 19
      blobforge jobs download 17 --name pages/3.md
      blobforge jobs download 17 --source -o original.pdf
      blobforge jobs download 17 -o - | less
    """
    if target is not None and len(job_ids) > 1:
        raise CliError("-o names one file, not several.", common.USAGE, "Leave it out, or name one job.")
    if source and name is not None:
        raise CliError("--name is one of the outputs, and --source is none of them.", common.USAGE)
    for_each(job_ids, lambda job_id: _download(session, job_id, target, WantedFile(source, name)))


@click.command()
@one_id
@session_options
@pass_session
def outputs(session: CliSession, job_id: int) -> None:
    """List the outputs of a job's result, by name: size, SHA-256, media type. With --json: a line each.

    \b
      blobforge jobs outputs 17
      blobforge results download --job 17 --to seventeen/
    """
    found: list[OutputInfo] = []

    async def read(client: AsyncClient) -> None:
        cursor: str | None = ""
        while cursor is not None:
            page = await client.output_page(job_id, cursor=cursor, limit=_PAGE)
            found.extend(page.outputs)
            cursor = page.next_cursor

    session.run(read)
    if session.json:
        for each in found:
            click.echo(output.json_line(each))
    elif session.quiet:
        for each in found:
            click.echo(output.one_line(each.name))
    else:
        rows = [(output.size_text(each.size), each.media_type, each.sha256, each.name) for each in found]
        output.print_table(("SIZE", "MEDIA TYPE", "SHA-256", "NAME"), rows)


def _download(session: CliSession, job_id: int, target: Path | None, wanted: WantedFile) -> None:
    if target is not None and (target == _STDOUT or _is_special(target)):
        _write_file(session, job_id, wanted, target)
        return

    async def fetch(client: AsyncClient) -> tuple[Path, int]:
        job = await client.get_job(job_id)
        path = target or Path(download_name(job, wanted.source, wanted.name))
        if target is None and path.exists():
            raise CliError(f"{path} exists.", common.CONFLICT, "Name another file, or this one, with -o.")
        path = path.resolve() if target is not None else path  # what a link names is written, not the link
        link = await wanted.link(client, job_id)
        facts = await client.download(link.url, path, sha256=link.sha256)
        _tell_of_others(session, wanted, link)
        return target or path, facts.size

    path, size = session.run(fetch)
    if session.json:
        click.echo(output.json_line({"path": os.fsencode(path).decode("utf-8", "replace"), "size": size}))
    else:
        click.echo(str(path))


def _tell_of_others(session: CliSession, wanted: WantedFile, link: FileLink) -> None:
    if wanted.name is None and link.name is not None:
        session.note(
            f"Job {link.job_id} has several outputs, and this is the main one, {output.one_line(link.name)}: "
            f"`blobforge results download --job {link.job_id} --to DIR` fetches all."
        )


def _is_special(path: Path) -> bool:
    """A device or a pipe (/dev/null, >(command)): to be written to, never to be replaced by a file."""
    return path.exists() and not path.is_file()


def _write_file(session: CliSession, job_id: int, wanted: WantedFile, target: Path) -> None:
    """Write the file to stdout or to `target`, once it is here whole and verified."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="blobforge-") as folder:
        path = Path(folder) / "file"

        async def fetch(client: AsyncClient) -> None:
            link = await wanted.link(client, job_id)
            await client.download(link.url, path, sha256=link.sha256)
            _tell_of_others(session, wanted, link)

        session.run(fetch)
        with path.open("rb") as file, click.open_file(str(target), "wb") as into:
            shutil.copyfileobj(file, into)


def download_name(job: Job, source: bool, name: str | None = None) -> str:
    """A plain name for this folder: what others chose is a name here, never a path. `name`: that of an output."""
    from blobforge.safenames import safe

    result = job.result if isinstance(job.result, dict) else {}
    named = name or (job.source_path if source else result.get("filename"))
    plain = safe(named.replace("\\", "/").rpartition("/")[2]) if isinstance(named, str) else ""
    return plain or f"job-{job.id}.{'source' if source else 'output'}"
