"""`jobs watch`, `jobs logs` and `stats --watch`: jobs as they go on, over a server that goes away and comes back."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server
from tests.cli.people import People, people
from tests.cli.terminal import terminal


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for tests that keep to a job type of their own."""
    with running_server(tmp_path_factory.mktemp("follow") / "here", {}) as running:
        yield running


@pytest.fixture
def person(local: Running) -> Iterator[People]:
    with people(local) as person:
        yield person


def next_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.stderr.read() if child.stderr else ""
    return line.rstrip("\n")


def test_watch_ends_with_the_jobs_and_says_whether_all_completed(local: Running, person: People) -> None:
    first = person.submit("1", "watch", source_path="a.pdf")
    child = local.start("jobs", "watch", "--type", "watch")
    assert next_line(child) == f"{first}\tpending\twatch\ta.pdf\t"
    granted = person.claim("watch")
    assert next_line(child) == f"{first}\trunning\twatch\ta.pdf\t"
    person.progress(granted, percent=40)
    person.complete(granted)
    assert next_line(child) == f"{first}\tcompleted\twatch\ta.pdf\t"
    assert child.wait(30) == 0
    assert child.stderr is not None
    assert child.stderr.read() == "1 job: 1 completed\n"

    second = person.submit("2", "watch", max_attempts=1)
    child = local.start("jobs", "watch", str(first), str(second), "--json")
    assert {json.loads(next_line(child))["status"] for _ in range(2)} == {"completed", "pending"}
    granted = person.claim("watch")
    assert json.loads(next_line(child))["event"] == "job_updated"
    person.progress(granted, percent=40)
    assert json.loads(next_line(child))["progress"] == {"percent": 40}
    person.fail(granted, "no xref\x1b[2J table")
    last = json.loads(next_line(child))
    assert (last["event"], last["status"], last["error"]) == ("job_failed", "dead", "no xref\x1b[2J table")
    assert child.wait(30) == 1


def test_watch_what_has_ended_what_is_not_there_and_what_matches_nothing(local: Running, person: People) -> None:
    job_id = person.submit("ended", "ended")
    person.complete(person.claim("ended"))
    assert local.ok("jobs", "watch", str(job_id), "--quiet") == f"{job_id}\n"
    gone = local.blobforge("jobs", "watch", str(job_id), "99999")
    assert gone.returncode == 5
    assert "99999" in gone.stderr
    nothing = local.blobforge("jobs", "watch", "--tag", "nobody has this")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "No job matches." in nothing.stderr
    both = local.blobforge("jobs", "watch", str(job_id), "--tag", "x")
    assert both.returncode == 2


def test_watch_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    with running_server(tmp_path / "here", {}) as running:
        with people(running) as person:
            job_id = person.submit("1", "pdf")
            child = running.start("jobs", "watch", str(job_id))
            assert next_line(child).split("\t")[1] == "pending"
        child.send_signal(signal.SIGSTOP)
        running.kill_server()
        running.serve()  # at the same port, with another run of events
        with people(running) as person:
            person.complete(person.claim("pdf"))
        child.send_signal(signal.SIGCONT)  # what happened meanwhile is in no stream any more: it has to be fetched
        assert next_line(child) == f"{job_id}\tcompleted\tpdf\t\t"
        assert child.wait(30) == 0
        assert child.stderr is not None
        assert "trying again" in child.stderr.read()


def test_watch_everything_until_it_is_interrupted(local: Running, person: People) -> None:
    child = local.start("jobs", "watch", "--json")
    # Only a job that comes after the stream stands is seen; nothing else tells a test that it does.
    seen = None
    for number in range(200):
        if child.poll() is not None or seen:
            break
        person.submit(f"all {number}", "all")
        seen = _line_within(child, 0.1)
    assert seen is not None
    assert json.loads(seen)["type"] == "all"
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert child.stderr is not None
    assert child.stderr.read().strip() == "Interrupted."


def _line_within(child: subprocess.Popen[str], seconds: float) -> str | None:
    import select

    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], seconds)
    return child.stdout.readline() if ready else None


def test_watch_on_a_terminal_draws_and_leaves_the_ends_behind(local: Running, person: People) -> None:
    good = person.submit("good", "tty", source_path="books/good.pdf")
    bad = person.submit("bad", "tty", source_path="books/\x1b]0;owned\x07bad.pdf", max_attempts=1)
    with terminal(local, "jobs", "watch", str(good), str(bad)) as screen:
        screen.see("2 jobs: 2 pending")
        granted = [person.claim("tty"), person.claim("tty")]
        by_id = {one["job"]["id"]: one for one in granted}
        person.progress(by_id[good], stage="ocr", percent=40)
        screen.see("ocr 40%")
        person.complete(by_id[good])
        screen.see("completed")
        person.fail(by_id[bad], "no \x1b[31mxref")
        assert screen.end() == 1
    assert "2 jobs: 1 completed, 1 dead" in screen.text
    assert "no xref" in screen.text
    assert "owned" not in screen.text
    assert "\x1b]" not in screen.seen
    assert screen.seen.count("\x1b[?25h") == screen.seen.count("\x1b[?25l") >= 1  # the cursor is given back


def test_ctrl_c_in_a_watch_gives_the_terminal_back(local: Running, person: People) -> None:
    job_id = person.submit("long", "long")
    with terminal(local, "jobs", "watch", str(job_id)) as screen:
        screen.see("1 job: 1 pending")
        assert screen.interrupt() == 130
    assert "Interrupted." in screen.text
    assert "Traceback" not in screen.text
    assert screen.seen.rstrip().rfind("\x1b[?25h") > screen.seen.rfind("\x1b[?25l")


def test_logs_of_attempts(local: Running, person: People) -> None:
    job_id = str(person.submit("logs", "logs"))
    none = local.blobforge("jobs", "logs", job_id)
    assert (none.returncode, none.stdout) == (0, "")
    assert "Nobody has tried" in none.stderr
    person.fail(person.claim("logs"), "first", kind="ValueError", log_tail="10%\r20%\r\n\x1b[31mred\x1b[0m\x1b[2J")
    local.wait_for(int(job_id), "pending")
    person.fail(person.claim("logs"), "second", traceback="Traceback\n  line 3")
    text = local.ok("jobs", "logs", job_id)
    assert "attempt 1: failed, w1, 20" in text
    assert "ValueError: first\n10%\n20%\nred\n" in text
    assert "second\nTraceback\n  line 3" in text
    assert "\x1b" not in text
    second = local.ok("jobs", "logs", job_id, "--attempt", "2")
    assert "second" in second
    assert "first" not in second
    assert [one["attempt"] for one in local.json("jobs", "logs", job_id)] == [1, 2]
    missing = local.blobforge("jobs", "logs", job_id, "--attempt", "9")
    assert missing.returncode == 5
    assert "There are: 1, 2." in missing.stderr


def test_logs_follow_a_job_to_its_end(local: Running, person: People) -> None:
    job_id = person.submit("follow", "follow")
    child = local.start("jobs", "logs", str(job_id), "--follow")
    assert child.stderr is not None
    assert child.stderr.readline() == f"job {job_id} is pending\n"
    granted = person.claim("follow")
    assert child.stderr.readline() == f"job {job_id} is running on w1\n"
    person.progress(granted, stage="ocr", done=1, total=3)
    assert next_line(child) == "ocr 1/3"
    printed = {"worker_id": "w1", "lease": granted["lease"], "start": 0, "text": "page 1\x1b[2J\n"}
    person.call("POST", f"/api/jobs/{job_id}/log", printed)
    assert next_line(child).startswith("page 1")
    assert local.ok("jobs", "logs", str(job_id)).splitlines()[1].startswith("page 1")
    assert [each["attempt"] for each in local.json("jobs", "logs", str(job_id))] == [1]
    person.fail(granted, "page 2", log_tail="oh no")
    assert next_line(child).startswith("attempt 1: failed, w1")
    assert [next_line(child), next_line(child)] == ["page 2", "oh no"]
    assert child.stderr.readline() == f"job {job_id} is failed: page 2\n"
    local.wait_for(job_id, "pending")
    person.complete(person.claim("follow"))
    assert child.wait(30) == 0


def test_stats_watch(local: Running, person: People) -> None:
    child = local.start("stats", "--watch", "--json")
    before = json.loads(next_line(child))["total_jobs"]
    person.submit("stats", "stats")
    while json.loads(next_line(child))["total_jobs"] != before + 1:
        pass
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    with terminal(local, "stats", "--watch") as screen:
        screen.see("jobs per minute")
        assert screen.interrupt() == 130
    assert "Traceback" not in screen.text


def test_a_result_that_is_kept_aside_is_had_whole(local: Running, person: People) -> None:
    job_id, plain = person.submit("aside", "aside"), person.submit("none", "aside")
    sent = {"pages": ["lorem ipsum"] * 150_000, "nothing": None}
    person.complete(person.claim("aside"), result=sent)
    assert f"{job_id}" in local.ok("jobs", "show", str(job_id))
    assert "whole with --result" in local.ok("jobs", "show", str(job_id))
    assert json.loads(local.ok("jobs", "show", str(job_id), "--result")) == sent
    both = local.blobforge("jobs", "show", str(job_id), str(plain), "--result")
    assert both.returncode == 5
    assert json.loads(both.stdout) == sent
    assert "has no result" in both.stderr
