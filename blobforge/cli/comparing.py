"""`blobforge results diff`: what has changed where jobs were retried with --compare."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.selection import LARGEST_PAGE, chosen, job_filters

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, ComparedJob, ComparedOutput, Comparison

LARGEST = 16 << 20  # bytes of a text that is compared line by line
_CHANGES = ("same", "changed", "gone", "new", "unproven")


@click.command("diff")
@click.argument("job_id", type=click.IntRange(min=1), required=False, metavar="[ID]", shell_complete=suggest.jobs)
@click.option("--output", "name", metavar="NAME", help="With an ID: the lines of this output.")
@click.option("--patch", is_flag=True, help="With an ID: the lines of all outputs that have changed.")
@click.option("--summary", "only_counts", is_flag=True, help="Without an ID: the counts only.")
@job_filters
@session_options
@pass_session
def diff(
    session: CliSession,
    /,
    *,
    job_id: int | None,
    name: str | None,
    patch: bool,
    only_counts: bool,
    **filters: Any,
) -> None:
    """Say what has changed in a result, or in many, that was made again with `jobs retry --compare`.

    With an ID: each output that is not the same, with its sizes; of a text its lines, as `diff -u` has them: of the
    only one that has changed, of the one that --output names, or, with --patch, of all. Without: each job whose
    result is not the same, and how many are what. The former result is kept for a week
    (BLOBFORGE_RETENTION_COMPARED).

    \b
      blobforge jobs retry --made-by 'marker<1.3' --type pdf --compare
      blobforge results diff --type pdf
      blobforge results diff 17
      blobforge results diff 17 --output pages/3.md

    With --json: a line for each job, and a last one with the counts; with an ID, one object.
    """
    given = chosen(filters)
    if job_id is None:
        if name is not None or patch:
            raise CliError("--output and --patch are for one job.", common.USAGE, "Give its ID, too.")
        session.run(lambda client: _many(session, client, given, only_counts=only_counts))
        return
    if given or only_counts:
        raise CliError("An ID and a filter do not go together.", common.USAGE, "Give one or the other.")
    session.run(lambda client: _one(session, client, job_id, name, patch=patch))


# ------------------------------------------------------------------ many


async def _many(session: CliSession, client: AsyncClient, filters: dict[str, Any], *, only_counts: bool) -> None:
    jobs: Counter[str] = Counter()
    outputs: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        page = await client.comparison_page(**filters, limit=LARGEST_PAGE, cursor=cursor)
        for each in page.comparisons:
            jobs[each.change] += 1
            counts = _counts(each)
            outputs.update(counts)
            if only_counts:
                continue
            if session.json:
                click.echo(output.json_line(each))
            elif session.quiet:
                click.echo(str(each.job_id))
            elif each.change != "same":
                click.echo(f"{each.job_id}\t{each.change}\t{_said(counts)}")
        cursor = page.next_cursor
        if cursor is None:
            break
    if session.json:
        click.echo(output.json_line({"jobs": _all(jobs), "outputs": _all(outputs)}))
    elif not session.quiet:
        click.echo(f"{output.count(jobs.total(), 'job')} compared: {_said(jobs) or 'none'}")
        click.echo(f"{output.count(outputs.total(), 'output')}: {_said(outputs) or 'none'}")


def _counts(job: ComparedJob) -> Counter[str]:
    """How many of its outputs are what."""
    return Counter({change: getattr(job.outputs, change) for change in _CHANGES})


def _all(counts: Counter[str]) -> dict[str, int]:
    return {change: counts[change] for change in _CHANGES}


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[change]:,} {change}" for change in _CHANGES if counts[change])


# ------------------------------------------------------------------ one


async def _one(session: CliSession, client: AsyncClient, job_id: int, name: str | None, *, patch: bool) -> None:
    found = await client.compare_job(job_id)
    differing = [each async for each in _differing(client, found)]
    if name is not None and not any(each.name == name for each in differing):
        said = f"No output {name!r} of job {job_id} has changed."
        raise CliError(said, common.FAILED, "Without --output it is listed which have.")
    if session.json:
        import msgspec

        whole = msgspec.structs.replace(found, differing=differing, next_cursor=None)
        click.echo(output.json_text(whole))
        return
    if name is None:
        _tell(found, differing)
    changed = [each for each in differing if each.change in ("changed", "unproven")]
    for each in changed:
        if each.name == name or (name is None and (patch or len(differing) == 1)):
            click.echo(await _lines(client, found, each), nl=False)
    if found.result == "changed" and not _counts(found).total():
        click.echo(await _result_lines(client, found), nl=False)


async def _differing(client: AsyncClient, first: Comparison) -> AsyncIterator[ComparedOutput]:
    page = first
    while True:
        for each in page.differing:
            yield each
        if page.next_cursor is None:
            return
        page = await client.compare_job(first.job_id, cursor=page.next_cursor, limit=500)


def _tell(found: Comparison, differing: list[ComparedOutput]) -> None:
    output.print_fields(
        [
            ("job", found.job_id),
            ("result", found.change),
            ("now", _made(found.attempt, found.made_by)),
            ("before", _made(found.former_attempt, found.former_made_by)),
            ("outputs", _said(_counts(found))),
            ("kept until", found.until),
        ]
    )
    if differing:
        rows = [(each.change, *_sizes(each), each.name) for each in differing]
        output.print_table(("CHANGE", "BEFORE", "NOW", "SOURCE"), rows)


def _made(attempt: int, by: str | None) -> str:
    return f"attempt {attempt}" + (f" ({by})" if by is not None else "")


def _sizes(each: ComparedOutput) -> tuple[object, object]:
    """In bytes, as far as they are known, of what was there before and of what is there now."""
    before = each.former.size if each.former is not None else None
    return ("" if before is None else before, "" if each.size is None else each.size)


async def _lines(client: AsyncClient, found: Comparison, each: ComparedOutput) -> str:
    """The lines that have changed in a text; of anything else, that it has."""
    from blobforge.comparison import lines_of, text_diff

    assert each.former is not None
    sizes = (each.former.size or 0, each.size or 0)
    if max(sizes) > LARGEST:
        return f"{output.one_line(each.name)}: more than {LARGEST >> 20} MiB, not compared line by line\n"
    was = await _read(client, found.job_id, each.former.name, former=True)
    now = await _read(client, found.job_id, each.name, former=False)
    if was == now:
        return f"{output.one_line(each.name)}: the same bytes\n"
    texts = (_text(was), _text(now))
    if texts[0] is None or texts[1] is None:
        return f"{output.one_line(each.name)}: no text; {len(was):,} bytes before, {len(now):,} now\n"
    names = (
        f"{output.one_line(each.former.name)}\tattempt {found.former_attempt}",
        f"{output.one_line(each.name)}\tattempt {found.attempt}",
    )
    return _shown(text_diff(lines_of(texts[0]), lines_of(texts[1]), names=names))


async def _read(client: AsyncClient, job_id: int, name: str, *, former: bool) -> bytes:
    from blobforge.client import ApiError

    try:
        url = (await client.output_url(job_id, name, former=former)).url
    except ApiError as error:
        if error.type != "no-such-object":
            raise
        # The only output of its result is on record without a name.
        url = (await client.output_url(job_id, former=former)).url
    with tempfile.TemporaryDirectory(prefix="blobforge-") as folder:
        target = Path(folder) / "output"
        await client.download(url, target)
        return target.read_bytes()


async def _result_lines(client: AsyncClient, found: Comparison) -> str:
    """What has changed in the JSON that the worker sent, member by member."""
    import msgspec

    from blobforge.comparison import lines_of, text_diff

    texts = [await client.job_result(found.job_id, former=former) for former in (True, False)]
    was, now = (lines_of(msgspec.json.format(text, indent=2).decode()) for text in texts)
    names = (f"result\tattempt {found.former_attempt}", f"result\tattempt {found.attempt}")
    return _shown(text_diff(was, now, names=names))


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _shown(lines: Any) -> str:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return "".join(output.coloured(output.many_lines(line), colours.get(line[:1])) + "\n" for line in lines)
