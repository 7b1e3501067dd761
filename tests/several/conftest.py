"""Servers that share a database, in this process. The provider of sign-ins answers in real time: its tests name
`mock_clock`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio.testing

from tests.fixtures.evil_provider import evil, evil_keys
from tests.fixtures.postgres import Cluster
from tests.several.house import House

__all__ = ["evil", "evil_keys"]


@pytest.fixture
def house(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A database, and room for its servers."""
    name = postgres.database()
    yield House(postgres, name, tmp_path_factory.mktemp("several"))
    postgres.drop(name)


@pytest.fixture
def mock_clock(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """It goes on: servers look at what others commit."""
    mock_clock.rate = 1.0
    return mock_clock
