"""What rows of the original become: pure, case by case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from blobforge.job import JobStatus, Outcome
from blobforge.moving import mapping
from blobforge.moving.mapping import NotTaken, TakenJob
from blobforge.moving.moments import moment
from tests.fixtures.original import source

NOW = 1_795_000_000_000
FIVE = round(datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-02 15:04:05", FIVE),  # CURRENT_TIMESTAMP
        ("2026-01-02T15:04:05Z", FIVE),
        ("2026-01-02T15:04:05.123456789Z", FIVE + 123),
        ("2026-01-02T17:04:05+02:00", FIVE),
        ("2026-01-02T10:34:05.5-04:30", FIVE + 500),
        ("2026-01-02 15:04:05.999999999 +0000 UTC", FIVE + 999),
        ("2026-01-02 08:04:05.1 -0700 MST m=+0.000012", FIVE + 100),
        ("2026-01-02 15:04:05+00:00", FIVE),
        ("2026-01-02 15:04", FIVE - 5000),
        ("2026-01-02", FIVE - 5000 - (15 * 60 + 4) * 60_000),
        (FIVE // 1000, FIVE),
        (FIVE, FIVE),
        (FIVE / 1000, FIVE),
        ("0001-01-01 00:00:00 +0000 UTC", None),  # Go's zero time
        ("yesterday", None),
        ("2026-13-02 15:04:05", None),
        ("", None),
        (None, None),
        (0, None),
        (True, None),
        (b"2026-01-02", None),
    ],
)
def test_times_in_all_their_forms(text: object, ms: int | None) -> None:
    assert moment(text) == ms


def taken(**fields: Any) -> TakenJob:
    found = mapping.job({"id": 7, "type": "pdf", "source_hash": source("x"), **fields}, now=NOW)
    assert isinstance(found, TakenJob)
    return found


@pytest.mark.parametrize(
    ("fields", "status", "attempts", "outcome", "waits"),
    [
        ({"status": "pending"}, JobStatus.PENDING, 0, None, True),
        ({"status": "pending", "attempts": 2}, JobStatus.PENDING, 2, Outcome.FAILED, True),
        ({"status": "running", "attempts": 2}, JobStatus.PENDING, 1, Outcome.RELEASED, True),
        ({"status": "running", "attempts": 0}, JobStatus.PENDING, 0, Outcome.RELEASED, True),
        ({"status": "completed", "attempts": 0}, JobStatus.COMPLETED, 1, Outcome.COMPLETED, False),
        ({"status": "failed", "attempts": 2}, JobStatus.FAILED, 2, Outcome.FAILED, True),
        ({"status": "failed", "attempts": 3}, JobStatus.DEAD, 3, Outcome.FAILED, False),
        ({"status": "failed", "attempts": 2, "max_attempts": 2}, JobStatus.DEAD, 2, Outcome.FAILED, False),
        ({"status": "dead", "attempts": "3"}, JobStatus.DEAD, 3, Outcome.FAILED, False),
        ({"status": "cancelled", "attempts": 1}, JobStatus.CANCELLED, 1, Outcome.CANCELLED, False),
        ({"status": None}, JobStatus.DEAD, 0, None, False),
        ({}, JobStatus.DEAD, 0, None, False),
    ],
)
def test_states(
    fields: dict[str, Any], status: JobStatus, attempts: int, outcome: Outcome | None, waits: bool
) -> None:
    found = taken(**fields)
    assert (found.job.status, found.job.attempts, found.waits) == (status, attempts, waits)
    assert [each.outcome for each in found.attempts] == ([outcome] if outcome is not None else [])


def test_a_status_without_meaning_is_said_and_nobody_is_given_the_job() -> None:
    found = taken(status="paused")
    assert found.job.status is JobStatus.DEAD
    assert "'paused'" in (found.job.last_error or "")


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("priority", 9, 5),
        ("priority", -1, 1),
        ("priority", "2", 2),
        ("priority", None, 3),
        ("max_attempts", 0, 3),
        ("tags", '["a", "b", "a", " ", 5]', ("a", "b")),
        ("tags", "a, b,,", ("a", "b")),
        ("tags", '"one"', ("one",)),
        ("tags", '{"a": 1}', ()),
        ("tags", "null", ()),
        ("metadata", '{"a": [1, 2]}', '{"a": [1, 2]}'),
        ("metadata", "no JSON", '"no JSON"'),
        ("metadata", "null", None),
        ("metadata", "", None),
        ("metadata", "[" * 5000, '"' + "[" * 5000 + '"'),
        ("source_size", 0, None),
        ("source_size", 12.0, 12),
        ("source_size", "many", None),
        ("source_path", "", None),
    ],
)
def test_values_that_sqlite_may_hold(field: str, value: object, kept: object) -> None:
    assert getattr(taken(status="pending", **{field: value}).job, field) == kept


def test_what_cannot_be_a_job_is_told() -> None:
    for fields in ({"type": "pdf", "source_hash": "ABC"}, {"type": "", "source_hash": source("x")}, {}):
        assert isinstance(mapping.job(fields, now=NOW), NotTaken)


def test_administrators_may_all_and_others_what_all_could() -> None:
    row = {"token_hash": "ab" * 32, "name": "ci", "scopes": "everything"}
    admin, other = mapping.token({**row, "is_admin": 1}, now=NOW), mapping.token(row, now=NOW)
    assert not isinstance(admin, NotTaken)
    assert not isinstance(other, NotTaken)
    assert (admin.scopes, other.scopes) == ({"admin"}, {"read", "submit", "work"})
    assert isinstance(mapping.token({"name": "x", "token_hash": "short"}, now=NOW), NotTaken)


def test_people_need_their_provider() -> None:
    assert isinstance(mapping.user({"id": "s", "email": "a@b"}, issuer="", now=NOW), NotTaken)
    person = mapping.user({"id": "s", "email": "a@b", "groups": "x,y"}, issuer="https://id", now=NOW)
    assert not isinstance(person, NotTaken)
    assert (person.issuer, person.subject, person.groups) == ("https://id", "s", ("x", "y"))
