"""The composition root: from settings to a running server, and back down in the right order.

Up: lock, database (restored where it is missing), objects, actors, HTTP. Down: streams end and long polls answer,
HTTP closes, the writer drains, the actors stop, the database closes, and the backup takes the last of it. What is
wired with what stands in `parts.py`.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from types import FrameType

import msgspec
import structlog
import trio

from actors.effects.backfill import begin
from actors.effects.recovery import settle_restore
from actors.effects.transaction import Rules, Transaction
from actors.mailbox import ask
from actors.messages import Audit, Note
from actors.replicator import STOPPED_WITHIN, Replicator
from blobforge.backup import BackupError
from blobforge.backup.opening import opened
from blobforge.backup.sidecar import Plan
from blobforge.config import Settings, secrets_of
from blobforge.events import Fact, OutputUnchecked
from blobforge.jobtype import retry_policy
from blobforge.machinery import datadir, garbage, heap, logs, notify, redaction
from blobforge.machinery.clock import wall_ms
from blobforge.machinery.datadir import StartError
from blobforge.machinery.groups import leaves
from blobforge.machinery.hop import Hop, in_thread
from blobforge.machinery.release import version
from blobforge.machinery.tracing import open_tracer
from blobforge.objects import ObjectStore
from blobforge.serve import openfiles
from blobforge.serve.engines import engine_of
from blobforge.serve.following import follow, followed
from blobforge.serve.joining import ensure_administrator, first_token, join
from blobforge.serve.listener import http_settings, listen, reachable
from blobforge.serve.parts import Parts, open_objects
from blobforge.store.commons import signing_secret
from blobforge.store.engine import Engine
from blobforge.store.errors import DatabaseError
from blobforge.store.keeping import Keeper
from blobforge.store.writing import Store
from web.app import make_app
from web.connection.places import Places
from web.connection.serving import Server
from web.reads import ReadPool
from web.shared import Shared

FEW_CONNECTIONS = 1000  # for which a fleet may have no room
log = structlog.get_logger("blobforge.server")

# How long a thread that computes may keep the interpreter's lock from one that waits for it. The writer waits behind
# every statement; with the default of 5 ms it stands still for as long as the answers to a batch are encoded.
SWITCH_SECONDS = 0.0005
ON_RECORD_SECONDS = 2.0
DRAIN_SECONDS = 10.0  # for the writer to take its last message; it takes none when it has met a bug itself
FIRST_LOOK_SECONDS = 2.0
INHERIT_AGAIN = 5.0
IN_HAND_SECONDS = 30.0  # a server that has accepted an output has checked and kept it within these, as a rule


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 after a clean stop, 1 when it could not start."""
    logs.configure(settings.log_level, settings.log_format)
    redaction.hide(secrets_of(settings))
    sys.setswitchinterval(SWITCH_SECONDS)
    heap.settle()
    signal.signal(signal.SIGTERM, _end_at_once)  # until the server is ready to stop in good order
    room = openfiles.raise_limit(settings.max_connections)
    if room < settings.max_connections:
        # The operator has set no number: it is what there is room for, unless that is hardly any.
        asked_for = settings.max_connections != Settings().max_connections or room < FEW_CONNECTIONS
        say = log.warning if asked_for else log.info
        say("fewer connections than asked for: raise the limit of open files (ulimit -Hn)", connections=room)
    failed = False
    try:
        trio.run(serve, settings)
    except* (StartError, DatabaseError, OSError) as errors:
        failed = True
        for error in leaves(errors):
            log.error("cannot start", reason=_reason(error, settings))
    except* BackupError as errors:
        failed = True
        for error in leaves(errors):
            log.error("stopped: the backup is not what was asked for", reason=str(error))
    return 1 if failed else 0


def _reason(error: BaseException, settings: Settings) -> str:
    """The error's text, with the names of its files where it does not say them itself."""
    if isinstance(error, OSError) and not error.filename:
        return f"{error.strerror or error} (data folder {settings.data_path}, database {settings.shown_database})"
    return str(error)


async def serve(settings: Settings, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the whole server; reports its URL once it is ready, and ends after a signal or when cancelled."""
    stop = trio.Event()
    datadir.prepare(settings.data_path)
    with (
        datadir.locked(settings.data_path / "server"),
        nullcontext() if settings.database_url else datadir.locked(settings.database),
        listen(settings) as listener,
    ):
        async with running(settings) as parts:
            parts.url = reachable(listener)
            server = _http_server(settings, parts, listener)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(partial(server.serve, shutdown=stop.wait))
                    # Before the server is said to be ready: from then on it may be stopped.
                    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                        garbage.settle()
                        _announce(settings, parts)
                        notify.tell(notify.READY)
                        task_status.started(parts.url)
                        nursery.start_soon(_on_record, parts, "server.started")
                        await anext(signals)
                    # A second signal ends the process at once.
                    signal.signal(signal.SIGTERM, _end_at_once)
                    signal.signal(signal.SIGINT, _end_at_once)
                    notify.tell(notify.STOPPING)
                    log.info("stopping")
                    # Streams first: an open one would hold up everything behind it.
                    await _on_record(parts, "server.stopped")
                    parts.broadcaster.close()
                    parts.live_logs.close()
                    parts.scheduler.close()
                    stop.set()
            finally:
                for name in (datadir.READY_FILE, datadir.LINK_FILE):
                    (settings.data_path / name).unlink(missing_ok=True)
    log.info("stopped")


async def _on_record(parts: Parts, action: str) -> None:
    """Into the audit log, which charts are marked by. Where the database does not take it, nothing waits for it."""
    audit = Audit("server", "server", "", action, parts.presence.servers()[0].name, version())
    with trio.move_on_after(ON_RECORD_SECONDS):
        try:
            await ask(parts.writer.mailbox, Note(), audit=audit)
        except Exception:  # a bug that the writer met with it ends no server
            log.exception("not on record", action=action)


def _http_server(settings: Settings, parts: Parts, listener: socket.socket) -> Server:
    app, services = make_app(parts.services), parts.services
    places = Places(parts.connections, services.known)
    requests, unread = services.metrics.requests, services.unread
    return Server(app.asgi_app, app.hot, http_settings(settings), listener, places, requests, unread)


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    hop: Hop | None = None,
    now: Callable[[], int] = wall_ms,
    objects: ObjectStore | None = None,
    engine: Engine | None = None,
) -> AsyncIterator[Parts]:
    """Open everything, run the actors, and close in the opposite order.

    `hop`, `now`, `objects` and `engine` are for tests: the same server, on another clock, beside another store,
    on another database.
    """
    tracer = open_tracer(settings.otel_endpoint)
    engine = engine or engine_of(settings)
    plan = await _backup_opened(settings, engine.keeper)
    store = await (hop or in_thread)(engine.open_store)
    reads = ReadPool(engine.open_reader, hop=hop)
    shared = Shared(engine.commons(settings.data_path), hop=hop)
    try:
        secret = await shared.ask(signing_secret)
        objects = objects or open_objects(settings, secret, hop, tracer)
        with engine.damage_told():
            await (hop or in_thread)(partial(_settle_restore, store, now()))
            parts = Parts(settings, store, reads, objects, shared, secret, hop=hop, now=now, tracer=tracer)
            parts.admin_token = await first_token(settings, shared)
            others = await join(settings, parts)
        async with followed(engine, parts, hop=hop) as source:
            with engine.damage_told():
                await _resume(parts)
                parts.replicator = await _replicator(plan, parts)
            async with _replicating(parts.replicator, store, reads), trio.open_nursery() as actors:
                # The writer is not cancelled with the others: it ends when it has served all that was sent to it.
                for actor in (
                    parts.broadcaster,
                    parts.scheduler,
                    parts.reaper,
                    parts.intake,
                    parts.janitor,
                    parts.operator,
                    parts.courier,
                ):
                    actors.start_soon(actor.run)
                actors.start_soon(parts.presence.run)
                if source is not None:
                    follow(source, parts, actors, resume=_resume, inherit=_inherit, hop=hop)
                if hop is None:  # in virtual time nothing is late, and each of its steps would be one of the clock's
                    actors.start_soon(parts.lag.run)
                    actors.start_soon(parts.limits.run)
                async with trio.open_nursery() as writing:
                    writing.start_soon(parts.writer.run)
                    try:
                        with engine.damage_told():
                            await ensure_administrator(settings, parts, others)
                        # A new database looks what the store holds before it takes sources: those would be told as
                        # another's. A store that does not answer holds up no start.
                        with trio.move_on_after(FIRST_LOOK_SECONDS):
                            await parts.janitor.looked.wait()
                        yield parts
                    finally:
                        if parts.replicator is not None:
                            parts.replicator.close()
                        with trio.move_on_after(DRAIN_SECONDS, shield=True):
                            await parts.writer.stop()
                # The others take up what is left: all of it has been committed by now.
                with trio.move_on_after(DRAIN_SECONDS, shield=True):
                    await parts.presence.leave()
                actors.cancel_scope.cancel()
    finally:
        for opened in (reads, store, shared):
            opened.close()
        if tracer is not None:
            await tracer.close()


@asynccontextmanager
async def _replicating(replicator: Replicator | None, store: Store, reads: ReadPool) -> AsyncIterator[None]:
    """Copy the database over the block, and until it has been closed behind it: then the backup holds everything."""
    if replicator is None:
        yield
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(replicator.run)
        try:
            yield
        finally:
            reads.close()
            store.close()
            with trio.move_on_after(STOPPED_WITHIN, shield=True):
                await replicator.stop()


async def _backup_opened(settings: Settings, keeper: Keeper | None) -> Plan | None:
    if keeper is None:
        if settings.backup_s3("endpoint") and not settings.litestream_disabled:
            log.info(
                "Litestream is off: it copies SQLite. Have PostgreSQL backed up (docs/high-availability.md), or set "
                "BLOBFORGE_LITESTREAM_DISABLED=true if that is done"
            )
        return None
    try:
        return await opened(settings, keeper)
    except BackupError as error:
        raise StartError(str(error)) from error


def _settle_restore(store: Store, now: int) -> None:
    """Before the first read of the database: if it came out of a backup, no worker holds a job any more."""
    tx = Transaction(store, Rules(), now, random.Random())
    with store.transaction(now=now):
        tx.now = store.now
        returned = settle_restore(tx)
        begin(tx)
    if returned is not None:
        log.warning("restored: every lease is void, running jobs went back", jobs=returned)


async def _replicator(plan: Plan | None, parts: Parts) -> Replicator | None:
    if plan is None:
        return None
    drills = await parts.reads.run(lambda reader: reader.drills(limit=1))
    return Replicator(
        plan,
        writer=parts.writer.mailbox,
        writes=lambda: parts.writer.writes,
        now=parts.now,
        drill_interval=parts.services.settings.backup_drill_interval,
        last_drill=drills[0] if drills else None,
        proven_until=await parts.reads.run(lambda reader: reader.proven_until()),
    )


async def _resume(parts: Parts) -> None:
    """Let the actors take up what a former run left."""
    now = parts.now()
    leases = await parts.reads.run(lambda reader: reader.running())
    workers = await parts.reads.run(lambda reader: reader.live_workers())
    sources = await parts.reads.run(lambda reader: reader.awaited_sources())
    waits = await parts.reads.run(lambda reader: reader.waiting_for_time())
    parts.reaper.resume(running=leases, workers=workers, uploads=sources, now_ms=now)
    parts.intake.resume(sources, now_ms=now)
    if parts.presence.has_company:
        parts.presence.on_change()  # what is left may be in another server's hand: see `_inherit`
    else:
        parts.intake.post(await _left(parts))
    types = await parts.reads.run(lambda reader: reader.types.settings())
    usual = parts.rules.retry
    longest = max(policy.longest for policy in (usual, *(retry_policy(each, usual) for each in types.values())))
    parts.scheduler.resume(waits, now_ms=now, longest=longest)
    parts.scheduler.look_at_times()
    if leases:
        log.info("leases get a fresh period", jobs=len(leases))


async def _left(parts: Parts) -> list[Fact]:
    """What the server that committed it has in hand: outputs that are to be checked, to be kept, to be read, as jobs
    wait for that, and manifests that are to be put into the store."""
    unchecked = await parts.reads.run(lambda reader: reader.unchecked_outputs())
    return [
        *(OutputUnchecked(*output) for output in unchecked),
        *await parts.reads.run(lambda reader: reader.outputs_to_keep()),
        *await parts.reads.run(lambda reader: reader.awaited_proofs()),
        *await parts.reads.run(lambda reader: reader.kin.awaited_manifests()),
    ]


async def _inherit(parts: Parts) -> None:
    """What a server that is gone had in hand, the first of those that are left takes up. Beside others only what is
    left after a while: what is in the hand of a server that is there would be copied twice."""
    before: set[Fact] | None = None
    while parts.presence.rank() == 0:
        try:
            left = await _left(parts)
        except DatabaseError:  # told by the one that read; tried again
            await trio.sleep(INHERIT_AGAIN)
            continue
        if parts.presence.has_company and before is None and left:
            before = set(left)
            await trio.sleep(IN_HAND_SECONDS)
            continue
        parts.intake.post(left if before is None else [each for each in left if each in before])
        return


def _announce(settings: Settings, parts: Parts) -> None:
    base = settings.public_url.rstrip("/") or parts.url
    link = f"{base}/auth/first?code={parts.first_code}"
    datadir.write_private(settings.data_path / datadir.LINK_FILE, link + "\n")
    # The last of the files: a program that has waited for it finds the others.
    ready = {"url": parts.url, "pid": os.getpid(), "version": version()}
    datadir.write_private(settings.data_path / datadir.READY_FILE, msgspec.json.encode(ready).decode())
    if sys.stderr.isatty():
        # To the person at the terminal, and not through the log, which others may read.
        print(f"\n  Sign in (this link works once): {link}\n", file=sys.stderr)
    log.info(
        "ready",
        url=parts.url,
        database=settings.shown_database,
        objects=parts.services.objects.name,
        admin_token="BLOBFORGE_ADMIN_TOKEN" if settings.admin_token else str(settings.data_path / datadir.TOKEN_FILE),
    )


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """The default action, for a process that may be a container's first: the kernel knows none for that one."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
