"""`blobforge replay`: an attempt once more, on this machine, by what its worker told of itself."""

from __future__ import annotations

import json
import signal

import pytest
import trio

from blobforge.client import AsyncClient
from tests.cli.conftest import Running


def dead(running: Running, command: str, *options: str, worker: str = "w1", content: str = "a page") -> int:
    """A job that this command has failed."""
    document = running.folder / "a.pdf"
    document.write_text(content)
    job_id = int(json.loads(running.ok("submit", document, "--max-attempts", "1", "--json"))["job_id"])
    again = running.json("jobs", "show", str(job_id))["status"] == "dead"
    if again:
        running.ok("jobs", "retry", str(job_id), "--reset-attempts")
    child = running.start("work", "--type", "pdf", "--worker-id", worker, "--exec", command, *options)
    running.wait_for(job_id, "dead")
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    return job_id


FAILS = """sh -c 'echo "cannot read $(cat {source})" >&2; exit 3'"""


def test_an_attempt_fails_here_as_it_did_there(running: Running) -> None:
    job_id = dead(running, FAILS)
    unasked = running.blobforge("replay", str(job_id))
    assert unasked.returncode == 2
    assert "Nobody is here to answer" in unasked.stderr
    assert not (running.folder / f"replay-{job_id}-1").exists(), "nothing is fetched for what is not to be run"
    ran = running.blobforge("replay", str(job_id), "--yes")
    assert ran.returncode == 1
    assert "cannot read a page" in ran.stderr
    assert "attempt 1 then: failed (ExitStatus: exit status 3" in ran.stderr
    assert "here and now: failed (ExitStatus: exit status 3" in ran.stderr
    folder = running.folder / f"replay-{job_id}-1"
    assert ran.stdout == f"replay-{job_id}-1\n"
    assert (folder / "source.pdf").read_text() == "a page"
    told = json.loads((folder / "replay.json").read_text())
    assert (told["job"]["id"], told["attempt"]["attempt"], told["recipe"]["exec"]) == (job_id, 1, FAILS)
    assert running.blobforge("replay", str(job_id), "--yes").returncode == 5, "its folder is not empty"
    job = running.json("jobs", "show", str(job_id))
    assert (job["status"], len(job["attempt_history"])) == ("dead", 1), "the server has heard nothing of it"


def test_with_a_command_of_ones_own(running: Running) -> None:
    job_id = dead(running, FAILS, "--hide-command")
    refused = running.blobforge("replay", str(job_id), "--yes")
    assert refused.returncode == 5
    assert "has told no command" in refused.stderr
    assert FAILS not in running.ok("workers", "show", "w1", "--json")
    out = running.ok("replay", str(job_id), "--exec", "cp {source} {output}", "--to", "mine")
    assert (running.folder / out.strip()).read_text() == "a page"
    out = running.ok("replay", str(job_id), "--fetch-only", "--to", "only")
    assert (running.folder / "only" / "source.pdf").read_text() == "a page"
    assert running.blobforge("replay", str(job_id), "--exec", "no-such-program", "--to", "x").returncode == 2
    for number in ("7", str(2**62)):
        missing = running.blobforge("replay", str(job_id), "--attempt", number, "--fetch-only")
        assert missing.returncode == 5
        assert "There are 1." in missing.stderr
    (running.folder / "a file").touch()
    taken = running.blobforge("replay", str(job_id), "--fetch-only", "--to", "a file")
    assert taken.returncode == 2
    (running.folder / f"replay-{job_id}-1").touch()
    taken = running.blobforge("replay", str(job_id), "--fetch-only")
    assert (taken.returncode, taken.stderr.splitlines()[0]) == (5, f"Error: replay-{job_id}-1 is no folder.")


def test_an_attempt_that_the_job_itself_does_not_show_any_more(running: Running) -> None:
    """A job is shown with its latest fifty."""
    document = running.folder / "a.pdf"
    document.write_text("a page")
    job_id = str(json.loads(running.ok("submit", document, "--json"))["job_id"])
    token = (running.folder / "data" / "admin-token").read_text().strip()

    async def release(times: int) -> None:
        async with AsyncClient(running.url, token=token) as client:
            await client.register("w", "pdf")
            for n in range(times):
                (claim,) = await client.claim("w", ["pdf"], claim_key=f"{n}", wait=5)
                await client.release(claim.job.id, "w", claim.lease, "a test", cause="preempted")

    trio.run(release, 52)
    assert running.json("jobs", "show", job_id)["attempt_history"][0]["attempt"] > 1
    running.ok("replay", job_id, "--attempt", "1", "--fetch-only", "--to", "first")
    assert json.loads((running.folder / "first" / "replay.json").read_text())["attempt"]["attempt"] == 1


def test_the_limits_are_those_of_the_attempt(running: Running) -> None:
    job_id = dead(running, "sleep 60", "--timeout", "0.3")
    ran = running.blobforge("replay", str(job_id), "--yes")
    assert ran.returncode == 1
    assert "here and now: failed (Timeout: not done after 0.3 seconds" in ran.stderr


def test_outputs_are_called_as_they_were_there(running: Running) -> None:
    """A rule for outputs of a name finds those that `--output-suffix` has named."""
    rules = ["--output-suffix", ".md", "--min-size", "*.md=1K"]
    job_id = dead(running, "cp {source} {output}", *rules)
    ran = running.blobforge("replay", str(job_id), "--yes")
    assert ran.returncode == 1
    then, now = (line.partition(": ")[2] for line in ran.stderr.splitlines()[-2:])
    assert then == now
    assert "a.md" in now


def test_a_worker_that_was_started_anew_may_run_another_command(running: Running) -> None:
    job_id = dead(running, FAILS)
    dead(running, "false", content="another page")
    ran = running.blobforge("replay", str(job_id), "--yes")
    assert "started anew since that attempt" in ran.stderr
    assert "runs: false" in ran.stderr


@pytest.mark.parametrize(
    "metadata", [None, [], {"recipes": 1}, {"recipes": {"pdf": 1}}, {"recipes": {"pdf": {"exec": 1}}}]
)
def test_what_another_worker_calls_its_recipe_is_none(metadata: object) -> None:
    from blobforge.runner import Recipe

    assert Recipe.of(metadata, "pdf") is None
    assert Recipe.of({"recipes": {"pdf": {"exec": "true", "new": 1}}}, "pdf") == Recipe(exec="true")
