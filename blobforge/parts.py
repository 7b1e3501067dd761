"""What the server is made of: every part gets what it needs here and nowhere else.

`server.py` opens what this takes, runs it, and closes it again in the opposite order.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.broadcaster import Broadcaster
from actors.effects.step import Rules
from actors.intake import Intake
from actors.janitor import Janitor, Retention
from actors.reaper import Reaper
from actors.replicator import Replicator
from actors.scheduler import Scheduler
from actors.writer import Writer
from blobforge import datadir
from blobforge.config import Settings
from blobforge.datadir import StartError
from blobforge.desk import Desk
from blobforge.hop import Hop
from blobforge.job import RetryPolicy
from blobforge.objects import ObjectStore
from blobforge.objects.local import LocalStore
from blobforge.objects.s3 import S3Store
from blobforge.store.store import Store
from blobforge.tracing import Tracer
from web.api.status import read_stats
from web.auth.keyring import FirstLink
from web.auth.turns import LocalTurns
from web.fronts.hub import Hub
from web.metrics.exposition import Metrics
from web.metrics.house import House
from web.reads import ReadPool
from web.upkeep import LocalBackups, LocalHousekeeping


class Parts:
    """What runs, for the one who starts and stops it."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reads: ReadPool,
        objects: ObjectStore,
        *,
        hop: Hop | None,
        now: Callable[[], int],
        tracer: Tracer | None,
    ) -> None:
        self.url = ""
        self.now = now
        self.replicator: Replicator | None = None
        self.admin_token = ""
        self.reads = reads
        rules = Rules(
            retry=RetryPolicy(
                backoff=settings.retry_backoff,
                backoff_max=settings.retry_backoff_max,
                jitter=settings.retry_jitter,
                max_losses=settings.max_losses,
            ),
            max_attempts=settings.max_attempts,
            max_types=settings.max_types,
        )
        self.broadcaster = Broadcaster(
            replay=settings.event_replay,
            queue=settings.event_queue,
            stats=lambda: read_stats(self.services),
        )
        self.writer = Writer(store, rules, now=now, sink=self.broadcaster, hop=hop, tracer=tracer)
        self.scheduler = Scheduler(self.writer.mailbox)
        self.reaper = Reaper(
            self.writer.mailbox,
            worker_timeout=settings.worker_timeout,
            upload_timeout=settings.upload_timeout,
            session_idle=settings.session_idle,
        )
        self.janitor = Janitor(
            self.writer.mailbox,
            objects,
            retention=Retention(
                completed=settings.retention_completed,
                dead=settings.retention_dead,
                cancelled=settings.retention_cancelled,
                audit=settings.retention_audit,
                objects=settings.retention_objects,
            ),
            now=now,
        )
        self.intake = Intake(
            self.writer.mailbox,
            objects,
            verify_limit=settings.verify_limit,
            deletions=lambda: self.janitor.deletions,
        )
        self.first_link = FirstLink()
        self.turns = LocalTurns()
        self.desk = Desk(
            settings,
            writer=self.writer.mailbox,
            broadcaster=self.broadcaster,
            reads=reads,
            objects=objects,
            turns=self.turns,
            own_url=lambda: self.url,
            now=now,
            hop=hop,
            tracer=tracer,
        )
        metrics = Metrics(
            House(
                writer=self.writer,
                scheduler=self.scheduler,
                reaper=self.reaper,
                intake=self.intake,
                janitor=self.janitor,
                broadcaster=self.broadcaster,
                mailboxes={
                    "writer": self.writer.mailbox,
                    "scheduler": self.scheduler.mailbox,
                    "reaper": self.reaper.mailbox,
                    "intake": self.intake.mailbox,
                    "janitor": self.janitor.mailbox,
                    "broadcaster": self.broadcaster.mailbox,
                },
                objects=objects,
                traced=tracer is not None,
                backup=lambda: self.replicator,
            ),
            self.desk.counting,
            reads,
            settings.database,
            now=now,
        )
        self.writer.listeners += [self.scheduler, self.reaper, self.intake, self.janitor]
        self.writer.listeners += [self.desk.keyring, self.desk.sessions, metrics.attempts]
        self.services = self.desk.services(
            scheduler=self.scheduler.mailbox,
            intake=self.intake.mailbox,
            janitor=LocalHousekeeping(self.janitor),
            backups=LocalBackups(lambda: self.replicator),
            metrics=metrics,
            first_link=self.first_link,
        )
        self.hub = self._hub(settings, metrics) if settings.fronts > 1 else None

    def _hub(self, settings: Settings, metrics: Metrics) -> Hub:
        """What serves the front processes, where there are any."""
        hub = Hub(
            settings,
            self.services,
            self.turns,
            broadcaster=self.broadcaster,
            own_url=lambda: self.url,
        )
        self.writer.listeners.append(hub)
        metrics.elsewhere = hub.elsewhere
        return hub


def open_objects(settings: Settings, hop: Hop | None, tracer: Tracer | None, *, sweep: bool = True) -> ObjectStore:
    """S3 where it is configured, else the folder, without what a former run left half done. Raises StartError."""
    if not settings.uses_s3:
        secret = datadir.signing_secret(settings.data_path)
        store = LocalStore(settings.data_path / "objects", secret, hop=hop, tracer=tracer)
        if sweep:
            store.sweep()
        return store
    try:
        return S3Store(
            endpoint=settings.s3_endpoint,
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            timeout=settings.s3_timeout,
            tracer=tracer,
        )
    except ValueError as error:
        raise StartError(f"the object store cannot be used (BLOBFORGE_S3_*): {error}") from error
