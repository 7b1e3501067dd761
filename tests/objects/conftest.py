from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from blobforge.objects.local import LocalStore
from tests.objects.places import Clock, Place, Store, local_store, s3_store, served


@pytest.fixture(params=["local", "s3"])
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Clock], Store]:
    """The store under test, as seen by a given clock. Synchronous, so that SeaweedFS starts outside of trio."""
    if request.param == "local":
        return partial(local_store, tmp_path / "objects")
    seaweed = request.getfixturevalue("seaweed")
    return partial(s3_store, seaweed, f"contract/{tmp_path.name}")


@pytest.fixture
async def place(at: Callable[[Clock], Store]) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        store = at(time.time)
        base = await stack.enter_async_context(served(store)) if isinstance(store, LocalStore) else ""
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=30, trust_env=False))
        yield Place(store, at, http)
