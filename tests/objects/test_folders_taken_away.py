"""The embedded store's folders, when more than one process is at them: each has a lock of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import trio

from blobforge.objects.keys import output_key
from tests.objects.places import local_store

ROUNDS = 200


async def nothing() -> AsyncIterator[bytes]:
    yield b"x"
    await trio.lowlevel.checkpoint()


async def test_a_folder_that_another_process_takes_away_is_made_again(tmp_path: Path) -> None:
    """An output is written where another one, of the same job, is deleted: its folders are empty in between."""
    writing, deleting = local_store(tmp_path / "objects"), local_store(tmp_path / "objects")
    kept = output_key("binstallation", 3, 1)

    async def delete() -> None:
        while True:
            await deleting.delete(output_key("binstallation", 3, 2))
            await deleting.delete(kept)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(delete)
        for _ in range(ROUNDS):
            info = await writing.receive(kept, nothing(), max_size=10)
            assert info.size == 1
        nursery.cancel_scope.cancel()
