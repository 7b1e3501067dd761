"""Both object stores as the contract suite sees them: a store, and a client for the URLs that it signs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from blobforge.objects.local import LocalStore
from blobforge.objects.s3 import S3Store
from tests.fixtures.seaweed import Seaweed
from tests.web import wire
from web.asgi import Application
from web.objects import object_routes

Store = LocalStore | S3Store
Clock = Callable[[], float]
APP_LIMIT = 1 << 20  # what the whole application allows for a body; uploads of objects may be larger


@dataclass
class Place:
    """`store`, the same store seen through another clock (`at`), and an HTTP client for its URLs."""

    store: Store
    at: Callable[[Clock], Store]
    http: httpx.AsyncClient


@asynccontextmanager
async def served(store: LocalStore, *, max_size: int = 1 << 30, **options) -> AsyncIterator[str]:
    """Serve `store` on a free port of loopback as the server does; yield the base URL."""
    app = Application("tests.objects")
    app.config["MAX_CONTENT_LENGTH"] = APP_LIMIT
    app.register_blueprint(object_routes(store, max_size=max_size, **options))
    async with wire.served(app.asgi_app, grace=0) as server:
        yield f"http://127.0.0.1:{server.port}"


def local_store(root: Path, clock: Clock = time.time, **options) -> LocalStore:
    return LocalStore(root, b"a secret of the tests' own", clock, **options)


def s3_store(seaweed: Seaweed, prefix: str, clock: Clock = time.time, **options) -> S3Store:
    return S3Store(
        endpoint=seaweed.endpoint,
        bucket=seaweed.bucket,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        prefix=prefix,
        clock=clock,
        **options,
    )
