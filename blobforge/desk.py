"""What each process that answers HTTP has of its own, wherever the actors are: who may call, what is let in, what is
counted. Used by `parts.py` and, for a process that has nothing else, by `front.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from actors.broadcaster import Broadcaster
from actors.mailbox import Envelope, Inbox
from blobforge import datadir, openfiles
from blobforge.config import Settings
from blobforge.hop import Hop
from blobforge.lag import LoopLag
from blobforge.objects import ObjectStore
from blobforge.tracing import Tracer
from web.auth.keyring import Keyring, OneLink
from web.auth.oidc import Provider, ProviderSettings
from web.auth.sessions import Sealer, Sessions
from web.auth.throttle import Throttle
from web.auth.turns import Turns
from web.checkup import Checkup
from web.limits import Limit
from web.metrics.exposition import Told
from web.metrics.requests import Requests
from web.metrics.share import Counting
from web.preview import Previews
from web.reads import ReadPool
from web.services import Services
from web.site import Site
from web.upkeep import Backups, Housekeeping


class Desk:
    """`own_url` is the address that the server listens on; `writer` and `turns` may lead to another process."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: Inbox[Envelope[Any]],
        broadcaster: Broadcaster,
        reads: ReadPool,
        objects: ObjectStore,
        turns: Turns,
        own_url: Callable[[], str],
        now: Callable[[], int],
        hop: Hop | None,
        tracer: Tracer | None,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._broadcaster = broadcaster
        self._reads = reads
        self._objects = objects
        self._now = now
        self._hop = hop
        self._tracer = tracer
        self._secret = datadir.signing_secret(settings.data_path)
        self._sealer = Sealer(self._secret)
        self._provider = _provider(settings)
        self._site = Site(settings, own_url)
        self.keyring = Keyring(reads, writer, now=now)
        self.sessions = Sessions(
            settings,
            reads,
            writer,
            provider=self._provider,
            sealer=self._sealer,
            site=self._site,
            now=now,
            turns=turns,
        )
        self.throttle = Throttle(trio.current_time)
        connections = openfiles.room(settings.max_connections)
        self.connections = Limit(
            connections,
            # An address has its share of fewer, too, so that others are still let in.
            max(1, settings.max_connections_per_address * connections // settings.max_connections),
        )
        self.long_polls = Limit(settings.max_long_polls, settings.max_long_polls_per_address)
        self.streams = Limit(settings.max_streams, settings.max_streams_per_address)
        self.limits = {
            "connections": self.connections,
            "long_polls": self.long_polls,
            "event_streams": self.streams,
        }
        self.lag = LoopLag()
        self.counting = Counting(
            Requests(), self.limits, self.throttle, broadcaster, self.lag, objects=objects, tracer=tracer
        )

    def services(
        self,
        *,
        scheduler: Inbox[Envelope[Any]],
        intake: Inbox[Envelope[Any]],
        janitor: Housekeeping,
        backups: Backups,
        metrics: Told,
        first_link: OneLink,
    ) -> Services:
        """All that handlers may use."""
        return Services(
            settings=self._settings,
            writer=self._writer,
            scheduler=scheduler,
            intake=intake,
            janitor=janitor,
            backups=backups,
            broadcaster=self._broadcaster,
            reads=self._reads,
            previews=Previews(hop=self._hop),
            objects=self._objects,
            keyring=self.keyring,
            metrics=metrics,
            tracer=self._tracer,
            checkup=Checkup(),
            sessions=self.sessions,
            provider=self._provider,
            sealer=self._sealer,
            site=self._site,
            throttle=self.throttle,
            first_link=first_link,
            long_polls=self.long_polls,
            streams=self.streams,
            now=self._now,
            signing_secret=self._secret,
        )


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer:
        return None
    redirect = settings.oidc_redirect_url or f"{settings.public_url.rstrip('/')}/auth/callback"
    return Provider(
        ProviderSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret,
            redirect_url=redirect,
            groups_claim=settings.oidc_groups_claim,
        )
    )
