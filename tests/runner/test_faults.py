"""`blobforge work` as a process of its own against a real server, in what goes wrong in the field: it is killed,
stopped, cut off, told to end, and handed commands that hang, leak children or print a gigabyte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures.forked import Forked
from tests.fixtures.server import ServerProcess, serving
from tests.runner.proxy import proxy
from tests.runner.test_process import alive

LEASE = 2.0  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all: each test has a job type of its own."""
    folder = tmp_path_factory.mktemp("faults") / "data"
    settings = {"worker_timeout": LEASE, "heartbeat_interval": 0.3, "retry_backoff": 0.05, "max_losses": 5}
    with serving(folder, **settings) as process:
        yield process


class Field:
    """One test's jobs and workers."""

    def __init__(self, server: ServerProcess, folder: Path, type_: str) -> None:
        self.server = server
        self.folder = folder
        self.type = type_
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.http = server.client()
        self.workers: list[Forked | subprocess.Popen[str]] = []

    def submit(self, content: str = "", **fields: Any) -> int:
        source = f"{self.type} {content}".encode()
        body = {"type": self.type, "source_hash": hashlib.sha256(source).hexdigest(), **fields}
        answer = self.http.post("/api/jobs", json=body).raise_for_status().json()
        self.http.put(answer["upload_url"], content=source).raise_for_status()
        return int(answer["job_id"])

    def job(self, job_id: int) -> Any:
        return self.http.get(f"/api/jobs/{job_id}").raise_for_status().json()

    def becomes(self, job_id: int, *statuses: str) -> Any:
        """The job, once it has one of these."""
        found: list[Any] = []

        def there() -> bool:
            found[:] = [self.job(job_id)]
            return found[0]["status"] in statuses

        until(there)
        return found[0]

    def work(self, command: str, *options: str, url: str | None = None, **environment: str) -> Forked:
        """`blobforge work`; what it says goes to `said`."""
        arguments = ["work", "--type", self.type, "--exec", command, "--poll-wait", "1", "--min-free", "0"]
        arguments += ["--workdir", str(self.scratch), *options]
        with (self.folder / "said").open("a") as said:
            variables = self._variables(url) | environment
            worker = Forked(arguments, environment=variables, folder=self.folder, output=said, errors=said)
        self.workers.append(worker)
        return worker

    def start(self, *arguments: str, url: str | None = None, **environment: str) -> subprocess.Popen[str]:
        """A Python program whose output goes to `said`; it is ended with the test at the latest."""
        with (self.folder / "said").open("a") as said:
            worker = subprocess.Popen(
                [sys.executable, *arguments],
                env=self._variables(url) | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                text=True,
            )
        self.workers.append(worker)
        return worker

    def _variables(self, url: str | None) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
        return clean | {"BLOBFORGE_SERVER_URL": url or self.server.url, "BLOBFORGE_API_TOKEN": self.server.token}

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def pids(self, count: int) -> list[int]:
        """What a command has written to its pid files."""
        files = [self.folder / f"pid-{number}" for number in range(count)]
        until(lambda: all(file.exists() for file in files))
        return [int(file.read_text()) for file in files]

    def say_pid(self, number: int) -> str:
        file = self.folder / f"pid-{number}"
        return f"echo $$ > {file}.new; mv {file}.new {file};"

    def script(self, text: str) -> str:
        """A command line that runs a shell script."""
        file = self.folder / f"script-{len(list(self.folder.glob('script-*')))}"
        file.write_text(text)
        return f"sh {file} {{source}} {{output}}"

    def close(self) -> None:
        self.http.close()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
                try:
                    worker.wait(15)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()


def until(true: Callable[[], object]) -> None:
    """Return once `true()` is; the test's own timeout is the limit."""
    while not true():
        time.sleep(0.02)


def outcomes(job: Any) -> list[str]:
    return [attempt["outcome"] for attempt in job["attempt_history"]]


@pytest.fixture
def field(server: ServerProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Field]:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    opened = Field(server, tmp_path, f"type-{name}")
    try:
        yield opened
    finally:
        opened.close()


def test_killed_it_leaves_no_process_and_the_next_one_sweeps_its_scratch(field: Field) -> None:
    job_id = field.submit()
    hang = field.script(f"(setsid sh -c '{field.say_pid(1)} sleep 1000') & {field.say_pid(0)} sleep 1000")
    worker = field.work(hang)
    pids = field.pids(2)
    worker.kill()
    worker.wait()
    until(lambda: not any(map(alive, pids)))
    (left,) = field.scratch.iterdir()
    second = field.work("cp {source} {output}", "--max-jobs", "1")
    job = field.becomes(job_id, "completed")
    assert outcomes(job) == ["lost", "completed"]
    assert second.wait(30) == 0
    assert not left.exists()
    assert list(field.scratch.iterdir()) == []


def _guards(worker: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(worker).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that is asked for its load ends meanwhile
            if "strays.py" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_a_guard_that_was_killed_is_replaced(field: Field) -> None:
    worker = field.work(field.script(f"{field.say_pid(0)} sleep 1000"))
    until(lambda: "registered" in field.said())
    (guard,) = _guards(worker.pid)
    guard.kill()
    until(lambda: not alive(guard.pid))  # on a busy machine what is killed goes on for a moment
    field.submit()
    (pid,) = field.pids(1)
    assert "guard-lost" in field.said()
    worker.kill()
    worker.wait()
    until(lambda: not alive(pid))


def test_stopped_past_its_lease_it_goes_on_where_nobody_else_did(field: Field) -> None:
    job_id = field.submit()
    go_on = field.folder / "go-on"
    waits = field.script(f"{field.say_pid(0)} while [ ! -e {go_on} ]; do sleep 0.02; done; cp $1 $2")
    worker = field.work(waits, "--max-jobs", "1")
    field.pids(1)
    worker.send_signal(signal.SIGSTOP)
    field.becomes(job_id, "pending")
    worker.send_signal(signal.SIGCONT)
    until(lambda: "its lease has ended; the work goes on" in field.said())
    go_on.touch()
    assert worker.wait(30) == 0
    job = field.job(job_id)
    assert (job["status"], outcomes(job)) == ("completed", ["completed"])


def test_cut_off_from_the_server_its_result_is_kept_and_handed_in_late(field: Field) -> None:
    job_id = field.submit()
    go_on = field.folder / "go-on"
    waits = field.script(f"{field.say_pid(0)} while [ ! -e {go_on} ]; do sleep 0.02; done; cp $1 $2")
    with proxy(field.server.url) as cable:
        worker = field.work(waits, "--max-jobs", "1", url=cable.url)
        field.pids(1)
        cable.cut()
        field.becomes(job_id, "pending")  # the lease has ended
        go_on.touch()  # the command ends, and nobody is there to take its result
        seen = cable.refused
        until(lambda: cable.refused > seen + 1)
        assert worker.poll() is None
        cable.mend()
        assert worker.wait(60) == 0
    job = field.job(job_id)
    assert (job["status"], outcomes(job)) == ("completed", ["completed"])


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--timeout", "1s"], "Timeout"),
        (["--stall-timeout", "1s", "--progress-regex", r"(\d+)%"], "Stalled"),
    ],
    ids=["timeout", "stall"],
)
def test_a_command_that_hangs_is_killed_with_all_its_children(field: Field, options: list[str], kind: str) -> None:
    job_id = field.submit(max_attempts=1)
    hang = (
        f"echo to stdout; echo to stderr >&2; (setsid sh -c '{field.say_pid(1)} sleep 1000') & {field.say_pid(0)} "
        "while true; do echo busy; sleep 0.1; done"  # busy, yet without progress
    )
    worker = field.work(field.script(hang), "--max-jobs", "1", *options)
    pids = field.pids(2)
    assert worker.wait(30) == 1
    until(lambda: not any(map(alive, pids)))
    (attempt,) = field.job(job_id)["attempt_history"]
    assert (attempt["outcome"], attempt["kind"]) == ("failed", kind)
    assert "--- stderr ---\nto stderr" in attempt["log_tail"]
    assert "--- stdout ---\nto stdout\nbusy" in attempt["log_tail"]


def test_a_command_that_leaks_children_leaves_none(field: Field) -> None:
    job_id = field.submit()
    leak = f"(setsid sh -c '{field.say_pid(0)} sleep 1000') & (sleep 1000 & echo $! > {field.folder}/pid-1); cp $1 $2"
    worker = field.work(field.script(leak), "--max-jobs", "1")
    assert worker.wait(30) == 0
    assert field.job(job_id)["status"] == "completed"
    pids = [int(file.read_text()) for file in field.folder.glob("pid-[01]")]
    until(lambda: not any(map(alive, pids)))


def test_a_command_that_prints_a_gigabyte_does_not_fill_the_memory(field: Field) -> None:
    job_id = field.submit()
    worker = field.work(
        field.script("head -c 1073741824 /dev/zero; echo the end; exit 3"), "--progress-regex", "(1)%"
    )
    until(lambda: any(attempt.get("log_tail") for attempt in field.job(job_id)["attempt_history"]))
    status = Path(f"/proc/{worker.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
    assert peak < 256 * 1024, f"{peak} KiB at its peak"
    (attempt, *_) = field.job(job_id)["attempt_history"]
    assert "the end of 1,073,741,832 bytes" in attempt["log_tail"]
    assert attempt["log_tail"].rstrip().endswith("the end")
    assert len(attempt["log_tail"]) < 20_000


def test_told_to_stop_it_finishes_within_its_grace(field: Field) -> None:
    job_id = field.submit()
    go_on = field.folder / "go-on"
    waits = field.script(f"{field.say_pid(0)} while [ ! -e {go_on} ]; do sleep 0.02; done; cp $1 $2")
    worker = field.work(waits, "--grace", "1m")
    field.pids(1)
    worker.terminate()
    until(lambda: "stopping: 1 running job(s), 60 s to finish" in field.said())
    other = field.submit("that nobody takes any more")
    go_on.touch()
    assert worker.wait(30) == 0
    assert field.job(job_id)["status"] == "completed"
    assert field.job(other)["status"] == "pending"


def test_started_by_nohup_it_outlives_its_terminal(field: Field) -> None:
    job_id = field.submit()
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    go_on = field.folder / "go-on"
    waits = field.script(f"{field.say_pid(0)} while [ ! -e {go_on} ]; do sleep 0.02; done; cp $1 $2")
    command = [sys.executable, "-m", "blobforge.cli", "work", "--type", field.type, "--exec", waits]
    become = "os.execv(sys.argv[1], sys.argv[1:])"
    worker = field.start("-c", ignore + become, *command, "--workdir", str(field.scratch), "--max-jobs", "1")
    field.pids(1)
    worker.send_signal(signal.SIGHUP)
    go_on.touch()
    assert worker.wait(30) == 0
    assert field.job(job_id)["status"] == "completed"
    assert "stopping" not in field.said()


@pytest.mark.parametrize("how", ["twice", "out of time"])
def test_told_twice_or_out_of_time_it_gives_the_job_back(field: Field, how: str) -> None:
    job_id = field.submit()
    grace = "1m" if how == "twice" else "0.5s"
    worker = field.work(field.script(f"{field.say_pid(0)} sleep 1000"), "--grace", grace)
    (pid,) = field.pids(1)
    worker.terminate()
    until(lambda: "stopping" in field.said())
    if how == "twice":
        worker.terminate()
    assert worker.wait(30) == 0
    until(lambda: not alive(pid))
    job = field.job(job_id)
    assert (job["status"], job["attempts"], outcomes(job)) == ("pending", 0, ["released"])


@pytest.mark.parametrize("how", ["notice alone", "after SIGTERM", "at SIGTERM"])
def test_where_its_machine_is_taken_away_it_gives_the_job_back_at_once(field: Field, how: str) -> None:
    job_id = field.submit()
    notice = field.folder / "preempted"
    waits = field.script(f"{field.say_pid(0)} sleep 1000")
    worker = field.work(waits, "--grace", "1h", "--preemption-notice", str(notice))
    (pid,) = field.pids(1)
    if how == "after SIGTERM":
        worker.terminate()
        until(lambda: "stopping: 1 running job(s), 3600 s" in field.said())
    notice.touch()
    if how == "at SIGTERM":
        worker.terminate()
    assert worker.wait(30) == 0
    until(lambda: not alive(pid))
    job = field.job(job_id)
    assert (job["status"], job["attempts"], outcomes(job)) == ("pending", 0, ["released"])
    assert [each["kind"] for each in job["attempt_history"]] == ["preempted"]
    assert field.said().count("this machine is taken away: 1 running job(s), given back") == 1


def test_outside_its_window_and_without_room_it_takes_nothing(field: Field) -> None:
    job_id = field.submit()
    later = [datetime.now() + timedelta(hours=hours) for hours in (2, 3)]
    window = "-".join(f"{moment:%H:%M}" for moment in later)
    copy = "cp {source} {output}"
    assert field.work(copy, "--idle-exit", "0.5", "--run-window", window).wait(30) == 0
    assert f"taking no jobs: outside {window}" in field.said()
    assert field.work(copy, "--idle-exit", "0.5", "--min-free", "900000T").wait(30) == 0
    assert "are to stay free" in field.said()
    assert field.job(job_id)["status"] == "pending"
    around = f"{datetime.now() - timedelta(hours=1):%H:%M}-{later[0]:%H:%M}"
    assert field.work(copy, "--once", "--run-window", window, "--run-window", around).wait(30) == 0
    assert field.job(job_id)["status"] == "completed"


def test_it_counts_its_jobs_and_says_what_it_is(field: Field) -> None:
    jobs = [field.submit(str(number)) for number in range(3)]
    worker = field.work(
        *("cp {source} {output}", "--max-jobs", "2", "--concurrency", "2", "--json", "--quiet", "--worker-id"),
        *(f"facts-{field.type}", "--label", "gpu", "--label", "ocr"),
    )
    assert worker.wait(30) == 0
    assert sorted(field.job(job)["status"] for job in jobs) == ["completed", "completed", "pending"]
    (listed,) = [one for one in field.http.get("/api/workers").json() if one["id"] == f"facts-{field.type}"]
    assert listed["labels"] == ["gpu", "ocr"]
    assert listed["metadata"]["memory"] > 0
    assert listed["metadata"]["concurrency"] == 2
    assert field.work("cp {source} {output}", "--json", "--exit-when-idle", "0.3").wait(30) == 0
    lines = [json.loads(line) for line in field.said().splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == [
        *("registered", "job-started", "job-completed", "idle-exit", "unregistered")
    ]


LIBRARY = """
import ctypes, sys
from blobforge.runner import Job, Worker

worker = Worker(max_jobs=1, workdir="scratch", min_free=0)

@worker.handler(sys.argv[1])
def convert(job: Job) -> None:
    job.progress(1, 2, stage="sleeping")
    ctypes.PyDLL(None).usleep(3_500_000)  # holds the GIL for longer than a lease lasts
    (job.outputs / "out.txt").write_bytes(job.source.read_bytes().upper())

{start}
"""


def test_a_script_with_a_handler_that_holds_the_gil_keeps_its_lease(field: Field) -> None:
    job_id = field.submit("shout")
    secret = field.http.post("/api/admin/workers", json={"id": field.type, "type": field.type}).json()["secret"]
    script = field.folder / "script.py"
    script.write_text(LIBRARY.format(start='if __name__ == "__main__":\n    worker.run()'))
    own = {"BLOBFORGE_WORKER_ID": field.type, "BLOBFORGE_WORKER_SECRET": secret, "BLOBFORGE_API_TOKEN": ""}
    # The child finds its function in the script by the script's own arguments.
    worker = field.start(str(script), field.type, **own)
    until(lambda: field.job(job_id).get("progress", {}).get("stage") == "sleeping")
    assert worker.wait(60) == 0, field.said()
    job = field.job(job_id)
    assert (job["status"], outcomes(job)) == ("completed", ["completed"])
    url = field.http.get(f"/api/files/{job_id}/output/url").json()["url"]
    assert field.http.get(url).text.endswith("SHOUT")


def test_a_script_without_a_guard_is_told_what_to_do(field: Field) -> None:
    script = field.folder / "script.py"
    script.write_text(LIBRARY.format(start="worker.run()"))
    worker = field.start(str(script), field.type)
    assert worker.wait(60) == 1
    assert "put it under `if __name__ == '__main__':`" in field.said()
    assert "Traceback" not in field.said()
    assert len(field.said().splitlines()) == 1


def test_a_script_that_runs_its_worker_within_trio_without_a_guard_is_told_the_same(field: Field) -> None:
    script = field.folder / "script.py"
    script.write_text(LIBRARY.format(start="import trio\ntrio.run(worker.run_async)"))
    worker = field.start(str(script), field.type)
    assert worker.wait(60) == 1
    assert "put it under `if __name__ == '__main__':`" in field.said()
