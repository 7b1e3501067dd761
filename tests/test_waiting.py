"""Why a job does not run: the reason that a person can do something about."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from blobforge.chain import ChainPlace
from blobforge.job import Job, JobStatus
from blobforge.jobtype import TypeLoad, TypeSettings
from blobforge.requirements import canonical
from blobforge.waiting import Fleet, Reason, Surroundings, waiting

NOW = 1_795_000_000_000
HOUR = 3_600_000


def job(status: JobStatus = JobStatus.PENDING, **fields: object) -> Job:
    return Job(7, "pdf", status, 3, "ab" * 32, NOW, NOW, 3, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("around", "reason", "words"),
    [
        (Surroundings(), Reason.NO_WORKER, "No worker for type pdf is registered"),
        (Surroundings(Fleet(offline=2)), Reason.ALL_OFFLINE, "offline. Start"),
        (Surroundings(Fleet(offline=1, disabled=1)), Reason.ALL_OFFLINE, "offline or disabled"),
        (Surroundings(Fleet(disabled=2)), Reason.ALL_DISABLED, "Enable one"),
        (Surroundings(Fleet(draining=1, offline=3)), Reason.ALL_DRAINING, "is draining (the others"),
        (Surroundings(Fleet(draining=1)), Reason.ALL_DRAINING, "is draining. Enable"),
        (
            Surroundings(Fleet(quarantined=1), quarantined=("x",)),
            Reason.ALL_QUARANTINED,
            "in quarantine: x. One that",
        ),
        (
            Surroundings(Fleet(quarantined=5, offline=1), quarantined=("v", "w", "x", "y")),
            Reason.ALL_QUARANTINED,
            "in quarantine (the others are away, disabled or draining): v, w, x and 2 more",
        ),
        (
            Surroundings(Fleet(ready=2, quarantined=1), quarantined=("x",)),
            Reason.NEXT,
            "now; in quarantine: x",
        ),
        (Surroundings(Fleet(ready=1, draining=9)), Reason.NEXT, "next of type pdf; one worker is there"),
        (Surroundings(Fleet(ready=2), ahead=1, running=2), Reason.QUEUED, "1 job of its type is before it"),
        (Surroundings(Fleet(ready=2), others_in_groups=True), Reason.NEXT, "in turns with jobs that have a group"),
        (Surroundings(Fleet(ready=2), ahead=1000, ahead_exact=False), Reason.QUEUED, "more than 1,000 jobs"),
    ],
)
def test_a_pending_job(around: Surroundings, reason: Reason, words: str) -> None:
    found = waiting(job(), around, source_until=None, now=NOW)
    assert found is not None
    assert found.reason is reason
    assert words in found.text
    assert found.until is None


def test_a_back_off_says_until_when_and_what_is_left() -> None:
    found = waiting(
        job(JobStatus.FAILED, attempts=2, not_before=NOW + 5000), Surroundings(), source_until=None, now=NOW
    )
    assert found is not None
    assert (found.reason, found.until) == (Reason.BACK_OFF, NOW + 5000)
    assert "last attempt" in found.text


def test_a_missing_source_says_how_long_it_is_waited_for() -> None:
    found = waiting(job(JobStatus.UPLOADING), Surroundings(), source_until=NOW + HOUR, now=NOW)
    assert found is not None
    assert (found.reason, found.until) == (Reason.SOURCE, NOW + HOUR)
    assert "Upload it" in found.text


@pytest.mark.parametrize("place", [ChainPlace(parent=1, source="outputs/x/1/1/a"), ChainPlace(parent=1, joins=True)])
def test_no_person_is_asked_to_upload_what_the_server_has_made(place: ChainPlace) -> None:
    found = waiting(job(JobStatus.UPLOADING, chain=place), Surroundings(), source_until=None, now=NOW)
    assert found is not None
    assert (found.reason, found.change, "pload" in found.text) == (Reason.SOURCE, (), False)


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED])
def test_what_runs_or_has_ended_waits_for_nothing(status: JobStatus) -> None:
    assert waiting(job(status), Surroundings(), source_until=None, now=NOW) is None


PAUSED = TypeSettings(paused_at=NOW, paused_by="ann", reason="broken", max_running=1)
FULL = TypeSettings(max_running=2)
SLOW = TypeSettings(rate_count=2, rate_ms=10_000)
SPENT = TypeLoad(0, 20_000, NOW)  # two of two
THERE = Fleet(ready=1)


@pytest.mark.parametrize(
    ("around", "reason", "more"),
    [
        (Surroundings(THERE, settings=PAUSED, running=1), Reason.PAUSED, {"change": ("blobforge types resume pdf",)}),
        (
            Surroundings(THERE, settings=FULL, running=2, runners=(4, 5)),
            Reason.LIMIT,
            {
                "held_by": (4, 5),
                "change": (
                    "blobforge types set pdf --max-running 3", "blobforge types set pdf --unset max-running"
                ),
            },
        ),
        (Surroundings(THERE, settings=FULL, running=1), Reason.NEXT, {"ahead": 0, "change": ()}),
        (Surroundings(THERE, settings=TypeSettings(max_running=0)), Reason.LIMIT, {"held_by": ()}),
        (
            Surroundings(THERE, settings=SLOW, load=SPENT),
            Reason.RATE,
            {"until": NOW + 5000, "change": ("blobforge types set pdf --unset rate",)},
        ),
        (Surroundings(THERE, settings=SLOW, load=TypeLoad(0, 20_000, NOW - 5000)), Reason.NEXT, {"until": None}),
        (Surroundings(settings=SLOW, load=SPENT), Reason.NO_WORKER, {}),
        (
            Surroundings(THERE, ahead=7), Reason.QUEUED, {"ahead": 7, "change": ("blobforge jobs priority 7 1",)}
        ),
        (Surroundings(Fleet(disabled=1)), Reason.ALL_DISABLED, {"change": ("blobforge workers enable WORKER",)}),
    ],
)  # fmt: skip
def test_what_is_set_for_its_type_and_what_would_change_it(
    around: Surroundings, reason: Reason, more: dict[str, object]
) -> None:
    found = waiting(job(), around, source_until=None, now=NOW)
    assert found is not None
    assert found.reason is reason
    assert {name: getattr(found, name) for name in more} == more


def test_a_worker_that_is_to_be_started_has_what_the_job_requires() -> None:
    """One without these labels would not be given the job."""
    requires = canonical(["gpu", "memory_gib>=64", "zone=eu west", "cores>8"])
    for fleet, reason in ((Fleet(), Reason.NO_WORKER), (Fleet(unlabelled=1), Reason.LABELS)):
        found = waiting(job(requires=requires), Surroundings(fleet), source_until=None, now=NOW)
        assert found is not None
        assert found.reason is reason
        labels = "--label cores=VALUE --label gpu --label memory_gib=64 --label 'zone=eu west'"
        assert found.change == (f"blobforge work --type pdf {labels} --exec COMMAND",)


@pytest.mark.parametrize(
    ("around", "words"),
    [
        (Surroundings(THERE, running=1), "and 1 job runs now."),
        (Surroundings(THERE, ahead=2, running=2), "and 2 jobs run now."),
        (
            Surroundings(THERE, settings=TypeSettings(rate_count=1, rate_ms=1000), load=TypeLoad(0, 1000, NOW)),
            "1 job of type pdf may be started in 1 s, and has been.",
        ),
    ],
)
def test_one_job_and_several(around: Surroundings, words: str) -> None:
    found = waiting(job(), around, source_until=None, now=NOW)
    assert found is not None
    assert words in found.text


def test_a_command_can_be_pasted_whatever_a_type_is_called() -> None:
    named = replace(job(), type="a; rm -rf b")
    found = waiting(named, Surroundings(THERE, settings=PAUSED), source_until=None, now=NOW)
    assert found is not None
    assert found.change == ("blobforge types resume 'a; rm -rf b'",)


def test_a_job_of_a_group_waits_for_its_groups_turn() -> None:
    around = Surroundings(THERE, ahead=12, own=3, own_running=2)
    found = waiting(replace(job(JobStatus.PENDING), of_group="acme", turn=5), around, source_until=None, now=NOW)
    assert found is not None
    assert (found.reason, found.ahead, found.change) == (Reason.TURN, 12, ("blobforge jobs priority 7 1",))
    assert "of its group acme 2 jobs run now, and 3 more come before it" in found.text
    assert "At least 9 others do, too: more urgent" in found.text
    first = waiting(
        replace(job(JobStatus.PENDING), of_group="acme", turn=5), Surroundings(THERE), source_until=None, now=NOW
    )
    assert first is not None
    assert (first.reason, first.ahead) == (Reason.NEXT, 0)
    assert "next of type pdf, in turns with jobs without a group" in first.text, "these may come before it"
