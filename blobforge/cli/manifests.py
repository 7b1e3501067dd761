"""`blobforge results manifest` and `verify`: a signed list of what jobs have made, and whether a folder holds it."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.outage import Outages
from blobforge.cli.selection import chosen, job_filters, moment

if TYPE_CHECKING:
    from blobforge.cli.fetch.verifying import FolderFinding
    from blobforge.client import AsyncClient


to_file = click.option(
    "--to",
    "file",
    type=common.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to this file, whole or not at all, instead of stdout.",
)


@click.command()
@to_file
@click.option(
    "--since",
    callback=moment,
    metavar="TIME",
    help="Only of jobs with a result that completed since this, as in 2026-11-23.",
)
@job_filters
@session_options
@pass_session
def manifest(session: CliSession, /, *, file: Path | None, since: datetime | None, **filters: Any) -> None:
    """List what the jobs have made, with hashes, signed by the installation.

    A line of JSON for each job, by id, and a last line that signs all of them. `blobforge results verify` says
    whether a folder holds it; the public key is that of `blobforge results key`.

    \b
      blobforge results manifest --type pdf --to manifest.ndjson
      blobforge results verify manifest.ndjson results/ --key KEY
    """
    if since is not None:
        filters["completed_since"] = since.isoformat()

    session.run(lambda client: write(client, file, **chosen(filters)), on_retry=Outages(session))
    if file is not None:
        session.note(f"Written to {file}.")


async def write(client: AsyncClient, file: Path | None, **filters: Any) -> None:
    """The manifest of the jobs that match, to a file or to stdout."""
    if file is not None:
        await client.save_manifest(file, **filters)
        return
    await output.print_pieces(client.manifest(**filters))


@click.command()
@session_options
@pass_session
def key(session: CliSession) -> None:
    """Show the public key that the installation's manifests are signed with, to be kept where they are verified.

    \b
      blobforge results key
      blobforge results key --quiet > installation.pub
    """
    known = session.run(lambda client: client.installation())
    if session.json:
        output.print_json(known)
        return
    if session.quiet:
        click.echo(known.public_key)
        return
    output.print_fields(
        [
            ("Installation", known.id),
            ("Public key", known.public_key),
            ("Fingerprint", known.fingerprint),
            ("Since", known.since),
            *(("Former key", f"{each.public_key} ({each.fingerprint})") for each in known.former),
        ]
    )


@click.command()
@click.argument("file", metavar="MANIFEST", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    "public",
    required=True,
    metavar="KEY",
    help="The installation's public key, or a file with it, from where you trust it: not from beside the manifest.",
)
@click.option(
    "--layout",
    type=click.Choice(["path", "id", "hash"]),
    default="path",
    show_default=True,
    help="The layout with which `results download` filled the folder.",
)
@session_options
@pass_session
def verify(session: CliSession, file: Path, folder: Path, public: str, layout: Any) -> None:
    """Say whether a folder holds what a manifest lists: what is missing, changed or extra. Works offline.

    First the manifest itself: whether it is all that was signed with this key, and nothing else. Exit code 0: all is
    there, and nothing else. With --json: a line for each finding, and a last one with the counts.

    \b
      blobforge results verify manifest.ndjson results/ --key installation.pub
    """
    from blobforge.cli.fetch.verifying import FolderCheck
    from blobforge.cli.progress import counted
    from blobforge.installation import fingerprint
    from blobforge.manifest import ManifestError
    from blobforge.manifest_signature import check

    named = _key(public)
    try:
        with file.open("rb") as opened:
            end = check(opened, named)
            opened.seek(0)
            folder_check = FolderCheck(folder, layout, besides=frozenset({file.resolve()}))
            with contextlib.closing(folder_check), counted("verifying", "results", end.outputs) as done:
                found = 0
                for finding in folder_check.compare(opened, done=done):
                    found += 1
                    _tell(session, finding)
                tally = folder_check.tally()
    except ManifestError as error:
        if session.json:
            click.echo(output.json_line({"problem": "manifest", "kind": error.kind, "error": str(error)}))
        raise CliError(f"{file} proves nothing. {error}", common.FAILED, _hint(error.kind)) from error
    signed = {"key": fingerprint(named), "jobs": end.jobs, "outputs": end.outputs, "signed_at": end.ended}
    if session.json:
        click.echo(output.json_line(signed | {"good": tally.good, "unproven": tally.unproven, "findings": found}))
    session.note(
        f"Signed by {signed['key']} at {end.ended}: {output.count(end.outputs, 'result')} of "
        f"{output.count(end.jobs, 'job')}. {tally.good} as signed, {output.count(found, 'finding')}."
    )
    if tally.unproven:
        said = f"Of {output.count(tally.unproven, 'result')} the manifest has no hash: only the size was compared."
        click.echo(said, err=True)
    if found:
        common.fail()


def _key(text: str) -> str:
    """The public key that is meant. Raises CliError."""
    from blobforge.installation import public_key

    try:
        said = Path(text).read_text() if len(text) < 1000 and Path(text).is_file() else text
        public_key(said)
    except (OSError, ValueError) as error:
        hint = "`blobforge results key --quiet` writes it, on a machine that reaches the server."
        raise CliError(f"--key: {error}.", common.USAGE, hint) from error
    return said.strip()


def _hint(kind: str) -> str:
    if kind == "other-key":
        return "Ask the installation's administrator which key is theirs, and compare fingerprints."
    return "Have the manifest made again: `blobforge results manifest`."


def _tell(session: CliSession, finding: FolderFinding) -> None:
    if session.json:
        click.echo(output.json_line(finding._asdict()))
        return
    whose = f"\tjob {finding.job_id}" if finding.job_id is not None else ""
    click.echo(f"{finding.problem}\t{output.one_line(finding.path)}{whose}")
