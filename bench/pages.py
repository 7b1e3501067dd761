"""How long does the server take for each page of the dashboard, with few jobs and with a million?

    python -m bench.pages [--few 1000] [--many 1000000] [--rounds 30] [--baseline]

Two servers side by side, asked in turns, so that both see the same machine. What counts is the server's own time
(`Server-Timing`), and its ratio: the goal is at most 1.5.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from actors.effects import perform
from actors.effects.step import Rules, Step
from actors.messages import Claim, Complete, Fail, Granted, NewJob, ObjectSeen, Register, Seen, Submit
from bench import servers
from bench.report import RESULTS, surroundings
from blobforge.access import Caller, Scope
from blobforge.clock import wall_ms
from blobforge.store.database import open_writer
from blobforge.store.store import Store

ADMIN = Caller(scopes=frozenset({Scope.ADMIN}), token_id=1, name="bench")
TYPES = ("pdf", "epub", "ocr")
WORKERS = 50
BATCH = 500
RUNNING = 40  # jobs that are left running; a fleet of the same size in both
RARE = 60  # jobs with a tag that hardly any job has
GOAL = 1.5
# Pages of lists are asked for with as many rows as even the small database has.
PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs, dead": "/jobs?status=dead",
    "jobs, pdf of priority 3": "/jobs?type=pdf&priority=3",
    "jobs, by a common tag": "/jobs?tag=library",
    "jobs, by a rare tag": "/jobs?tag=rare",
    "jobs, of a worker": "/jobs?worker=bench-1&limit=5",
    "jobs, text in the path": "/jobs?q=volume",
    "jobs, one cause": "/jobs?failure=1&limit=5",
    "jobs, of the last day": "/jobs?created_since={day}",
    "job": "/jobs/500",
    "failures": "/failures",
    "workers": "/workers",
    "worker": "/workers/bench-1",
    "tokens": "/admin/tokens",
    "audit": "/admin/audit",
    "settings": "/admin/settings",
    "history of a week": "/api/stats/history?window=7d",
}


def furnish(database: Path, jobs: int) -> None:
    """Half of the jobs have ended, most of them well, through the real effects; the other half waits."""
    store = Store(open_writer(database))
    dice = random.Random(1)
    ended = 0
    for start in range(0, jobs, BATCH):
        with store.transaction():
            # As if they had come over the last ten days.
            step = Step(store, Rules(), wall_ms() - round(864_000_000 * (1 - start / jobs)), dice)
            if start == 0:
                for number in range(WORKERS):
                    perform(step, Register(ADMIN, f"bench-{number}", TYPES[number % len(TYPES)]))
            for number in range(start, min(start + BATCH, jobs)):
                _submit(step, number)
            while ended < (start + BATCH) // 2:
                ended += _work(step, dice)
    with store.transaction():
        step = Step(store, Rules(), wall_ms(), dice)
        for number in range(RUNNING):
            perform(step, Claim(ADMIN, f"bench-{number}", (TYPES[number % len(TYPES)],)))
    store.close()


def _submit(step: Step, number: int) -> None:
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
    shelf = "rare" if number < RARE else f"shelf-{number % 1000}"
    job = NewJob(
        TYPES[number % len(TYPES)], digest, f"library/shelf-{number % 1000}/volume-{number}.pdf", 1_000_000,
        priority=1 + number % 5, max_attempts=1, tags=("library", shelf),
    )  # fmt: skip
    perform(step, Submit(job, ObjectSeen(Seen.VERIFIED, 1_000_000, digest)))


def _work(step: Step, dice: random.Random) -> int:
    worker = dice.randrange(WORKERS)
    name = f"bench-{worker}"
    granted = perform(step, Claim(ADMIN, name, (TYPES[worker % len(TYPES)],), limit=20))
    assert isinstance(granted, Granted)
    for job in granted.jobs:
        if dice.random() < 0.05:
            error = f"page {dice.randrange(900)} cannot be read"
            perform(step, Fail(ADMIN, name, job.id, error, job.lease, kind=f"Error{dice.randrange(3)}"))
        else:
            perform(step, Complete(ADMIN, name, job.id, job.lease))
    return len(granted.jobs) or BATCH


def timed(client: httpx.Client, path: str) -> float:
    """Milliseconds that the server says it took; for JSON, the time to the answer."""
    began = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
    said = answer.headers.get("Server-Timing", "")
    return float(said.partition("dur=")[2]) if "dur=" in said else took


def main(options: argparse.Namespace) -> None:
    day = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 86_400))
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as scratch, ExitStack() as stack:
        clients = []
        for name, jobs in (("few", options.few), ("many", options.many)):
            folder = Path(scratch) / name
            folder.mkdir()
            began = time.perf_counter()
            furnish(folder / "blobforge.db", jobs)
            print(f"{jobs:,} jobs laid in within {time.perf_counter() - began:.0f} s")
            url, token = stack.enter_context(servers.blobforge(folder))
            headers = {"Authorization": f"Bearer {token}"}
            clients.append(
                stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False))
            )
        rows = [_measure(what, path.format(day=day), clients, options.rounds) for what, path in PAGES.items()]
    _publish(rows, options)


def _measure(what: str, path: str, clients: list[httpx.Client], rounds: int) -> dict[str, Any]:
    few: list[float] = []
    many: list[float] = []
    for turn in range(rounds + 3):
        for client, times in zip(clients, (few, many), strict=True):
            took = timed(client, path)
            if turn >= 3:  # the first ones warm templates and pages of the database
                times.append(took)
    ratio = median(many) / median(few)
    return {
        "what": what, "few_ms": round(median(few), 2), "many_ms": round(median(many), 2),
        "many_p90_ms": round(quantiles(many, n=10)[-1], 2), "ratio": round(ratio, 2),
    }  # fmt: skip


def _publish(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    table = Table(title=f"Server time of each page, {options.few:,} and {options.many:,} jobs")
    for column in ("page", "few ms", "many ms", "many p90", "ratio", f"within {GOAL}"):
        table.add_column(column, justify="left" if column == "page" else "right")
    for row in rows:
        table.add_row(
            row["what"], f"{row['few_ms']:.2f}", f"{row['many_ms']:.2f}", f"{row['many_p90_ms']:.2f}",
            f"{row['ratio']:.2f}", "yes" if row["ratio"] <= GOAL else "NO",
        )  # fmt: skip
    Console(width=120).print(table)
    path = RESULTS / "pages.json" if options.baseline else RESULTS / "local" / "pages.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"few": options.few, "many": options.many, "rounds": options.rounds}
    path.write_text(json.dumps(surroundings() | facts | {"rows": rows}, indent=1) + "\n")
    print(f"written to {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1000, help="jobs of the first server (default 1,000)")
    parser.add_argument("--many", type=int, default=1_000_000, help="jobs of the second one (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=30, help="requests for each page and server (default 30)")
    parser.add_argument("--baseline", action="store_true", help="write the result that is committed")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
