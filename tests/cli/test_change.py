"""`jobs retry|cancel|priority|retype` by a filter: counted first, asked about, then done in one request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from blobforge.cli.common import CliSession
from blobforge.cli.counted import change_counted
from blobforge.client import BulkDone
from tests.cli.conftest import Running, running_server
from tests.cli.people import People, people
from tests.cli.terminal import terminal


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for tests that keep to a job type of their own."""
    with running_server(tmp_path_factory.mktemp("change") / "here", {}) as running:
        yield running


@pytest.fixture
def person(local: Running) -> Iterator[People]:
    with people(local) as person:
        yield person


def statuses(local: Running, type_: str) -> list[str]:
    return sorted(job["status"] for job in local.json("jobs", "list", "--type", type_)["jobs"])


def test_a_dry_run_says_of_how_many_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    found = BulkDone(matched=31_204, changed=31_204, refused=0, dry_run=True)
    change_counted(
        CliSession(),
        lambda *, dry: found,
        "Retry",
        noun="job",
        by_id=False,
        dry_run=True,
        yes=False,
        begin=lambda: 0,
        among=2_000_000,
    )
    assert capsys.readouterr().out.splitlines()[0] == "would change\t31,204 of 2,000,000"


def test_a_filter_is_tried_dry_and_nobody_there_to_ask_is_no_yes(local: Running, person: People) -> None:
    for number in range(3):
        person.submit(f"dry {number}", "dry")
    dry = local.json("jobs", "cancel", "--type", "dry", "--dry-run")
    assert dry == {"matched": 3, "changed": 3, "refused": 0, "dry_run": True}
    unasked = local.blobforge("jobs", "cancel", "--type", "dry")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    assert "Cancel 3 jobs?" in unasked.stderr
    assert "--yes" in unasked.stderr
    assert statuses(local, "dry") == ["pending"] * 3
    assert local.ok("jobs", "cancel", "--type", "dry", "--yes", "--quiet") == "3\n"
    assert statuses(local, "dry") == ["cancelled"] * 3
    again = local.ok("jobs", "cancel", "--type", "dry", "--yes")
    assert again == "changed\t0\nnot changed\t3\nmatched\t3\n"
    assert (
        local.json("jobs", "retry", "--type", "dry", "--status", "cancelled", "--yes", "--priority", "1")["changed"]
        == 3
    )
    assert {job["priority"] for job in local.json("jobs", "list", "--type", "dry")["jobs"]} == {1}


def test_delete_asks_for_ids_too_and_tells_what_it_could_not(local: Running, person: People) -> None:
    first, second = (str(person.submit(f"delete {number}", "delete")) for number in range(2))
    unasked = local.blobforge("jobs", "delete", first)
    assert unasked.returncode == 2
    assert "Delete for good: 1 job?" in unasked.stderr
    assert local.ok("jobs", "delete", first, "--yes") == "changed\t1\nnot changed\t0\nmatched\t1\n"
    assert local.blobforge("jobs", "show", first).returncode == 5
    person.claim("delete")
    mixed = local.blobforge("jobs", "delete", first, second, "--yes")
    assert mixed.returncode == 5
    assert "2 jobs not there" in mixed.stderr
    assert local.json("jobs", "delete", "--type", "delete", "--yes")["refused"] == 1


def test_priority_takes_ids_or_a_filter_before_the_number(local: Running, person: People) -> None:
    first, second = (str(person.submit(f"prio {number}", "prio")) for number in range(2))
    assert local.ok("jobs", "priority", first, second, "2") == f"{first}\tupdated\n{second}\tupdated\n"
    assert local.json("jobs", "priority", "5", "--type", "prio", "--yes")["changed"] == 2
    assert local.json("jobs", "priority", first, "1", "--dry-run")["matched"] == 1
    assert local.json("jobs", "show", first)["priority"] == 5


def test_retype_takes_ids_or_a_filter_before_the_type(local: Running, person: People) -> None:
    first, second, third = (str(person.submit(f"retype {number}", "scan")) for number in range(3))
    assert local.ok("jobs", "retype", first, "scan-ocr") == f"{first}\tupdated\n"
    assert local.json("jobs", "show", first)["type"] == "scan-ocr"
    assert local.json("jobs", "retype", "scan-ocr", "--type", "scan", "--dry-run")["changed"] == 2
    assert local.json("jobs", "retype", "scan-ocr", "--type", "scan", "--yes")["changed"] == 2
    local.ok("jobs", "cancel", second)
    slip = local.blobforge("jobs", "retype", second, third)
    assert (slip.returncode, f"Is {third} the type that they get" in slip.stderr) == (2, True)
    mixed = local.blobforge("jobs", "retype", second, third, "scan")
    assert (mixed.returncode, mixed.stdout) == (5, f"{third}\tupdated\n")
    assert "cancelled" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobs", "cancel"], "Give ids, or a filter"),
        (["jobs", "cancel", "1", "--type", "x"], "do not go together"),
        (["jobs", "priority", "3"], "Give ids, or a filter"),
        (["jobs", "retype", "ocr"], "Give ids, or a filter"),
        (["jobs", "retry", "--status", "lost", "--yes"], "lost"),
    ],
)
def test_what_is_meant_must_be_said(local: Running, arguments: list[str], words: str) -> None:
    done = local.blobforge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_on_a_terminal_it_asks(local: Running, person: People) -> None:
    for number in range(2):
        person.submit(f"ask {number}", "ask")
    for answer, code, after in (("n", 1, "pending"), ("y", 0, "cancelled")):
        with terminal(local, "jobs", "cancel", "--type", "ask") as screen:
            screen.see("Cancel 2 jobs? [y/N]")
            screen.type(answer)
            assert screen.end() == code
        assert ("Nothing was changed." in screen.text) == (answer == "n")
        assert statuses(local, "ask") == [after] * 2
    with terminal(local, "jobs", "retry", "--type", "ask") as screen:
        screen.see("Retry 2 jobs? [y/N]")
        assert screen.interrupt() == 130
    assert statuses(local, "ask") == ["cancelled"] * 2


def test_workers_are_removed_by_a_filter(local: Running, person: People) -> None:
    for number in range(3):
        person.call("POST", "/api/workers/register", {"id": f"far {number}", "type": "far"})
        if number:
            person.call("POST", f"/api/workers/far {number}/unregister")
    dry = local.json("workers", "remove", "--type", "far", "--older-than", "0s", "--dry-run")
    assert dry == {"matched": 3, "changed": 2, "refused": 1, "dry_run": True}
    assert local.json("workers", "remove", "--type", "far", "--older-than", "1d", "--dry-run")["matched"] == 0
    unasked = local.blobforge("workers", "remove", "--type", "far")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    assert "Remove 2 workers?" in unasked.stderr
    assert local.json("workers", "remove", "--type", "far", "--yes")["changed"] == 2
    assert local.ok("workers", "list", "--type", "far", "--quiet").split("\n")[0] == "far 0"
    assert local.blobforge("workers", "remove").returncode == 2
    assert local.blobforge("workers", "remove", "far 0", "--type", "far").returncode == 2
    assert local.ok("workers", "quarantine", "far 0", "--reason", "its disk") == "far 0\tquarantined\n"
    assert "online, quarantined" in local.ok("workers", "list", "--type", "far")
    assert "quarantine\tits disk" in local.ok("workers", "show", "far 0")
    assert "worker far 0 is in quarantine: its disk" in local.blobforge("doctor").stdout
    assert local.ok("workers", "readmit", "far 0") == "far 0\treadmitted\n"
    assert local.json("workers", "show", "far 0")["quarantined"] is False
    assert local.ok("workers", "remove", "far 0").split("\t") == ["far 0", "removed\n"]
    assert local.ok("workers", "list", "--type", "far") == local.ok("workers", "list", "--type", "nothing")


def test_workers_are_removed_in_the_background(local: Running, person: People) -> None:
    for number in range(3):
        person.call("POST", "/api/workers/register", {"id": f"gone {number}", "type": "gone"})
        person.call("POST", f"/api/workers/gone {number}/unregister")
    unasked = local.blobforge("workers", "remove", "--type", "gone", "--background")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    number = local.ok("workers", "remove", "--type", "gone", "--background", "--yes").strip()
    done = local.json("operations", "watch", number)
    assert (done["verb"], done["state"], done["changed"]) == ("remove-workers", "completed", 3)
    assert local.ok("workers", "list", "--type", "gone") == local.ok("workers", "list", "--type", "nothing")


def test_in_the_background_it_is_an_operation(local: Running, person: People) -> None:
    """Begun, watched, shown, listed, taken back."""
    for number in range(3):
        person.submit(f"background {number}", "background")
    assert local.blobforge("jobs", "cancel", "--type", "background", "--background").returncode == 2, (
        "nobody said yes"
    )
    number = local.ok("jobs", "cancel", "--type", "background", "--background", "--yes").strip()
    done = local.json("operations", "watch", number)
    assert (done["state"], done["changed"], done["verb"]) == ("completed", 3, "cancel")
    assert statuses(local, "background") == ["cancelled"] * 3
    assert local.json("operations", "show", number)["undo"]["possible"] is True
    assert local.ok("operations", "list", "--quiet").split()[0] == number
    back = local.json("operations", "undo", number, "--wait")
    assert (back["undo_of"], back["changed"]) == (int(number), 3)
    assert statuses(local, "background") == ["pending"] * 3
    ended = local.blobforge("operations", "cancel", number)
    assert ended.returncode == 5
    assert "completed already" in ended.stderr


def test_tags_are_added_and_removed(local: Running, person: People) -> None:
    first, second = (str(person.submit(f"tagged {number}", "tagged")) for number in range(2))
    assert local.ok("jobs", "tag", "add", "old", first) == f"{first}\tupdated\n"
    assert local.json("jobs", "tag", "add", "new", "--type", "tagged", "--yes")["changed"] == 2
    assert local.json("jobs", "tag", "remove", "old", "--tag", "old", "--yes")["changed"] == 1
    assert [local.json("jobs", "show", each)["tags"] for each in (first, second)] == [["new"], ["new"]]


def test_what_is_done_to_many_becomes_an_operation_by_itself(local: Running, person: People) -> None:
    """And the command says the same of it."""
    jobs = [
        {"type": "many", "source_hash": hashlib.sha256(str(number).encode()).hexdigest()} for number in range(1001)
    ]
    for some in (jobs[:1000], jobs[1000:]):
        person.call("POST", "/api/jobs/batch", {"jobs": some})
    done = local.blobforge("jobs", "cancel", "--type", "many", "--yes", "--json")
    assert json.loads(done.stdout) == {"matched": 1001, "changed": 1001, "refused": 0, "dry_run": False}
    assert "goes on without this command" in done.stderr
    number = local.ok("operations", "list", "--limit", "1", "--quiet").strip()
    assert local.json("operations", "show", number)["total"] == 1001
    again = local.json("jobs", "cancel", "--type", "many", "--yes")
    assert (again["changed"], again["refused"]) == (0, 1001)
