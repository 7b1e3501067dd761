"""The installed command against a real server, from a submitted file to the downloaded result."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path

import click
import pytest

from blobforge.cli.jobs import jobs
from tests.cli.conftest import Running
from web.api.wire_bulk import BulkBody

UPPER = "sh -c 'tr a-z A-Z < {source} > {output}'"
FAILING = "sh -c 'echo page 1; echo no xref table >&2; exit 3'"


@pytest.fixture
def document(running: Running) -> Path:
    path = running.folder / "in" / "letter.pdf"
    path.parent.mkdir()
    path.write_text("dear reader")
    return path


def submit(running: Running, path: Path, *options: str) -> int:
    return int(running.ok("submit", path, "--quiet", *options))


def wait_until_exists(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_submit_work_download(running: Running, document: Path) -> None:
    running.installed = True
    (line,) = running.ok("submit", document, "--tag", "demo", "--metadata", "a=b=c", "--json").splitlines()
    record = json.loads(line)
    assert record["uploaded"] is True
    assert record["existing"] is False
    job_id = record["job_id"]

    done = running.blobforge("work", "--type", "pdf", "--exec", UPPER, "--once", "--output-suffix", ".txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "1 completed" in done.stderr

    assert running.ok("jobs", "download", str(job_id)) == "letter.txt\n"
    assert (running.folder / "letter.txt").read_text() == "DEAR READER"
    again = running.blobforge("jobs", "download", str(job_id))
    assert again.returncode == 5
    assert "letter.txt exists" in again.stderr
    running.ok("jobs", "download", str(job_id), "--source", "-o", "copy.pdf")
    assert (running.folder / "copy.pdf").read_text() == "dear reader"
    assert running.ok("jobs", "download", str(job_id), "-o", "-") == "DEAR READER"
    # A device or a pipe is written to, and what a link names: none of them is replaced.
    link, pipe = running.folder / "link", running.folder / "pipe"
    link.symlink_to("linked")
    running.ok("jobs", "download", str(job_id), "-o", link)
    assert (running.folder / "linked").read_text() == "DEAR READER"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    running.ok("jobs", "download", str(job_id), "-o", pipe)
    assert os.read(reader, 100) == b"DEAR READER"
    os.close(reader)
    assert pipe.is_fifo()

    job = running.json("jobs", "show", str(job_id))
    assert job["status"] == "completed"
    assert job["tags"] == ["demo"]
    assert job["metadata"] == {"a": "b=c"}
    assert job["result"]["size"] == len("DEAR READER")
    assert "completed" in running.ok("jobs", "show", str(job_id))


def test_a_file_submitted_twice_is_one_job_and_one_upload(running: Running, document: Path) -> None:
    first = json.loads(running.ok("submit", document, "--json"))
    copy = document.with_name("copy.pdf")
    copy.write_bytes(document.read_bytes())
    second = json.loads(running.ok("submit", copy, "--json"))
    assert second["job_id"] == first["job_id"]
    assert (second["existing"], second["uploaded"]) == (True, False)
    assert running.json("stats")["total_jobs"] == 1


def test_a_folder_with_a_file_that_cannot_be_read(running: Running, document: Path) -> None:
    (document.parent / "deeper").mkdir()
    (document.parent / "deeper" / "b.pdf").write_text("b")
    bad = document.parent / "bad.pdf"
    bad.symlink_to(bad.with_name("gone.pdf"))
    done = running.blobforge("submit", document.parent, bad, running.folder / "missing.pdf")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "missing.pdf: no such file" in done.stderr
    assert "4 files: 2 new, 2 failed; 2 uploaded" in done.stderr


def test_an_empty_and_a_large_file(running: Running, document: Path) -> None:
    document.write_bytes(b"")
    large = document.with_name("large.pdf")
    with large.open("wb") as file:
        for number in range(40):
            file.write(bytes([number]) * (1 << 20))
    running.ok("submit", document.parent)
    running.ok("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    running.ok("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once")
    for job in running.json("jobs", "list")["jobs"]:
        running.ok("jobs", "download", str(job["id"]), "-o", "out")
        assert (running.folder / "out").read_bytes() == Path(job["source_path"]).read_bytes()


def test_a_failing_command_leaves_its_last_words_and_ends_dead(running: Running, document: Path) -> None:
    job_id = submit(running, document, "--max-attempts", "2")
    worker = running.start("work", "--type", "pdf", "--exec", FAILING, "--poll-wait", "1")
    job = running.wait_for(job_id, "dead")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert job["attempts"] == 2
    assert "exit status 3: no xref table" in job["last_error"]
    for attempt in job["attempt_history"]:
        assert attempt["kind"] == "ExitStatus"
        assert attempt["log_tail"] == "--- stderr ---\nno xref table\n--- stdout ---\npage 1\n"
    shown = running.ok("jobs", "show", str(job_id))
    assert "no xref table" in shown
    assert "page 1" in shown


def test_once_says_how_it_went(running: Running, document: Path) -> None:
    none = running.blobforge("work", "--type", "pdf", "--exec", UPPER, "--once")
    assert none.returncode == 0
    assert "There was no job." in none.stderr
    submit(running, document)
    failed = running.blobforge("work", "--type", "pdf", "--exec", FAILING, "--once")
    assert failed.returncode == 1
    assert "no xref table" in failed.stderr


def test_wait_follows_the_jobs_to_their_ends(running: Running, document: Path) -> None:
    bad = document.with_name("bad.pdf")
    bad.write_text("fail")
    script = "sh -c 'grep -q dear {source} && cp {source} {output}'"
    running.start("work", "--type", "pdf", "--exec", script, "--poll-wait", "1")
    good = running.blobforge("submit", document, "--wait")
    assert good.returncode == 0, good.stderr
    assert "completed" in good.stdout
    both = running.blobforge("submit", document, bad, "--wait", "--max-attempts", "1")
    assert both.returncode == 1
    assert "dead" in both.stdout
    assert "exit status 1" in both.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_worker_gives_its_job_back_and_leaves_nothing(
    running: Running, document: Path, number: signal.Signals
) -> None:
    job_id = submit(running, document)
    pid_file = running.folder / "pid"
    script = f"sh -c 'echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 1000'"
    worker = running.start("work", "--type", "pdf", "--exec", script, "--worker-id", "w1")
    wait_until_exists(pid_file)
    worker.send_signal(number)
    assert worker.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    job = running.wait_for(job_id, "pending")
    assert job["attempts"] == 0
    (listed,) = running.json("workers", "list")
    assert (listed["id"], listed["status"]) == ("w1", "offline")


def test_cancel_kills_the_command_of_a_running_job(running: Running, document: Path) -> None:
    job_id = submit(running, document)
    pid_file = running.folder / "pid"
    script = f"sh -c 'echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 1000'"
    worker = running.start("work", "--type", "pdf", "--exec", script)
    wait_until_exists(pid_file)
    assert running.ok("jobs", "cancel", str(job_id)) == f"{job_id}\tcancelled\n"
    pid = int(pid_file.read_text())
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    assert worker.poll() is None  # the worker itself goes on
    assert running.json("jobs", "show", str(job_id))["status"] == "cancelled"


def test_a_server_killed_and_started_again_costs_the_running_job_nothing(running: Running, document: Path) -> None:
    job_id = submit(running, document)
    started, go_on = running.folder / "started", running.folder / "go-on"
    slow = f"sh -c 'touch {started}; while [ ! -e {go_on} ]; do sleep 0.02; done; cp {{source}} {{output}}'"
    worker = running.start("work", "--type", "pdf", "--exec", slow, "--once")
    wait_until_exists(started)
    running.kill_server()
    go_on.touch()  # the command ends while nobody is there to take its result
    assert worker.stderr is not None
    for line in worker.stderr:
        if "cannot reach" in line or "not answered" in line:
            break
    running.serve()
    job = running.wait_for(job_id, "completed")
    assert job["attempts"] == 1
    assert worker.wait(60) == 0


@pytest.mark.parametrize("running", [{"BLOBFORGE_WORKER_TIMEOUT": "1"}], indirect=True)
def test_a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on(running: Running, document: Path) -> None:
    """SIGSTOP, as a suspended laptop does it: another worker finishes the job, the first one's result is refused."""
    job_id = submit(running, document)
    started, go_on = running.folder / "started", running.folder / "go-on"
    slow = f"sh -c 'touch {started}; while [ ! -e {go_on} ]; do sleep 0.02; done; echo late > {{output}}'"
    sleeper = running.start("work", "--type", "pdf", "--exec", slow, "--worker-id", "sleeper", "--poll-wait", "1")
    wait_until_exists(started)
    sleeper.send_signal(signal.SIGSTOP)
    try:
        running.start("work", "--type", "pdf", "--exec", UPPER, "--worker-id", "other", "--poll-wait", "1")
        running.wait_for(job_id, "completed")
        go_on.touch()
    finally:
        sleeper.send_signal(signal.SIGCONT)
    assert sleeper.stderr is not None
    for line in sleeper.stderr:
        if f"job {job_id}: dropped" in line:
            break
    job = running.json("jobs", "show", str(job_id))
    assert (job["status"], job["worker_id"]) == ("completed", "other")
    running.ok("jobs", "download", str(job_id), "-o", "out")
    assert (running.folder / "out").read_text() == "DEAR READER"


def test_a_worker_with_its_own_credential(running: Running, document: Path) -> None:
    secret = running.ok("workers", "create", "w1", "--type", "pdf").strip()
    assert secret.startswith("bfw_")
    job_id = submit(running, document)
    done = running.blobforge(
        *("work", "--type", "pdf", "--exec", UPPER, "--once", "--worker-id", "w1"),
        BLOBFORGE_WORKER_SECRET=secret,
        BLOBFORGE_DATA_DIR="/nonexistent",
    )
    assert done.returncode == 0, done.stderr
    assert running.json("jobs", "show", str(job_id))["status"] == "completed"
    rotated = running.ok("workers", "rotate", "w1").strip()
    assert rotated != secret
    void = running.blobforge(
        *("work", "--type", "pdf", "--exec", UPPER, "--once", "--worker-id", "w1"), BLOBFORGE_WORKER_SECRET=secret
    )
    assert void.returncode == 4
    running.ok("workers", "disable", "w1")
    disabled = running.blobforge(
        *("work", "--type", "pdf", "--exec", UPPER, "--once", "--worker-id", "w1"), BLOBFORGE_WORKER_SECRET=rotated
    )
    assert disabled.returncode == 4
    running.ok("workers", "enable", "w1")
    assert running.blobforge("workers", "create", "w1", "--type", "pdf").returncode == 5


def test_jobs_list_filters_and_pages(running: Running) -> None:
    folder = running.folder / "many"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.pdf").write_text(str(number))
    running.ok("submit", folder, "--tag", "many")
    assert len(running.ok("jobs", "list", "--quiet").splitlines()) == 5
    assert len(running.ok("jobs", "list").splitlines()) == 6
    newest = running.ok("jobs", "list", "--quiet", "--sort=-created").split()
    assert newest == sorted(newest, key=int, reverse=True)
    table = running.ok("jobs", "export", "--tag", "many", "--columns", "source_path, tags")
    assert table.splitlines()[0] == "id,source_path,tags"
    assert [line.split(",")[0] for line in table.splitlines()[1:]] == newest[::-1]
    running.ok("jobs", "export", "--format", "ndjson", "--to", "all.ndjson")
    lines = (running.folder / "all.ndjson").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [int(each) for each in newest[::-1]]
    assert running.blobforge("jobs", "export", "--columns", "nonsense").returncode != 0
    first = running.json("jobs", "list", "--limit", "2", "--tag", "many")
    assert first["total"] == 5
    rest = running.json("jobs", "list", "--tag", "many", "--cursor", first["next_cursor"])
    ids = [job["id"] for job in first["jobs"] + rest["jobs"]]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 5
    assert running.json("jobs", "list", "--status", "completed")["jobs"] == []
    assert running.json("jobs", "list", "--search", "3.pdf")["jobs"][0]["source_path"].endswith("3.pdf")


@pytest.mark.parametrize("verb", ["list", "watch", "retry", "cancel", "priority", "delete"])
def test_commands_have_all_filters_of_the_api(verb: str) -> None:
    known = set(BulkBody.__struct_fields__) - {"ids", "dry_run", "undo", "background"}
    if verb in ("list", "watch"):
        known = known - {"only_priority"} | {"priority"}
    named = {param.name for param in jobs.commands[verb].params if isinstance(param, click.Option)}
    assert known <= named


def test_what_changes_jobs_is_narrowed_as_a_list_is(running: Running) -> None:
    for number in range(3):
        (running.folder / f"{number}.pdf").write_text(str(number))
    running.ok("submit", "0.pdf", "1.pdf", "--priority", "2")
    running.ok("submit", "2.pdf")
    for options, count in (
        (["--only-priority", "2"], 2),
        (["--failure", "1"], 0),
        (["--created-since", "2020-01-01T00:00:00Z"], 3),
        (["--updated-until", "2020-01-01T00:00:00Z"], 0),
    ):
        assert running.json("jobs", "cancel", "--dry-run", *options)["matched"] == count, options
    assert running.json("jobs", "priority", "5", "--only-priority", "2", "--yes")["changed"] == 2
    running.ok("jobs", "cancel", "--only-priority", "5", "--yes")
    watched = running.blobforge("jobs", "watch", "--priority", "5")
    assert (watched.returncode, "2 cancelled" in watched.stderr) == (1, True)


def test_a_retry_by_hand_is_told_as_one_more(running: Running) -> None:
    (running.folder / "a.pdf").write_text("a")
    running.ok("submit", "a.pdf", "--max-attempts", "1")
    for _ in range(2):
        running.blobforge("work", "--type", "pdf", "--exec", "false", "--once")
        shown = dict(line.split("\t", 1) for line in running.ok("jobs", "show", "1").splitlines() if "\t" in line)
        running.ok("jobs", "retry", "1")
    assert shown["tries"] == "1 of 1+1"
    assert running.ok("jobs", "list").splitlines()[1].split("\t")[4] == "1/1+1"


def test_lists_are_narrowed_by_all_that_the_server_can(running: Running) -> None:
    for number in range(3):
        (running.folder / f"{number}.pdf").write_text(str(number))
    running.ok("submit", "0.pdf", "1.pdf", "--priority", "2")
    running.ok("submit", "2.pdf")
    jobs = running.json("jobs", "list")["jobs"]
    for options, count in (
        (["--priority", "2"], 2),
        (["--failure", "1"], 0),
        (["--created-since", "2020-01-01T00:00:00Z"], 3),
        (["--created-until", "2020-01-01T00:00:00Z"], 0),
        (["--updated-since", "2020-01-01T00:00:00Z", "--priority", "3"], 1),
        (["--updated-until", "2020-01-01T00:00:00Z"], 0),
    ):
        assert len(running.json("jobs", "list", *options)["jobs"]) == count, options
    assert running.blobforge("jobs", "list", "--created-since", "yesterday").returncode == 2

    ids = [str(job["id"]) for job in jobs]
    shown = running.blobforge("jobs", "show", ids[0], "999", ids[1], "--json")
    assert [str(json.loads(line)["id"]) for line in shown.stdout.splitlines()] == ids[:2]
    assert (shown.returncode, shown.stderr.strip()) == (5, "Error: There is no job 999.")
    for path in running.folder.glob("?.pdf"):
        path.unlink()
    got = running.ok("jobs", "download", *ids, "--source", "--json")
    assert [(running.folder / json.loads(line)["path"]).read_text() for line in got.splitlines()] == ["1", "0", "2"]
    again = running.blobforge("jobs", "download", *ids, "--source")
    assert (again.returncode, again.stderr.count("exists.")) == (5, 3)
    assert running.blobforge("jobs", "download", *ids, "-o", "x").returncode == 2


def test_cancel_retry_priority_and_what_they_refuse(running: Running, document: Path) -> None:
    job_id = str(submit(running, document))
    assert running.ok("jobs", "priority", job_id, "1") == f"{job_id}\tupdated\n"
    assert running.json("jobs", "show", job_id)["priority"] == 1
    assert running.blobforge("jobs", "retry", job_id).returncode == 5
    mixed = running.blobforge("jobs", "cancel", "999", job_id)
    assert mixed.returncode == 5
    assert mixed.stdout == f"{job_id}\tcancelled\n"
    assert "job 999" in mixed.stderr
    assert running.ok("jobs", "retry", job_id, "--reset-attempts") == f"{job_id}\tretrying\n"
    assert running.json("jobs", "show", job_id)["status"] == "pending"


def test_tokens_and_what_their_scopes_allow(running: Running, document: Path) -> None:
    made = running.json("tokens", "create", "reader", "--scope", "read", "--expires-in", "3")
    names = [token["name"] for token in running.json("tokens", "list")]
    assert "reader" in names
    elsewhere = {"BLOBFORGE_DATA_DIR": "/nonexistent"}
    running.ok("stats", BLOBFORGE_API_TOKEN=made["token"], **elsewhere)
    refused = running.blobforge("submit", document, BLOBFORGE_API_TOKEN=made["token"], **elsewhere)
    assert refused.returncode in {1, 4}
    assert "submit" in refused.stderr
    assert running.blobforge("stats", **elsewhere).returncode == 4
    running.ok("tokens", "delete", str(made["id"]))
    void = running.blobforge("stats", "--token", made["token"])
    assert void.returncode == 4
    assert "Traceback" not in void.stderr


def test_the_admin_token_is_private(running: Running) -> None:
    mode = (running.folder / "data" / "admin-token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_workers_drain_and_remove(running: Running) -> None:
    worker = running.start("work", "--type", "pdf", "--exec", UPPER, "--worker-id", "w1")
    while not running.json("workers", "list"):
        assert worker.poll() is None
    assert running.ok("workers", "drain", "w1") == "w1\tdraining\n"
    assert running.json("workers", "show", "w1")["status"] == "draining"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert running.ok("workers", "remove", "w1") == "w1\tremoved\n"
    assert running.json("workers", "list") == []
    assert running.blobforge("workers", "remove", "w1").returncode == 5
    assert running.blobforge("workers", "show", "w1").returncode == 5


def test_stats_for_people_and_programs(running: Running, document: Path) -> None:
    submit(running, document)
    stats = running.json("stats")
    assert stats["total_jobs"] == stats["pending_jobs"] == 1
    assert "\ndone in\tUnknown as a whole. pdf: no worker is online.\n" in running.ok("stats")
    assert "\x1b" not in running.ok("stats")
    assert stats["bytes"]["by_type"]["pdf"]["sources"] == document.stat().st_size
    assert running.json("stats", "--tags") == []
    assert running.json("stats", "--times", "--window", "7d")["queued"]["total"] == 0
    assert "No attempt has ended since such figures are kept." in running.ok("stats", "--times")
    assert "No attempt has failed since such figures are kept." in running.ok("stats", "--causes", "--type", "pdf")
    assert running.blobforge("stats", "--times", "--tags").returncode == 2
