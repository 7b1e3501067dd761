"""What the handlers may use, with its types; made in `blobforge/serve/parts.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from actors.broadcaster import Broadcaster
from actors.janitor import Janitor
from actors.mailbox import Envelope, Mailbox
from blobforge.config import Settings
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ObjectStore
from web.auth.first_link import FirstLink
from web.auth.keyring import Keyring
from web.auth.oidc import Provider
from web.auth.sessions import Sealer, Sessions
from web.auth.throttle import Throttle
from web.backups import Backups
from web.checkup import Checkup
from web.connection.places import KnownAddresses
from web.limits import Bounded, Limit, Unread
from web.liveloads import LiveLoads
from web.livelogs import LiveLogs
from web.metrics.exposition import Metrics
from web.presence import Presence
from web.preview import Previews
from web.reads import ReadPool
from web.shared import Shared
from web.site import Site


@dataclass(frozen=True)
class Services:
    """`now` is in milliseconds since the epoch. `signing_secret` is never shown."""

    settings: Settings
    writer: Mailbox[Envelope[Any]]
    scheduler: Mailbox[Envelope[Any]]
    intake: Mailbox[Envelope[Any]]
    janitor: Janitor
    source_awaited_for: Callable[[int], float | None]  # seconds; see the reaper
    worker_silent_for: Callable[[str], float | None]  # the same
    backups: Backups
    broadcaster: Broadcaster
    live_loads: LiveLoads
    live_logs: LiveLogs
    reads: ReadPool
    previews: Previews
    installation: str
    shared: Shared
    presence: Presence
    place: Callable[[], int]  # how far the history of all servers is known here
    objects: ObjectStore
    keyring: Keyring
    metrics: Metrics
    tracer: Tracer | None
    checkup: Checkup
    sessions: Sessions
    provider: Provider | None
    sealer: Sealer
    site: Site
    throttle: Throttle
    known: KnownAddresses
    unread: Unread
    first_link: FirstLink
    long_polls: Limit
    streams: Limit
    large_bodies: trio.CapacityLimiter  # each is held in memory; further ones wait unread
    limits: Mapping[str, Bounded]  # these, and that of connections, by their names in the metrics
    now: Callable[[], int]
    signing_secret: bytes
