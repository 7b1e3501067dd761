"""Lists: by pages of the server, for a pipe, for a program, and as tables on a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.cli.conftest import COMMAND, Running, running_server
from tests.cli.people import people
from tests.cli.terminal import terminal

MANY = 230  # three pages of the server's


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server with many jobs, which these tests only look at."""
    with running_server(tmp_path_factory.mktemp("lists") / "here", {}) as running:
        with people(running) as person:
            jobs = [{"type": "many", "source_hash": f"{number:064x}"} for number in range(MANY)]
            person.call("POST", "/api/jobs/batch", {"jobs": jobs})
            evil = "\x1b[2Jbooks/\u202etxt.fdp\x9b31m\r\n.pdf"
            person.submit("evil", "evil", source_path=evil, tags=["\u200eodd"])
            person.call("POST", "/api/jobs/cancel", {"type": "evil"})
        yield running


def test_all_pages_in_every_form(local: Running) -> None:
    ids = local.ok("jobs", "list", "--type", "many", "--all", "--quiet").split()
    assert len(ids) == len(set(ids)) == MANY
    assert [str(job["id"]) for job in local.json("jobs", "list", "--type", "many", "--all")["jobs"]] == ids
    plain = local.ok("jobs", "list", "--type", "many", "--all").splitlines()
    assert plain[0].startswith("ID\tSTATUS\t")
    assert [line.split("\t")[0] for line in plain[1:]] == ids
    part = local.blobforge("jobs", "list", "--type", "many", "--limit", "120")
    assert [line.split("\t")[0] for line in part.stdout.splitlines()[1:]] == ids[:120]
    assert f"120 of {MANY}" in part.stderr
    cursor = part.stderr.rpartition("--cursor ")[2].strip()
    assert local.ok("jobs", "list", "--type", "many", "--all", "--quiet", "--cursor", cursor).split() == ids[120:]


def test_a_strangers_name_does_nothing_to_the_terminal(local: Running) -> None:
    for arguments in (("jobs", "list", "--type", "evil"), ("jobs", "show", str(MANY + 1))):
        done = local.ok(*arguments)
        assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(done)
        assert "txt.fdp" in done
        with terminal(local, *arguments) as screen:
            assert screen.end() == 0
        assert "\x1b[2J" not in screen.seen
        assert "\u202e" not in screen.seen
    (job,) = local.json("jobs", "list", "--type", "evil")["jobs"]
    assert job["source_path"].startswith("\x1b[2J")  # a program gets what was sent, and knows how to quote it


def test_tables_for_a_person(local: Running) -> None:
    arguments = ("jobs", "list", "--type", "many", "--limit", "3")
    with terminal(local, *arguments) as screen:
        assert screen.end() == 0
    assert "\t" not in screen.text
    assert " ago" in screen.text or "now" in screen.text
    with terminal(local, *arguments, columns=72) as screen:
        assert screen.end() == 0
    assert max(map(len, screen.text.splitlines())) <= 72
    with terminal(local, "stats") as screen:
        assert screen.end() == 0
    assert "many" in screen.text


def test_no_colour_where_it_is_not_wanted(local: Running) -> None:
    colour = re.compile(r"\x1b\[(?:3|4|9|10)\d")
    for command in (("doctor",), ("jobs", "list", "--type", "evil")):
        with terminal(local, *command, NO_COLOR="1") as screen:
            assert screen.end() == 0
        assert not colour.search(screen.seen)
    with terminal(local, "doctor") as screen:
        assert screen.end() == 0
    assert colour.search(screen.seen)


@pytest.mark.parametrize("command", ["jobs list --all", "jobs list --json", "jobs watch --type evil"])
def test_who_reads_no_further_is_not_told_about_it(local: Running, command: str) -> None:
    script = f"{' '.join(COMMAND)} {command} --quiet | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=local.folder,
        env=local.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 1


def test_users_and_the_audit_log(local: Running) -> None:
    nobody = local.blobforge("users", "list")
    assert nobody.returncode == 0
    assert "Nobody has signed in" in nobody.stderr
    assert local.json("users", "list") == []
    local.ok("tokens", "create", "for-audit")
    (newest,) = local.json("audit", "--limit", "1")["entries"]
    assert newest["action"] == "token.create"
    everything = local.json("audit", "--all")
    assert {"token.create", "jobs.cancel"} <= {entry["action"] for entry in everything["entries"]}
    assert set(everything) == {"entries"}  # no more pages: no cursor
    lines = local.blobforge("audit", "--limit", "1")
    assert lines.stdout.splitlines()[1].split("\t")[4] == "token.create"
    for command in (("audit", "--all"), ("jobs", "list"), ("workers", "list"), ("tokens", "list"), ("stats",)):
        assert "null" not in local.ok(*command, "--json"), command
    cursor = lines.stderr.rpartition("--cursor ")[2].strip()
    rest = local.json("audit", "--cursor", cursor)["entries"]
    assert [entry["id"] for entry in rest] == [entry["id"] for entry in everything["entries"][1:]]


def test_https_to_a_server_without_tls(local: Running) -> None:
    done = local.blobforge("doctor", "--server", local.url.replace("http:", "https:"))
    assert done.returncode == 3
    assert "speaks plain HTTP: use http://" in done.stdout + done.stderr


def test_ctrl_c_while_a_server_does_not_answer(local: Running) -> None:
    assert local.server is not None
    local.server.send_signal(signal.SIGSTOP)
    try:
        with terminal(local, "jobs", "list") as screen:
            time.sleep(1.5)  # nothing is shown while it waits for an answer
            assert screen.interrupt() == 130
    finally:
        local.server.send_signal(signal.SIGCONT)
    assert "Interrupted." in screen.text
    assert "Traceback" not in screen.text


def test_json_on_a_terminal_is_json(local: Running) -> None:
    with terminal(local, "jobs", "list", "--type", "evil", "--json") as screen:
        assert screen.end() == 0
    assert json.loads(screen.seen)["total"] == 1


def test_lists_are_filtered(local: Running) -> None:
    """As the API filters them; each option reaches the server as what it says."""
    for name, scope in (("build-1", "work"), ("build-2", "read"), ("laptop", "work")):
        local.ok("tokens", "create", name, "--scope", scope)

    def names(*options: str) -> list[str]:
        return [token["name"] for token in local.json("tokens", "list", *options)]

    assert names("--search", "BUILD") == ["build-1", "build-2"]
    assert names("--scope", "work", "--search", "l") == ["build-1", "laptop"]
    assert names("--expired") == []
    assert "laptop" in names("--valid")
    assert local.json("users", "list", "--admin", "--search", "nobody") == []
    assert "No user matches" in local.blobforge("users", "list", "--member").stderr
    with people(local) as person:
        for worker_id in ("gpu-1", "gpu-2", "cpu-1"):
            person.call("POST", "/api/workers/register", {"id": worker_id, "type": "pdf"})
    local.ok("workers", "disable", "gpu-2")
    assert local.ok("workers", "list", "--quiet", "--search", "GPU").split() == ["gpu-1", "gpu-2"]
    assert local.ok("workers", "list", "--quiet", "--disabled").split() == ["gpu-2"]
    assert local.ok("workers", "list", "--quiet", "--enabled", "--search", "gpu").split() == ["gpu-1"]
    found = local.json("audit", "--action", "token.*", "--limit", "2")
    assert [each["action"] for each in found["entries"]] == ["token.create", "token.create"]
    assert (
        local.json("audit", "--action", "worker.*", "--subject", "gpu-2")["entries"][0]["action"] == "worker.disable"
    )
    assert local.json("audit", "--until", "2020-01-01T00:00:00Z")["entries"] == []
    assert "matches" in local.blobforge("audit", "--actor", "nobody").stderr


def test_what_a_worker_has_done(local: Running) -> None:
    """Attempts, whatever became of them, page by page."""
    with people(local) as person:
        person.call("POST", "/api/workers/register", {"id": "busy", "type": "busy"})
        job = person.submit("busy", "busy")
        for _ in range(3):
            (grant,) = [person.call("POST", "/api/jobs/claim", {"worker_id": "busy", "job_type": "busy"})]
            lease = {"worker_id": "busy", "lease": grant["lease"]}
            person.call("POST", f"/api/jobs/{job}/release", lease | {"cause": "shutdown"})
        grant = person.call("POST", "/api/jobs/claim", {"worker_id": "busy", "job_type": "busy"})
        lease = {"worker_id": "busy", "lease": grant["lease"]}
        person.call("POST", f"/api/jobs/{job}/fail", lease | {"error": "it is torn", "retryable": False})
    outcomes = [each["outcome"] for each in local.json("workers", "attempts", "busy")]
    assert outcomes == ["failed", "released", "released", "released"]
    first = local.blobforge("workers", "attempts", "busy", "--limit", "3")
    assert first.stdout.splitlines()[1].split("\t")[:3] == [str(job), "4", "failed"]
    assert "it is torn" in first.stdout
    cursor = first.stderr.rpartition("--cursor ")[2].strip()
    rest = local.json("workers", "attempts", "busy", "--cursor", cursor)
    assert [each["attempt"] for each in rest] == [1]


def test_drills_and_orphans(local: Running) -> None:
    assert local.json("backup", "drills") == {"drills": []}
    assert "No drill is on record" in local.blobforge("backup", "drills").stderr
    assert "matches" in local.blobforge("backup", "drills", "--failed").stderr
    assert local.json("db", "orphans", "--names", "100")["state"] == "done"
