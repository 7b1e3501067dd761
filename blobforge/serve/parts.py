"""What the server is made of: every part gets what it needs here and nowhere else.

`server.py` opens what this takes, runs it, and closes it again in the opposite order.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import trio

from actors.broadcaster import Broadcaster
from actors.courier import Courier
from actors.effects.transaction import Rules
from actors.follower import Follower
from actors.intake import Intake
from actors.janitor import Janitor, Retention
from actors.operator import Operator
from actors.reaper import Reaper
from actors.recounter import MOST_FOUND
from actors.replicator import Replicator
from actors.scheduler import Scheduler
from actors.writer import Writer
from blobforge.access import hash_secret
from blobforge.config import Settings
from blobforge.job import RetryPolicy
from blobforge.machinery.datadir import StartError
from blobforge.machinery.hop import Hop
from blobforge.machinery.lag import LoopLag
from blobforge.machinery.release import version
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ObjectStore
from blobforge.objects.local import LocalStore
from blobforge.objects.s3 import S3Store
from blobforge.outward.addresses import allowed, callback_hosts
from blobforge.outward.calling import Outward
from blobforge.serve import openfiles
from blobforge.serve.others import OtherServers
from blobforge.store.commons import ServerState
from blobforge.store.miscounts import Miscounts
from blobforge.store.writing import Store
from web.api.status import read_stats
from web.auth.first_link import FirstLink
from web.auth.keyring import Keyring
from web.auth.oidc import Provider, ProviderSettings
from web.auth.sessions import Sealer, Sessions
from web.auth.throttle import Throttle
from web.backups import Backups
from web.checkup import Checkup
from web.connection.places import KnownAddresses
from web.letters import Letters
from web.limits import LARGE_BODIES, Bounded, Limit, Unread, Watch
from web.liveloads import LiveLoads
from web.livelogs import LiveLogs
from web.metrics.counting import Counting
from web.metrics.exposition import Metrics
from web.metrics.parts import PartsMetrics
from web.metrics.requests import Requests
from web.presence import Presence
from web.preview import Previews
from web.reads import OperatorReads, ReadPool
from web.services import Services
from web.shared import Shared
from web.site import Site


class Parts:
    """The running parts, for the composition root that starts and stops them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reads: ReadPool,
        objects: ObjectStore,
        shared: Shared,
        secret: bytes,
        *,
        hop: Hop | None,
        now: Callable[[], int],
        tracer: Tracer | None,
    ) -> None:
        self.url = ""
        self.now = now
        self.objects_place = ""  # how it is told from other servers' places
        self._id = store.server or secrets.token_hex(8)  # that of the row which its writer holds
        self._name = settings.server_name
        self._started_at = now()
        self.replicator: Replicator | None = None
        self.admin_token = ""
        self.first_code = ""
        self.shared = shared
        self.reads = reads
        self.installation = store.installation
        self.rules = _rules(settings)
        self.follower: Follower | None = None

        def place() -> int:
            return self.writer.sequencer.last

        def rank() -> int:
            return self.presence.rank()

        async def find_miscounts() -> Miscounts | None:
            return await reads.run(lambda reader: reader.miscounts(most=MOST_FOUND))

        async def endpoints() -> list[int]:
            return await reads.run(lambda reader: [each.id for each in reader.webhooks.all() if each.is_enabled])

        def is_fresh() -> bool:
            return self.follower is None or self.follower.is_fresh

        self.broadcaster = Broadcaster(
            replay=settings.event_replay,
            queue=settings.event_queue,
            stats=lambda: read_stats(self.services),
        )
        self.writer = Writer(
            store, self.rules, now=now, sink=self.broadcaster, hop=hop, tracer=tracer, outage=reads.outage
        )
        self.presence = Presence(shared, self._state, is_outdated=lambda: self.writer.outdated, outage=reads.outage)
        self.scheduler = Scheduler(self.writer.mailbox, rank=rank, holds=not shared.alone)
        self.reaper = Reaper(
            self.writer.mailbox,
            worker_timeout=settings.worker_timeout,
            upload_timeout=settings.upload_timeout,
            session_idle=settings.session_idle,
            rank=rank,
        )
        self.janitor = Janitor(
            self.writer.mailbox,
            objects,
            installation=store.installation,
            fresh=store.is_fresh(),
            retention=_retention(settings),
            now=now,
            place=None if shared.alone else place,
            leads=lambda: rank() == 0,
            find_miscounts=None if shared.alone else find_miscounts,
        )
        self.operator = Operator(self.writer.mailbox, OperatorReads(reads), leads=lambda: rank() == 0)
        self.intake = Intake(
            self.writer.mailbox,
            objects,
            installation=store.installation,
            verify_limit=settings.verify_limit,
            epoch=lambda: self.janitor.epoch,
            manifest=lambda source_hash: reads.run(lambda reader: reader.kin.manifest(source_hash)),
            others=None if shared.alone else OtherServers(self.presence, shared, self.writer.sequencer),
        )
        self.courier = Courier(
            self.writer.mailbox,
            write=Letters(
                lambda: self.services,
                lambda: settings.public_url.rstrip("/") or self.url,
                callback_hosts(settings.callback_hosts),
            ).write,
            post=Outward(allowed(settings.webhook_allow)).post,
            endpoints=endpoints,
            now=now,
            rank=rank,
        )
        self.live_logs = LiveLogs()
        self.first_link = FirstLink(shared)
        sealer = Sealer(secret)
        provider = _provider(settings)
        site = Site(settings, lambda: self.url)
        keyring = Keyring(reads, self.writer.mailbox, now=now, is_fresh=is_fresh)
        sessions = Sessions(
            settings, reads, self.writer.mailbox, provider=provider, sealer=sealer, site=site, shared=shared, now=now,
            is_fresh=is_fresh,
        )  # fmt: skip
        throttle = Throttle(trio.current_time, shared)
        connections = openfiles.room(settings.max_connections)
        self.connections = Limit(
            connections,
            # An address has its share of fewer, too, so that others are still let in.
            max(1, settings.max_connections_per_address * connections // settings.max_connections),
        )
        long_polls = Limit(settings.max_long_polls, settings.max_long_polls_per_address)
        streams = Limit(settings.max_streams, settings.max_streams_per_address)
        self.lag = LoopLag()
        unread = Unread()
        limits: dict[str, Bounded] = {
            "connections": self.connections,
            "long_polls": long_polls,
            "event_streams": streams,
            "unread_bytes": unread,
        }
        self.limits = Watch(limits)
        counting = Counting(
            Requests(),
            limits,
            throttle,
            self.broadcaster,
            self.lag,
            objects=objects,
            tracer=tracer,
        )
        metrics = Metrics(
            self._measured(store, objects),
            counting,
            reads,
            self.presence,
            shared,
            now=now,
        )
        self.writer.sequencer.listeners += [
            self.scheduler, self.reaper, self.intake, self.janitor, self.janitor.indexer, self.operator, self.courier,
            self.presence, self.live_logs,
        ]  # fmt: skip
        self.writer.sequencer.listeners += [keyring, sessions, self.broadcaster, metrics.attempts]
        self.services = Services(
            settings=settings,
            writer=self.writer.mailbox,
            scheduler=self.scheduler.mailbox,
            intake=self.intake.mailbox,
            janitor=self.janitor,
            source_awaited_for=self.reaper.source_awaited_for,
            worker_silent_for=self.reaper.worker_silent_for,
            backups=Backups(lambda: self.replicator),
            broadcaster=self.broadcaster,
            live_loads=LiveLoads(),
            live_logs=self.live_logs,
            reads=reads,
            previews=Previews(hop=hop),
            installation=store.installation,
            shared=shared,
            presence=self.presence,
            place=place,
            objects=objects,
            keyring=keyring,
            metrics=metrics,
            tracer=tracer,
            checkup=Checkup(),
            sessions=sessions,
            provider=provider,
            sealer=sealer,
            site=site,
            throttle=throttle,
            known=KnownAddresses(),
            unread=unread,
            first_link=self.first_link,
            long_polls=long_polls,
            streams=streams,
            large_bodies=trio.CapacityLimiter(LARGE_BODIES),
            limits=limits,
            now=now,
            signing_secret=secret,
        )

    def _measured(self, store: Store, objects: ObjectStore) -> PartsMetrics:
        return PartsMetrics(
            writer=self.writer,
            scheduler=self.scheduler,
            reaper=self.reaper,
            intake=self.intake,
            janitor=self.janitor,
            operator=self.operator,
            courier=self.courier,
            broadcaster=self.broadcaster,
            mailboxes={
                "writer": self.writer.mailbox,
                "scheduler": self.scheduler.mailbox,
                "reaper": self.reaper.mailbox,
                "intake": self.intake.mailbox,
                "janitor": self.janitor.mailbox,
                "operator": self.operator.mailbox,
                "broadcaster": self.broadcaster.mailbox,
            },
            objects=objects,
            backup=lambda: self.replicator,
            turn_seconds=store.turn_seconds,
        )

    def _state(self) -> ServerState:
        """This server as it is now, for the others."""
        return ServerState(
            id=self._id,
            name=self._name or f"{socket.gethostname()}:{urlsplit(self.url).port or ''}".rstrip(":"),
            version=version(),
            objects=self.objects_place,
            admin=hash_secret(self.admin_token) if self.admin_token else "",
            url=self.url,
            started_at=self._started_at,
            turn=self.writer.turn,
            turn_at=self.writer.turn_at,
            read=self.writer.sequencer.last,
            long_polls=self.scheduler.waiting,
            streams=self.broadcaster.subscribers,
        )


def _rules(settings: Settings) -> Rules:
    """What the effects go by."""
    return Rules(
        retry=RetryPolicy(
            backoff=settings.retry_backoff,
            backoff_max=settings.retry_backoff_max,
            jitter=settings.retry_jitter,
            max_losses=settings.max_losses,
            max_releases=settings.max_releases,
            avoid=settings.worker_timeout,
        ),
        max_attempts=settings.max_attempts,
        max_types=settings.max_types,
        beat=settings.beat_every,
        worker_timeout=settings.worker_timeout,
        url_lifetime=settings.url_lifetime,
        compare_for=settings.retention_compared,
        quarantine=settings.quarantine,
        breaker=settings.breaker,
    )


def _retention(settings: Settings) -> Retention:
    return Retention(
        completed=settings.retention_completed,
        dead=settings.retention_dead,
        cancelled=settings.retention_cancelled,
        audit=settings.retention_audit,
        workers=settings.retention_workers,
        objects=settings.retention_objects,
        superseded=settings.retention_superseded,
        superseded_count=settings.superseded_kept,
        deliveries=settings.retention_deliveries,
    )


def open_objects(settings: Settings, secret: bytes, hop: Hop | None, tracer: Tracer | None) -> ObjectStore:
    """S3 where it is configured, else the folder, without what a former run left half done. Raises StartError."""
    if not settings.uses_s3:
        store = LocalStore(settings.data_path / "objects", secret, hop=hop, tracer=tracer)
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


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer:
        return None
    redirect = settings.oidc_redirect_url or f"{settings.public_url.rstrip('/')}/auth/callback"
    return Provider(
        ProviderSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret,
            client_auth=settings.oidc_client_auth,
            redirect_url=redirect,
            groups_claim=settings.oidc_groups_claim,
        )
    )
