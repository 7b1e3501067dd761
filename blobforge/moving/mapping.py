"""What a row of the original's database is here: jobs, tokens, workers, users. Pure.

The original has no records of attempts, only a job's latest: how many there were, its worker, its time and its error.
So each job has one attempt on record, under the number that it had there; those before it are counted, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from blobforge.access import TOKEN_PREFIX, Scope, Token
from blobforge.job import LARGEST_RESULT, Attempt, Job, JobStatus, Outcome
from blobforge.moving.moments import moment
from blobforge.objects.keys import is_sha256, original_output_key
from blobforge.people import User
from blobforge.worker import Worker, WorkerStatus

Fields = Mapping[str, Any]

LEASE = ""  # of attempts that were made elsewhere: nothing is handed in with it
NOBODY = "unknown"  # the worker of an attempt, where that is not on record
WENT_BACK = "it ran when its database was moved over, and went back"
NO_REASON = "no reason is on record in the original database"
TAKEN_SCOPES = frozenset({Scope.READ, Scope.SUBMIT, Scope.WORK})
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_ATTEMPTS = 1_000_000


class NotTaken(msgspec.Struct, frozen=True):
    """Why a row cannot be taken over."""

    reason: str


class TakenJob(msgspec.Struct, frozen=True):
    """A job as it will be here. `waits`: it is still to be tried, and awaits its source if the store has none.

    `output` is where its result lies, if that is there.
    """

    job: Job
    attempts: tuple[Attempt, ...]
    waits: bool
    output: str | None
    results: tuple[tuple[int, str], ...] = ()  # see `Whole`


def job(row: Fields, *, now: int) -> TakenJob | NotTaken:
    """`now` in ms: the time of what has none, and of the end of a back-off."""
    source_hash = str(row.get("source_hash") or "")
    if not is_sha256(source_hash):
        return NotTaken("their source hash is no SHA-256 in lowercase hex")
    if not row.get("type"):
        return NotTaken("they have no type")
    created = moment(row.get("created_at")) or now
    updated = moment(row.get("updated_at")) or created
    ended = moment(row.get("completed_at")) or updated
    tried = min(max(_number(row.get("attempts")) or 0, 0), _MOST_ATTEMPTS)
    error = _text(row.get("last_error"))
    base = Job(
        id=max(_number(row.get("id")) or 0, 0),
        type=str(row["type"]),
        status=JobStatus.PENDING,
        priority=min(max(_number(row.get("priority")) or 3, 1), 5),
        source_hash=source_hash,
        created_at=created,
        updated_at=updated,
        max_attempts=max(_number(row.get("max_attempts")) or 3, 1),
        source_path=_text(row.get("source_path")),
        source_size=_size(row.get("source_size")),
        tags=_words(row.get("tags")),
        metadata=_json(row.get("metadata")),
        attempts=tried,
        attempt=tried,
        last_error=error,
    )
    status = str(row.get("status") or "")
    match status:
        case "completed":
            return _completed(base, row, ended)
        case "running" | "processing" | "claimed":
            tried = max(tried, 1)
            back = msgspec.structs.replace(base, attempts=tried - 1, attempt=tried, updated_at=now)
            return _taken(back, row, Outcome.RELEASED, now, waits=True, error=WENT_BACK)
        case "pending" | "queued" | "uploading":
            return _taken(base, row, Outcome.FAILED, updated, waits=True)
        case "failed" if 0 < tried < base.max_attempts:
            waiting = msgspec.structs.replace(base, status=JobStatus.FAILED, not_before=now)
            return _taken(waiting, row, Outcome.FAILED, ended, waits=True)
        case "cancelled" | "canceled":
            cancelled = msgspec.structs.replace(base, status=JobStatus.CANCELLED, completed_at=ended)
            return _taken(cancelled, row, Outcome.CANCELLED, ended, waits=False)
        case "failed" | "dead":
            reason = error or NO_REASON
        case _:
            reason = f"its status was {status!r} in the original database, which means nothing here; retry it, or not"
    dead = msgspec.structs.replace(
        base, status=JobStatus.DEAD, completed_at=ended, last_error=reason,
        started_at=_started(row, ended) if tried else None,
    )  # fmt: skip
    return _taken(dead, row, Outcome.FAILED, ended, waits=False)


def _completed(base: Job, row: Fields, ended: int) -> TakenJob:
    """With its result, which is kept aside where it is large."""
    tried = max(base.attempts, 1)
    result = _json(row.get("result"))
    size = len(result.encode()) if result is not None else 0
    aside = size > LARGEST_RESULT
    done = msgspec.structs.replace(
        base, status=JobStatus.COMPLETED, attempts=tried, attempt=tried, worker_id=_worker(row),
        started_at=_started(row, ended), completed_at=ended, last_error=None, result=None if aside else result,
        result_size=size if aside else None,
    )  # fmt: skip
    taken = _taken(done, row, Outcome.COMPLETED, ended, waits=False)
    results = ((tried, result),) if aside and result is not None else ()
    return msgspec.structs.replace(taken, results=results)


def _taken(
    taken: Job, row: Fields, outcome: Outcome, ended: int, *, waits: bool, error: str | None = None
) -> TakenJob:
    key = original_output_key(taken.source_hash)
    if taken.attempt == 0:
        return TakenJob(taken, (), waits, None)
    said = error or (taken.last_error if outcome is not Outcome.COMPLETED else None)
    record = Attempt(
        0, taken.attempt, _worker(row), LEASE, _started(row, ended), ended, outcome, error=said, output_key=key
    )  # fmt: skip
    return TakenJob(taken, (record,), waits, key if outcome is Outcome.COMPLETED else None)


def token(row: Fields, *, now: int) -> Token | NotTaken:
    """An API token: administrators may do everything, all others read, submit and work, as all could there."""
    hash_ = str(row.get("token_hash") or "").lower()
    if not _HASH.fullmatch(hash_):
        return NotTaken("their hash is no SHA-256")
    admin = bool(_number(row.get("is_admin")))
    return Token(
        id=0,
        name=_text(row.get("name")) or f"token {row.get('id')}",
        hash=hash_,
        prefix=TOKEN_PREFIX,  # the original keeps nothing of a token but its hash
        scopes=frozenset({Scope.ADMIN}) if admin else TAKEN_SCOPES,
        created_at=moment(row.get("created_at")) or now,
        expires_at=moment(row.get("expires_at")),
        last_used_at=moment(row.get("last_used_at")),
    )


def worker(row: Fields, *, now: int) -> Worker | NotTaken:
    """A worker, which is away until it registers again."""
    if not row.get("id"):
        return NotTaken("they have no id")
    secret = str(row.get("secret_hash") or "").lower()
    created = moment(row.get("created_at")) or now
    enabled = _number(row.get("enabled"))
    return Worker(
        id=str(row["id"]),
        type=_text(row.get("type")) or "",
        status=WorkerStatus.OFFLINE,
        created_at=created,
        updated_at=moment(row.get("updated_at")) or created,
        name=_text(row.get("name")),
        enabled=enabled is None or enabled != 0,
        last_heartbeat=moment(row.get("last_heartbeat")),
        metadata=_json(row.get("metadata")),
        secret_hash=secret if _HASH.fullmatch(secret) else None,
    )


def user(row: Fields, *, issuer: str, now: int) -> User | NotTaken:
    """A person, under the subject that the provider `issuer` knows."""
    if not issuer:
        return NotTaken("it is not known which provider they signed in with: say --issuer")
    if not row.get("id"):
        return NotTaken("they have no id")
    created = moment(row.get("created_at")) or now
    return User(
        id=0,
        issuer=issuer,
        subject=str(row["id"]),
        email=_text(row.get("email")),
        name=_text(row.get("name")),
        groups=_words(row.get("groups")),
        is_admin=bool(_number(row.get("is_admin"))),
        created_at=created,
        last_login_at=moment(row.get("updated_at")) or created,
    )


def _worker(row: Fields) -> str:
    return _text(row.get("worker_id")) or NOBODY


def _started(row: Fields, ended: int) -> int:
    return min(moment(row.get("started_at")) or ended, ended)


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _number(value: object) -> int | None:
    """The number in a column of numbers, where SQLite keeps whatever was written."""
    match value:
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if re.fullmatch(r"-?\d{1,18}", value.strip()):
            return int(value)
        case str() if value.strip().lower() in ("true", "false"):
            return int(value.strip().lower() == "true")
        case _:
            return None


def _size(value: object) -> int | None:
    size = _number(value)
    return size if size is not None and size > 0 else None  # 0 was "not known"


def _json(value: object) -> str | None:
    """JSON as it was sent; any other text as a JSON string."""
    if value in (None, ""):
        return None
    text = str(value)
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.encode(text).decode()
    return None if decoded is None else text


def _words(value: object) -> tuple[str, ...]:
    """A JSON array of words, or words with commas between."""
    if value in (None, ""):
        return ()
    text = str(value)
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        decoded = text.split(",")
    if isinstance(decoded, str):
        decoded = [decoded]
    if not isinstance(decoded, list):
        return ()
    return tuple(dict.fromkeys(word.strip() for word in decoded if isinstance(word, str) and word.strip()))
