"""What `blobforge work` is told on its command line, each by a real worker; and a script with a `Worker`."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server
from tests.fixtures.forked import Done

_numbers = itertools.count()

HANDLERS = """
import os
from blobforge.runner import Job

def pid(job: Job) -> None:
    (job.outputs / "pid").write_text(str(os.getpid()))
"""
SCRIPT = """
from blobforge.runner import Job, Worker

worker = Worker({server}max_jobs=1)

@worker.handler("script", isolation="thread")
def shout(job: Job) -> None:
    (job.outputs / "out").write_text(job.source.read_text().upper())

if __name__ == "__main__":
    print(dict(worker.run()))
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_server(tmp_path_factory.mktemp("work") / "here", {}) as running:
        (running.folder / "handlers.py").write_text(HANDLERS)
        yield running


def submit(local: Running, type_: str) -> str:
    """A document of its own, that is tried once; the job's id."""
    document = local.folder / f"{next(_numbers)}.txt"
    document.write_text(f"document {document.name}")
    return local.ok("submit", document, "--type", type_, "--max-attempts", "1", "--quiet").strip()


def work(local: Running, type_: str, *options: str, **environment: str) -> Done:
    return local.blobforge("work", "--type", type_, *options, **environment)


def output(local: Running, job_id: str) -> str:
    return local.ok("jobs", "download", job_id, "-o", "-")


def test_a_worker_that_only_fails_ends_with_a_code_of_its_own(local: Running) -> None:
    for _ in range(2):
        submit(local, "failing")
    done = work(local, "failing", "--exec", "false", "--max-failures", "2", "--idle-exit", "1")
    assert done.returncode == 7, done.stderr
    assert "2 jobs in a row failed here" in done.stderr
    assert "It took no more jobs" in done.stderr


def test_what_a_command_writes_to_stdout_is_the_output(local: Running) -> None:
    job_id = submit(local, "printed")
    assert work(local, "printed", "--stdout", "--exec", "tr a-z A-Z", "--once").returncode == 1  # reads no stdin
    job_id = submit(local, "printed")
    assert work(local, "printed", "--stdout", "--exec", "head -c 8 {source}", "--once").returncode == 0
    assert output(local, job_id) == "document"


def test_a_function_in_a_process_that_is_replaced(local: Running) -> None:
    def pids(*options: str) -> list[str]:
        ids = [submit(local, "function") for _ in range(2)]
        done = work(local, "function", "--handler", "handlers:pid", "--max-jobs", "2", *options)
        assert done.returncode == 0, done.stderr
        return [output(local, each) for each in ids]

    first, second = pids("--recycle-after", "1")
    assert first != second
    first, second = pids()
    assert first == second, "kept warm"


SEVERAL = "mkdir {outputs}/img; cp {source} {outputs}/text.md; cp {source} {outputs}/img/1.png"


def test_each_file_in_the_folder_is_an_output(local: Running) -> None:
    job_id = submit(local, "several")
    assert work(local, "several", "--exec", f"sh -c '{SEVERAL}'", "--once").returncode == 0
    job = local.json("jobs", "show", job_id)
    assert (job["result"]["outputs"], job["result"]["filename"]) == (2, "text.md")
    assert job["output_key"].endswith("/text.md")
    assert output(local, job_id).startswith("document"), "the main one"
    job_id = submit(local, "several")
    assert work(local, "several", "--zip", "--exec", f"sh -c '{SEVERAL}'", "--once").returncode == 0
    assert local.json("jobs", "show", job_id)["result"]["filename"].endswith(".zip")


@pytest.mark.parametrize(
    ("rule", "value", "kind"),
    [
        ("--min-size", "1K", "OutputTooSmall"),
        ("--media-type", "*.md=text/html", "OutputMediaType"),
        ("--schema", "schema.json", "OutputSchema"),
        ("--check", "grep -q nothing {output}", "OutputCheck"),
    ],
)
def test_outputs_that_do_not_pass_fail_the_job(local: Running, rule: str, value: str, kind: str) -> None:
    (local.folder / "schema.json").write_text('{"type": "object"}')
    job_id = submit(local, "checked")
    done = work(local, "checked", rule, value, "--output-suffix", ".md", "--exec", "cp {source} {output}", "--once")
    assert done.returncode == 1, done.stderr
    (attempt,) = local.json("jobs", "show", job_id)["attempt_history"]
    assert attempt["kind"] == kind
    wrong = work(local, "checked", rule, "", "--exec", "cp {source} {output}", "--once")
    assert wrong.returncode == 2
    assert f"{rule}: " in wrong.stderr


def test_a_command_that_takes_more_memory_than_it_may(local: Running) -> None:
    job_id = submit(local, "memory")
    hungry = f"{sys.executable} -c 'len(bytearray(1 << 30))'"
    assert work(local, "memory", "--exec", hungry, "--max-memory", "256M", "--once").returncode == 1
    assert "MemoryError" in local.ok("jobs", "logs", job_id)


@pytest.mark.parametrize("types", [["epub"], ["pdf", "epub"]])
def test_a_worker_of_another_type_ends_and_says_so(local: Running, types: list[str]) -> None:
    name = f"bound-{len(types)}"
    secret = local.ok("workers", "create", name, "--type", "pdf", "--quiet").split()[-1]
    options = [part for each in types[1:] for part in ("--type", each)]
    credential = {"BLOBFORGE_WORKER_SECRET": secret}
    done = work(local, types[0], *options, "--exec", "true", "--worker-id", name, **credential)
    assert done.returncode == 5
    assert f"Error: Worker '{name}' was created for jobs of type 'pdf', not 'epub'." in done.stderr


def test_a_limit_of_memory_without_its_unit_is_refused_at_the_start(local: Running) -> None:
    done = work(local, "any", "--exec", "true", "--max-memory", "300")
    assert done.returncode == 2
    assert "'300' is 300 bytes, and no program starts in that" in done.stderr


def run_script(local: Running, folder: Path, server: str, **environment: str) -> None:
    (folder / "script.py").write_text(SCRIPT.format(server=server))
    job_id = submit(local, "script")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=local.environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    assert output(local, job_id).startswith("DOCUMENT")


def test_a_script_finds_the_admin_token_of_this_machine(local: Running) -> None:
    run_script(local, local.folder, f"{local.url!r}, ", BLOBFORGE_SERVER_URL="")


def test_a_script_finds_the_login(local: Running, tmp_path: Path) -> None:
    elsewhere = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "BLOBFORGE_SERVER_URL": ""}
    token = local.json("tokens", "create", "for-script", "--scope", "work")["token"]
    local.ok("login", local.url, "--token", token, **elsewhere)
    run_script(local, tmp_path, "", **elsewhere)
