"""The providers, and a server whose provider follows a script. Its tests name `mock_clock`: virtual time that jumps
only when told to, because the provider answers in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.auth.visitor import open_oidc_local
from tests.fixtures.evil_provider import EvilProvider, evil, evil_keys
from tests.fixtures.local import LocalServer
from tests.fixtures.provider import provider

__all__ = ["evil", "evil_keys", "oidc_local", "provider"]


@pytest.fixture
async def oidc_local(tmp_path: Path, evil: EvilProvider) -> AsyncIterator[LocalServer]:
    """The server with the scripted provider."""
    assert isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock), "add mock_clock to the test"
    async with open_oidc_local(tmp_path / "data", evil) as local:
        yield local
