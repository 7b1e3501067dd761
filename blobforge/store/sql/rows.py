"""From rows to the domain's types and back. Column order is that of `sql.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from blobforge import breaker
from blobforge.access import Scope, Token
from blobforge.batch import JobBatch
from blobforge.chain import ChainPlace
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.options import digest
from blobforge.people import Session, User
from blobforge.quarantine import Quarantine
from blobforge.store.needs import FailuresInARow, LatestEnd
from blobforge.store.sql.running import Row
from blobforge.worker import Worker, WorkerStatus

# A dict is several times faster than JobStatus(text).
_STATUS = {status.value: status for status in JobStatus}
_WORKER_STATUS = {status.value: status for status in WorkerStatus}
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_in_a_row = msgspec.json.Decoder(breaker.RowOfFailures).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_batches = msgspec.json.Decoder(tuple[int, ...]).decode
decode_chain = msgspec.json.Decoder(ChainPlace).decode
_decode_ends = msgspec.json.Decoder(list[LatestEnd]).decode
_decode_quarantine = msgspec.json.Decoder(Quarantine).decode
_BEFORE_REST = 12  # columns that are named below
_TRUTHS = tuple(Job.__struct_fields__.index(name) - _BEFORE_REST for name in ("write_once", "compare", "sourceless"))
_WRITE_ONCE, _COMPARE, _SOURCELESS = _TRUTHS
_BATCHES = Job.__struct_fields__.index("batches") - _BEFORE_REST
_CHAIN = Job.__struct_fields__.index("chain") - _BEFORE_REST


def job(row: Sequence[Any]) -> Job:
    id_, type_, status, priority, source_hash, created, updated, most, path, size, tags, avoid, *rest = row
    rest[_WRITE_ONCE], rest[_COMPARE] = bool(rest[_WRITE_ONCE]), bool(rest[_COMPARE])
    rest[_SOURCELESS] = bool(rest[_SOURCELESS])
    rest[_BATCHES] = _decode_batches(rest[_BATCHES]) if rest[_BATCHES] else ()
    if rest[_CHAIN] is not None:
        rest[_CHAIN] = decode_chain(rest[_CHAIN])
    return Job(
        id_, type_, _STATUS[status], priority, source_hash, created, updated, most, path, size,
        _decode_tags(tags) if tags else (), _decode_tags(avoid) if avoid else (), *rest,
    )  # fmt: skip


def job_values(job: Job) -> Row:
    """The parameters of INSERT_WHOLE_JOB."""
    whole = msgspec.structs.replace(
        job,
        tags=encode_tags(job.tags),
        avoid=encode_tags(job.avoid),
        write_once=int(job.write_once),
        compare=int(job.compare),
        sourceless=int(job.sourceless),
        batches=encode_tags(job.batches),
    )
    *values, _ = msgspec.structs.astuple(whole)
    return (*values, encode_chain(job.chain), digest(job.options))


def new_job(job: Job) -> Row:
    """A row of INSERT_JOBS."""
    return (
        job.id, job.type, job.status, job.priority, job.source_hash, job.created_at, job.updated_at,
        job.max_attempts, job.source_path, job.source_size, encode_tags(job.tags), job.metadata, job.submitter,
        job.output_bytes, job.options, digest(job.options), job.requires, job.lane,
        job.not_before, job.of_group, job.turn, job.expires_at, encode_tags(job.batches), encode_chain(job.chain),
    )  # fmt: skip


def encode_tags(tags: tuple[str, ...] | tuple[int, ...]) -> str | None:
    return msgspec.json.encode(tags).decode() if tags else None


def encode_chain(chain: ChainPlace | None) -> str | None:
    return msgspec.json.encode(chain).decode() if chain is not None else None


def attempt(row: Sequence[Any]) -> Attempt:
    job_id, number, worker_id, lease, started, ended, outcome, *rest = row
    known = Outcome(outcome) if outcome is not None else None
    return Attempt(job_id, number, worker_id, lease, started, ended, known, *rest)


def decode_ends(ended: str | None) -> list[LatestEnd]:
    """How a worker's latest attempts have ended, from a JSON array."""
    return _decode_ends(ended) if ended else []


def worker(row: Sequence[Any]) -> Worker:
    (
        id_, type_, status, created, updated, name, enabled, heartbeat, metadata, labels, version, token_id,
        secret_hash, drain, registered, instance, contested_at, contested_by, bound_type, accepts, converter,
        quarantine, readmitted_at,
    ) = row  # fmt: skip
    return Worker(
        id_, type_, _WORKER_STATUS[status], created, updated, name, bool(enabled), heartbeat, metadata, labels,
        version, token_id, secret_hash, bool(drain), bool(registered), instance, contested_at, contested_by,
        bound_type, _decode_tags(accepts) if accepts else (), converter,
        _decode_quarantine(quarantine) if quarantine else None, readmitted_at,
    )  # fmt: skip


def worker_values(worker: Worker) -> Row:
    return (
        worker.id, worker.type, worker.status, worker.created_at, worker.updated_at, worker.name,
        int(worker.enabled), worker.last_heartbeat, worker.metadata, worker.labels, worker.version,
        worker.token_id, worker.secret_hash, int(worker.drain), int(worker.registered), worker.instance,
        worker.contested_at, worker.contested_by, worker.bound_type, encode_tags(worker.accepts),
        worker.converter, encode_quarantine(worker.quarantine), worker.readmitted_at,
    )  # fmt: skip


def encode_quarantine(quarantine: Quarantine | None) -> str | None:
    return msgspec.json.encode(quarantine).decode() if quarantine is not None else None


def token(row: Row) -> Token:
    id_, name, hash_, prefix, scopes, *rest = row
    return Token(id_, name, hash_, prefix, frozenset(Scope(scope) for scope in scopes.split()), *rest)


def batch(row: Sequence[Any]) -> JobBatch:
    return JobBatch(*row)


def batch_values(batch: JobBatch) -> Row:
    """The parameters of INSERT_BATCH."""
    return (
        batch.name, batch.created_at, batch.metadata, batch.submitter, batch.closed_at, batch.started_at,
        batch.ended_at, batch.endings, batch.callback_to, batch.callback,
    )  # fmt: skip


def encode_scopes(scopes: frozenset[Scope]) -> str:
    return " ".join(sorted(scopes))


def user(row: Row) -> User:
    id_, issuer, subject, email, name, groups, is_admin, created, last_login = row
    return User(id_, issuer, subject, email, name, _decode_tags(groups), bool(is_admin), created, last_login)


def session(row: Row) -> Session:
    return Session(*row)


def session_values(session: Session) -> Row:
    return (
        session.hash, session.user_id, session.token_id, session.created_at, session.seen_at, session.checked_at,
        session.expires_at, session.sealed, session.address, session.agent,
    )  # fmt: skip


def encode_groups(groups: tuple[str, ...]) -> str:
    return msgspec.json.encode(groups).decode()


def in_a_row(state: str | None) -> breaker.RowOfFailures | None:
    """What has failed in a row of a type, from the column of `breakers`."""
    return _decode_in_a_row(state) if state is not None else None


def failures_in_a_row(state: str | None, completed: str | None) -> FailuresInARow:
    """`completed`: JSON array of (hour, how many)."""
    return FailuresInARow(in_a_row(state), dict(_decode_pairs(completed)) if completed is not None else {})
