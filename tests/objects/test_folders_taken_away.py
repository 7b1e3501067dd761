"""The embedded store's folders, when another process takes them away while they are empty: it has a lock of its own,
or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import trio

from blobforge.objects import ObjectInfo
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


async def test_so_is_one_into_which_an_accepted_output_is_copied(tmp_path: Path) -> None:
    writing, deleting = local_store(tmp_path / "objects"), local_store(tmp_path / "objects")
    uploaded, accepted = output_key("binstallation", 3, 1), output_key("binstallation", 4, 1)
    await writing.receive(uploaded, nothing(), max_size=10)

    async def delete() -> None:
        while True:
            await deleting.delete(output_key("binstallation", 4, 2))
            await deleting.delete(accepted)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(delete)
        for _ in range(ROUNDS):
            kept = await writing.copy(uploaded, accepted, like=None)
            assert kept == "absent" or isinstance(kept, ObjectInfo)  # it may be deleted as soon as it is there
        nursery.cancel_scope.cancel()
