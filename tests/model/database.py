"""The database as plain data, to be held against the model."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from blobforge.chain import Step
from blobforge.job import LARGEST_RESULT
from tests.fixtures.probe import Probe
from tests.model.world import World
from tests.model.world.things import Job, Worker
from tests.model.world.webhooks import about

Row = tuple[Any, ...]

_JOBS = (
    "id", "type", "source_hash", "status", "priority", "max_attempts", "source_size", "attempt", "attempts", "losses",
    "worker_id", "lease", "completed_at", "not_before", "expires_at", "last_error", "output_key", "result",
    "progress",
    "heartbeat_at", "kept_attempt", "replaced", "releases", "avoid", "avoid_until", "options", "made_by", "compare",
    "compare_until", "requires", "lane", "output_bytes", "sourceless", "of_group", "turn",
    "batches", "chain",
)  # fmt: skip


def held(probe: Probe) -> dict[str, Any]:
    """What the database holds: rows, in no order but for those that are a log."""
    return {
        "jobs": _jobs(probe),
        "attempts": {
            # Of an attempt that was lost or revoked, the words are the coordinator's own.
            (
                *row, error if row[-1] == "failed" else None, kind if row[-1] in ("failed", "released") else None,
                given_back is not None,
            )
            for *row, error, kind, given_back in probe.rows(
                "attempts", "job_id", "attempt", "converter", "worker_id", "lease", "started_at", "ended_at",
                "outcome", "error", "kind", "given_back",
            )
        },
        "workers": set(probe.rows(
            "workers", "id", "type", "status", "enabled", "drain", "registered", "last_heartbeat", "token_id",
            "secret_hash", "instance", "contested_at", "converter", "accepts",
            "labels", "quarantine", "readmitted_at",
        )),
        "files": {
            (key, size, sha256, int(checked_at is not None), keeping, kept)
            for key, size, sha256, checked_at, keeping, kept in probe.rows(
                "files", "key", "size", "sha256", "checked_at", "keeping", "kept"
            )
        },
        "type settings": set(probe.rows(
            "type_settings", "type", "paused_at", "paused_by", "reason", "max_attempts", "retry_backoff",
            "max_running", "rate_count", "rate_ms", "worker_timeout", "group_weights", "breaker", "urgent_after",
            "own_fault", "quarantine", "made_by", "then_steps",
        )),
        "broken types": {
            (type_, row["probe_at"], tuple(row.get("probe") or ()), row.get("failed", 0))
            for type_, state in probe.rows("breakers", "type", "state")
            if state is not None and "probe_at" in (row := json.loads(state))
        },
        "canaries": set(probe.rows("canaries", "id", "types", "made_by", "taken", "closed_at", "cancelled_at")),
        "canary jobs": set(probe.rows("canary_jobs", "canary_id", "job_id", "original_id", "against")),
        "requirement sets": set(probe.rows("requirement_sets", "number", "type", "requires")),
        "group clocks": set(probe.rows("group_clocks", "type", "priority", "now", "alone")),
        "group turns": set(probe.rows("group_turns", "type", "priority", "of_group", "turn")),
        "doomed": set(probe.rows("doomed_objects", "key", "state", "due_at", "tries", "epoch", "again")),
        "undos": {
            (token, job_id, "{" if was.startswith("{") else was, became, at)
            for token, job_id, was, became, at in probe.rows("undos", "token", "job_id", "was", "became", "at")
        },
        "tags": set(probe.rows("job_tags", "job_id", "tag")),
        "batches": set(probe.rows(
            "batches", "id", "name", "created_at", "closed_at", "started_at", "ended_at", "endings", "callback_to"
        )),
        "kin": set(probe.rows("kin", "parent", "attempt", "step", "name", "job_id", "lent")),
        "manifests": set(probe.rows("manifests", "source_hash", "manifest")),
        "families": set(probe.rows("families", "root", "jobs", "gone")),
        "batch jobs": set(probe.rows("batch_jobs", "batch", "job_id")),
        "batch counts": {row for row in probe.rows("batch_counts", "batch", "status", "type", "n") if row[-1]},
        "job counts": {row for row in probe.rows("job_counts", "status", "type", "priority", "n") if row[-1]},
        "converter counts": {
            row for row in probe.rows("converter_counts", "made_by", "status", "type", "priority", "n") if row[-1]
        },
        "deferred counts": {row for row in probe.rows("deferred_counts", "type", "priority", "n") if row[-1]},
        "worker counts": {row for row in probe.rows("worker_counts", "status", "n") if row[-1]},
        "tokens": {
            (id_, name, hash_, scopes == "admin", origin == "start", used)
            for id_, name, hash_, scopes, origin, used in probe.rows(
                "tokens", "id", "name", "hash", "scopes", "origin", "last_used_at"
            )
        },
        "users": set(probe.rows("users", "id", "issuer", "subject", "name", "groups", "is_admin", "last_login_at")),
        "sessions": set(probe.rows("sessions", "hash", "user_id", "token_id", "seen_at", "checked_at", "expires_at")),
        "kept answers": set(probe.rows("idempotency", "subject", "key", "fingerprint", "created_at")),
        "audit": probe.rows("audit", "at", "actor", "action", "subject", order="id"),
        "outputs": set(probe.rows("outputs", "job_id", "attempt", "name", "size", "chosen")),
        "webhooks": {
            (number, tuple(json.loads(events)), disabled_at is None, tuple(failing), deleted_at is not None, host)
            for number, events, disabled_at, deleted_at, host, *failing in probe.rows(
                "webhooks", "id", "events", "disabled_at", "deleted_at", "host",
                "failing_since", "failed_at", "failing_ms",
            )
        },
        "deliveries": Counter(
            (webhook, event, about(event, data), state, tries, courier)
            for webhook, event, data, state, tries, courier in probe.rows(
                "deliveries", "webhook", "event", "data", "state", "tries", "courier"
            )
        ),
        "drills": probe.rows("backup_drills", "started_at", "ok", order="id"),
        "searches": set(probe.rows(
            "searches", "name", "searcher", "state", "doom", "started_at", "heard_at", "folder", "cursor", "ended_at",
            "objects", "orphans", "bytes", "unfinished", "named", "error",
        )),
        "named by searches": {
            (search, key) for search, keys in probe.rows("search_names", "search", "keys") for key in json.loads(keys)
        },
    }  # fmt: skip


def _jobs(probe: Probe) -> set[Row]:
    """With the result that is kept aside, and without a heartbeat that no attempt sends any more."""
    aside = {
        (job_id, attempt): result for job_id, attempt, result in probe.rows("results", "job_id", "attempt", "result")
    }
    found = set()
    for row in probe.rows("jobs", *_JOBS):
        job = dict(zip(_JOBS, row, strict=True))
        of = job["attempt"] if job["status"] == "completed" else job["kept_attempt"]
        if job["result"] is None:
            job["result"] = aside.get((job["id"], of))
        job["last_error"] = job["last_error"] is not None
        job["chain"] = chain_read(job["chain"])
        job["heartbeat_at"] = job["heartbeat_at"] if job["status"] == "running" else None
        found.add(tuple(job.values()))
    return found


def _quarantine(worker: Worker) -> str | None:
    if worker.held is None:
        return None
    since, why, by = worker.held
    held = {"since": since, "evidence": why, "type": None, "by": by, "trial_at": None, "failed": 0, "passed": 0}
    return json.dumps(held, separators=(",", ":"))


def should_hold(world: World) -> dict[str, Any]:
    """The same of the model."""
    jobs = world.jobs.values()
    job_counts = Counter((job.status, job.type, job.priority) for job in jobs)
    converters = Counter((job.made_by, job.status, job.type, job.priority) for job in jobs if job.made_by)
    deferred = Counter((job.type, job.priority) for job in jobs if job.deferred)
    worker_counts = Counter(worker.status for worker in world.workers.values())
    return {
        "jobs": {_job(world, job) for job in jobs},
        "attempts": {
            (job.id, number, each.converter, each.worker, each.lease, each.started_at, each.ended_at, each.outcome,
             each.error, each.kind, each.free)
            for job in jobs
            for number, each in job.history.items()
        },
        "workers": {
            (each.id, each.type, each.status, each.enabled, each.drain, each.registered, each.seen, each.token,
             each.secret, each.instance, each.contested_at, each.converter,
             json.dumps(each.accepts, separators=(",", ":")) if each.accepts else None,
             each.labels, _quarantine(each), each.readmitted_at)
            for each in world.workers.values()
        },
        "files": {
            (key, each.size, each.sha256, int(each.checked), int(each.keeping), each.kept)
            for key, each in world.files.items()
        },
        "type settings": {
            (type_, *each[:14], None, written_steps(each[14])) for type_, each in world.set_for.items()
        } | {
            (f"{type_}/canary/{number}", *(None,) * 14, each.made_by, None)
            for number, each in world.canaries.items()
            if each.closed_at is None
            for type_ in each.types
        },
        "canaries": {
            (number, json.dumps(each.types, separators=(",", ":")), each.made_by, each.taken, each.closed_at,
             each.cancelled_at)
            for number, each in world.canaries.items()
        },
        "canary jobs": {
            (number, id_, *of) for number, each in world.canaries.items() for id_, of in each.jobs.items()
        },
        "broken types": {
            (type_, row.probe_at, row.probe or (), row.failed)
            for type_, row in world.rows.items() if row.probe_at is not None
        },
        "requirement sets": {(number, *each) for number, each in world.sets.items()},
        "group clocks": {(*key, *clock) for key, clock in world.clocks.items()},
        "group turns": {(*key, turn) for key, turn in world.turns.items()},
        "doomed": {
            (key, each.state, each.due_at, each.tries, each.epoch, int(each.again))
            for key, each in world.doomed.items()
        },
        "undos": {(*key, *undo) for key, undo in world.undos.items()},
        "tags": {(job.id, tag) for job in jobs for tag in job.tags},
        "batches": {
            (number, each.name, each.made_at, each.closed_at, each.started_at, each.ended_at, each.endings,
             each.callback)
            for number, each in world.batches.items()
        },
        "kin": {(*row, job_id, int(lent)) for row, (job_id, lent) in world.kin.items()},
        "manifests": set(world.manifests.items()),
        "families": {(root, *counts) for root, counts in world.families.items()},
        "batch jobs": {(number, job.id) for job in jobs for number in job.batches},
        "batch counts": {(*key, n) for key, n in _batch_counts(world).items()},
        "job counts": {(*key, n) for key, n in job_counts.items()},
        "converter counts": {(*key, n) for key, n in converters.items()},
        "deferred counts": {(*key, n) for key, n in deferred.items()},
        "worker counts": set(worker_counts.items()),
        "tokens": {
            (id_, each.name, each.hash, each.admin, each.of_the_start, each.used_at)
            for id_, each in world.tokens.items()
        },
        "users": {
            (each.id, *who, each.name, json.dumps(each.groups, separators=(",", ":")), each.admin, each.last_login_at)
            for who, each in world.people.items()
        },
        "sessions": {
            (hash_, each.user, each.token, each.seen_at, each.checked_at, each.expires_at)
            for hash_, each in world.sessions.items()
        },
        "kept answers": {(*key, each.fingerprint, each.at) for key, each in world.kept.items()},
        "audit": [tuple(each) for each in world.audits],
        "outputs": {
            (*attempt, name, size, int(chosen))
            for attempt, named in world.outputs.items() for name, (size, chosen) in named.items()
        },
        "webhooks": {
            (number, tuple(hook["events"]), hook["enabled"], hook["failing"], hook["deleted"], hook.get("host"))
            for number, hook in world.hooks.items()
        },
        "deliveries": Counter(
            (row["hook"], row["event"], row["about"], row["state"], row["tries"], row["courier"])
            for row in world.outbox
        ),
        "drills": world.drills,
        "searches": {search.row(name) for name, search in world.searches.items()},
        "named by searches": {(name, key) for name, search in world.searches.items() for key, _ in search.found},
    }  # fmt: skip


def _job(world: World, job: Job) -> Row:
    return (
        job.id, job.type, job.hash, job.status, job.priority, job.max_attempts, job.size, job.attempt, job.attempts,
        job.losses, job.worker, job.lease, job.completed_at, job.not_before, job.expires_at, job.error is not None,
        job.output, job.result, job.progress, job.beat if job.status == "running" else None, job.kept_attempt,
        _replaced(job), job.releases, json.dumps(job.avoid, separators=(",", ":")) if job.avoid else None,
        job.avoid_until, job.options, job.made_by, int(job.compare), job.compare_until,
        job.requires, world.lane(job), job.bytes, int(job.source_never_came), job.group, job.turn,
        json.dumps(job.batches, separators=(",", ":")) if job.batches else None, _chain(job),
    )  # fmt: skip


def _chain(job: Job) -> str | None:
    """As `chains_of` reads it."""
    chain = job.chain
    if chain is None:
        return None
    return repr((
        [_step(each) for each in chain.then], chain.parent, chain.family, chain.depth, chain.source, chain.proven,
        bool(chain.stopped), chain.adopted, chain.joined, chain.joins, sorted(chain.unjoined),
    ))  # fmt: skip


def written_steps(then: tuple[Step, ...] | None) -> str | None:
    return msgspec.json.encode(then).decode() if then is not None else None


def _step(step: Any) -> Any:
    join = step.join
    joined = (join.type, join.options, [_step(each) for each in join.then or ()]) if join is not None else None
    return (step.type, step.outputs, step.options, [_step(each) for each in step.then or ()], joined)


def chain_read(text: str | None) -> str | None:
    """Without the words of why it stopped."""
    if text is None:
        return None
    said = json.loads(text)

    def step(each: Any) -> Any:
        following = [step(one) for one in each.get("then", [])]
        join = each.get("join")
        joined = (join["type"], join.get("options"), [step(one) for one in join.get("then", [])]) if join else None
        return (each["type"], each.get("outputs", "*"), each.get("options"), following, joined)

    then = [step(each) for each in said.get("then", [])]
    rest = (said.get(name) for name in ("parent", "family"))
    return repr((
        then, *rest, said.get("depth", 0), said.get("source"), said.get("proven", False), "stopped" in said,
        said.get("adopted", False), said.get("joined", False), said.get("joins", False),
        [each["step"] for each in said.get("unjoined", [])],
    ))  # fmt: skip


def _batch_counts(world: World) -> Counter[tuple[int, str, str]]:
    counts = Counter((number, job.status, job.type) for job in world.jobs.values() for number in job.batches)
    for number, batch in world.batches.items():
        counts.update({(number, "gone", type_): n for type_, n in batch.gone.items()})
    return counts


def _replaced(job: Job) -> str | None:
    if job.replaced is None:
        return None
    attempt, output, result, made_by, output_bytes = job.replaced
    said: dict[str, Any] = {"attempt": attempt, "output_key": output, "result": result}
    if isinstance(result, str) and len(result) > LARGEST_RESULT:
        said |= {"result": None, "size": len(result)}
    if output_bytes:
        said["output_bytes"] = output_bytes
    if made_by is not None:
        said["made_by"] = made_by
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


def differences(probe: Probe, world: World) -> list[str]:
    """What is in one and not in the other; empty when they are the same."""
    are, should = held(probe), should_hold(world)
    if are == should:
        return []
    found = []
    for table, rows in are.items():
        if isinstance(rows, Counter):
            found += [f"{table}: the database has {n} times {row}" for row, n in (rows - should[table]).items()]
            found += [f"{table}: the model has {n} times {row}" for row, n in (should[table] - rows).items()]
            continue
        found += [f"{table}: the database has {row}" for row in rows if row not in should[table]]
        found += [f"{table}: the model has {row}" for row in should[table] if row not in rows]
    return found or ["the logs are in another order"]
