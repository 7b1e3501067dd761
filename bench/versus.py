"""How much faster is this checkout than an earlier revision? Both are asked in turns, in one run, on one machine.

    python -m bench.versus [--revision 27f53d8] [--workers 64,16,1] [--polls 10000] [--what cycles,beats,objects,...]
                           [--quick] [--baseline] [--plot]

The revision is checked out into a temporary folder and runs on the same Python with the same packages. Each server
has a database of its own, made by its own code, and signs for S3; tokens are checked and requests logged. `times` is
this checkout's median beside the revision's; `CPU us` is what the server's process takes for one of what is counted.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench import claim, idle, objects, servers
from bench.goals import NOW
from bench.load import FAILED, Connection, TakeTurn, Tally, Turn, connected, measure, side_by_side
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import ROOT, Server

WHAT = ("cycles", "claim_next", "beats", "batches", "objects", "polls")

PLAIN = "Content-Type: application/octet-stream\r\n"  # what a signed URL takes


class Versus(Plan, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(description="length of one run")] = 3.0
    revision: Annotated[str, Meta(description="what to compare with: anything that git knows")] = "27f53d8"
    workers: Annotated[tuple[int, ...], Meta(description="numbers of workers")] = (64, 16, 1)
    polls: Annotated[int, Meta(description="idle long polls")] = 10_000
    poll_seconds: Annotated[float, Meta(description="length of the run beside the idle polls")] = 15.0
    megabytes: Annotated[int, Meta(description="size of the object that goes to and from the embedded store")] = 64
    jobs: Annotated[int, Meta(description="jobs to lay in; the run ends with an error when they run out")] = 400_000
    what: Annotated[tuple[str, ...], Meta(description=f"what is measured: {', '.join(WHAT)}")] = WHAT
    s3: Annotated[bool, Meta(description="sign for a real S3 server (yes) or the embedded store (no)")] = True


FULL = Versus()
QUICK = Versus(
    seconds=0.5, warmup=0.2, runs=1, workers=(16, 1), polls=200, poll_seconds=2, megabytes=8, jobs=20_000, s3=False
)


async def beat(connection: Connection, number: int) -> Turn:
    answer = await connection.post(f"/api/workers/bench-{number}/heartbeat", b"{}")
    return Turn(1) if answer.status == 200 else FAILED


async def run(plan: Versus) -> Report:
    if unknown := set(plan.what) - set(WHAT):
        raise BenchError(f"--what: {', '.join(sorted(unknown))} is none of {', '.join(WHAT)}")
    servers.may_open(plan.polls + 500)
    rows: list[dict[str, Any]] = []
    with checked_out(plan.revision) as earlier, ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blobforge-bench-")))
        (place / "s3").mkdir()
        variables = stack.enter_context(objects.store(place / "s3", s3=plan.s3))
        running: dict[str, Server] = {}
        if set(plan.what) - {"polls", "objects"}:
            for name, root in ((plan.revision, earlier), (NOW, ROOT)):
                folder = place / f"{len(running)}"
                fill(root, folder, plan.jobs)
                running[name] = stack.enter_context(servers.blobforge_of(root, folder, **variables))
                await claim.register(running[name], max(plan.workers))
            for what, count, turn in _subjects(plan):
                rows += await _in_turns(plan, running, what, count, turn)
        if "objects" in plan.what:
            rows += await _objects(plan, {plan.revision: earlier, NOW: ROOT}, place)
        if "polls" in plan.what:
            rows += await _idle(plan, {plan.revision: earlier, NOW: ROOT}, place)
    chart = Chart(x="kind", y="per_second", series="how", x_label="", log_y=True, bars=True)
    return Report("versus", f"This checkout beside {plan.revision}", rows, chart=chart)


def _subjects(plan: Versus) -> Iterator[tuple[str, int, Callable[[], TakeTurn]]]:
    """What is measured with how many workers, and what makes a turn: each server has its own."""
    for count in plan.workers:
        if "cycles" in plan.what:
            yield f"claim+complete cycles, {count} workers", count, lambda: claim.single
        if "claim_next" in plan.what:
            yield f"claim_next cycles, {count} workers", count, claim.claim_next
        if "beats" in plan.what:
            yield f"heartbeats, {count} workers", count, lambda: beat
    if "batches" in plan.what:
        count = min(16, max(plan.workers))
        yield f"jobs in batches of 100, {count} workers", count, lambda: partial(claim.batch, 100)


async def _in_turns(
    plan: Versus, running: dict[str, Server], what: str, count: int, turn: Callable[[], TakeTurn]
) -> list[dict[str, Any]]:
    subjects: dict[str, Callable[[], Awaitable[Tally]]] = {}
    for name, server in running.items():
        take = turn()
        await measure(server, take, clients=count, seconds=plan.warmup)
        subjects[name] = partial(measure, server, take, clients=count, seconds=plan.seconds)
    found = await side_by_side(plan.runs, subjects)
    return _rows(plan, what, {"workers": count}, found)


async def _objects(plan: Versus, roots: dict[str, Path], place: Path) -> list[dict[str, Any]]:
    """MB a second to and from the embedded store, over one connection; each PUT ends with a sync of the disk."""
    content = bytes(plan.megabytes * 1_000_000)
    digest = hashlib.sha256(content).hexdigest()
    puts: dict[str, Callable[[], Awaitable[Tally]]] = {}
    gets: dict[str, Callable[[], Awaitable[Tally]]] = {}
    with ExitStack() as stack:
        for name, root in roots.items():
            folder = place / f"objects-{len(puts)}"
            folder.mkdir()
            server = stack.enter_context(servers.blobforge_of(root, folder))
            async with connected(server) as connection:
                job = await connection.good("/api/jobs", {"type": claim.TYPE, "source_hash": digest})
                request = connection.request("PUT", _path(job["upload_url"]), content, headers=PLAIN)
                put = partial(_transfer, request, plan.megabytes, 0)
                if (await put(connection, 0)).errors:
                    raise BenchError("the embedded store does not take the object")
                url = (await connection.get(f"/api/files/{job['job_id']}/source/url")).json()["url"]
                request = connection.request("GET", _path(url), headers="")
                get = partial(_transfer, request, plan.megabytes, len(content))
            puts[name] = partial(measure, server, put, clients=1, seconds=plan.seconds)
            gets[name] = partial(measure, server, get, clients=1, seconds=plan.seconds)
        rows = _rows(plan, "MB put into the embedded store", {"workers": 1}, await side_by_side(plan.runs, puts))
        return rows + _rows(
            plan, "MB got from the embedded store", {"workers": 1}, await side_by_side(plan.runs, gets)
        )


async def _transfer(request: bytes, megabytes: int, length: int, connection: Connection, _: int) -> Turn:
    """`length` is that of the answer; 0: whatever it is."""
    status, size = await connection.drain(request)
    return Turn(megabytes) if status in (200, 201) and (not length or size == length) else FAILED


def _path(url: str) -> str:
    return "/" + url.partition("://")[2].partition("/")[2]


async def _idle(plan: Versus, roots: dict[str, Path], place: Path) -> list[dict[str, Any]]:
    """One after the other: ten thousand polls take their memory once."""
    asked = idle.Idle(polls=(plan.polls,), seconds=plan.poll_seconds, warmup=plan.warmup, runs=1)
    found: dict[str, dict[str, Any]] = {}
    for name, root in roots.items():
        folder = place / f"idle-{len(found)}"
        fill(root, folder, idle.jobs_for(asked))
        with servers.blobforge_of(root, folder) as server:
            row = await idle.with_fleet(server, plan.polls, asked)
            found[name] = row | {"per_second": round(row["turns"] / plan.poll_seconds, 1)}  # of the probes
    return _rows(plan, f"{plan.polls:,} idle long polls", {"polls": plan.polls}, found)


def _rows(plan: Versus, what: str, kind: dict[str, int], found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    before, now = found[plan.revision], found[NOW]
    rows: list[dict[str, Any]] = []
    for name, row in ((plan.revision, before), (NOW, now)):
        rows.append(row | {"what": f"{what}: {name}", "how": name, "kind": what} | kind)
    for share, value in (("times", "per_second"), ("cpu_times", "cpu_us"), ("memory_times", "rss_mib")):
        if before.get(value) and now.get(value):
            rows[-1][share] = round(now[value] / before[value], 3)
    return rows


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with that revision of the project. Raises BenchError where git does not know it."""

    def git(*arguments: str) -> None:
        try:
            subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BenchError(f"git {arguments[0]}: {getattr(error, 'stderr', error)}") from error

    with tempfile.TemporaryDirectory(prefix="blobforge-revision-") as folder:
        root = Path(folder) / "checkout"
        git("worktree", "add", "--detach", str(root), revision)
        try:
            yield root
        finally:
            git("worktree", "remove", "--force", str(root))


def fill(root: Path, folder: Path, jobs: int) -> None:
    """A data folder with pending jobs, made by the code of that checkout: its schema is its own."""
    folder.mkdir()
    code = f"import pathlib, bench.filling as f; f.pending(pathlib.Path({str(folder)!r}) / 'blobforge.db', {jobs})"
    subprocess.run([sys.executable, "-c", code], cwd=root, env=servers.environment(root), check=True)


if __name__ == "__main__":
    command("versus", __doc__ or "", FULL, QUICK, run)
