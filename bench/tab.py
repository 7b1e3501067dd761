"""What does a tab of the dashboard cost the browser while very much happens?

    python -m bench.tab [--changes 1000] [--lines 1000] [--seconds 20] [--quick] [--baseline] [--plot]

Chromium without a screen, one tab at a time, in front, for some seconds each: the list of jobs and the overview while
so many jobs change each second, and the page of a job that runs, beside these, while its converter prints so many
lines. `per second`: the changes that were made; `tab CPU`: the share of one core that all renderers of the browser
took together, of which the goal is 0.15.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import trio
from msgspec import Meta

from bench import filling, servers
from bench.plan import Plan, command
from bench.report import Chart, Report

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
JOBS = 5_000  # that are there before
AT_ONCE = 500  # submissions of one request
TICK = 0.01  # seconds: CPU is counted in these
TICKS = 4  # a second, in which lines are printed
LINE = "page {:06} was read: 4,096 words, 12 pictures, 3 tables\n"


class Tabs(Plan, frozen=True, kw_only=True):
    changes: Annotated[int, Meta(description="changes of jobs a second")] = 1_000
    lines: Annotated[int, Meta(description="lines that a converter prints in a second")] = 1_000
    seconds: Annotated[float, Meta(description="for which each tab is open")] = 20.0


FULL = Tabs()
QUICK = Tabs(seconds=3.0, warmup=0.5)


class Flood:
    """Changes jobs and prints lines, through the API."""

    def __init__(self, client: httpx.Client, plan: Tabs) -> None:
        self._http = client
        self._plan = plan
        self._round = 0
        self._printed = 0  # characters
        self.lines = 0
        self.changed = 0
        self.errors = 0
        jobs = [{"type": "flood", "source_hash": f"{number:064x}"} for number in range(plan.changes)]
        for start in range(0, len(jobs), AT_ONCE):
            self._call("/api/jobs/batch", {"jobs": jobs[start : start + AT_ONCE]})
        self._call("/api/workers/register", {"id": "printer", "type": "pdf"})
        grant = self._call("/api/jobs/claim", {"worker_id": "printer", "job_type": "pdf"})
        self.job: int = grant["job"]["id"]
        self._lease = grant["lease"]

    def tick(self) -> None:
        self._round += 1
        if self._round % TICKS == 0:
            wanted = {"type": "flood", "priority": 1 + self._round // TICKS % 5}
            self.changed += self._call("/api/jobs/priority", wanted)["changed"]
        first, self.lines = self.lines, self.lines + self._plan.lines // TICKS
        text = "".join(LINE.format(number) for number in range(first, self.lines))
        body = {"worker_id": "printer", "lease": self._lease, "start": self._printed, "text": text}
        self._call(f"/api/jobs/{self.job}/log", body)
        self._printed += len(text)

    def _call(self, path: str, body: Any) -> Any:
        answer = self._http.post(path, json=body)
        self.errors += not answer.is_success
        return answer.json() if answer.content else None


async def run(plan: Tabs) -> Report:
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        filling.history(Path(folder) / "blobforge.db", JOBS)
        with servers.blobforge(Path(folder), BLOBFORGE_WORKER_TIMEOUT="600") as server:
            rows = await trio.to_thread.run_sync(_measure, server, plan)
    chart = Chart(x="what", y="tab_cpu", series="how", x_label="tab", bars=True)
    title = f"A tab beside {plan.changes:,} changes and {plan.lines:,} printed lines a second"
    return Report("tab", title, rows, headline="tab_cpu", chart=chart)


def _measure(server: servers.Server, plan: Tabs) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {server.token}"}
    rows = []
    with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as client:
        flood = Flood(client, plan)
        with _signed_in(server) as context:
            for what, path in (
                ("list of jobs", "/jobs"), ("overview", "/"), ("page of a job that runs", f"/jobs/{flood.job}"),
            ):  # fmt: skip
                page = context.new_page()
                page.goto(path)
                _go_on(flood, plan.warmup)
                before, began, changed = _renderers(), time.monotonic(), flood.changed
                _go_on(flood, plan.seconds)
                took = time.monotonic() - began
                row = {"what": what, "how": "Chromium", "per_second": (flood.changed - changed) / took}
                row |= {"tab_cpu": max(TICK, _renderers() - before) / took, "errors": flood.errors}
                row["errors"] += page.inner_text("#connection") != "live"
                if path == f"/jobs/{flood.job}":  # all lines come to it, or the figure is of less
                    page.wait_for_timeout(3_000)
                    row["errors"] += LINE.format(flood.lines - 1)[:12] not in page.inner_text("#live-log")
                rows.append(row)
                page.close()
    return rows


def _go_on(flood: Flood, seconds: float) -> None:
    end = time.monotonic() + seconds
    following = time.monotonic()
    while time.monotonic() < end:
        flood.tick()
        following += 1 / TICKS
        time.sleep(max(0.0, following - time.monotonic()))


def _renderers() -> float:
    """CPU seconds of all processes that draw pages."""
    found = 0.0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                times = process.cpu_times()
                found += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return found


@contextmanager
def _signed_in(server: servers.Server) -> Iterator[Any]:
    """A browser of the administrator."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - no other benchmark needs it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(base_url=server.url, viewport={"width": 1360, "height": 860})
        form = {"token": server.token, "next": "/"}
        context.request.post("/login", form=form, headers={"Origin": server.url}, max_redirects=0)
        yield context
        browser.close()


if __name__ == "__main__":
    command("tab", __doc__ or "", FULL, QUICK, run)
