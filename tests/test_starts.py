"""What a start says of what it finds: links, damaged files, full disks, variables that Kubernetes has set."""

from __future__ import annotations

import os
import random
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blobforge.cli import main
from blobforge.config import Settings
from blobforge.environment import load, service_variables, unknown_variables
from blobforge.machinery import datadir
from blobforge.machinery.datadir import StartError
from blobforge.machinery.groups import leaves
from blobforge.objects.incoming import Incoming, StoreFullError, os_failure
from blobforge.serve.server import _reason
from blobforge.store.commons import signing_secret
from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite.commons import FileCommons
from blobforge.store.sqlite.database import open_writer
from tests.fixtures.local import LocalServer, open_local

# ------------------------------------------------------------------ one server for a database


def test_a_database_is_locked_by_what_its_name_leads_to(tmp_path: Path) -> None:
    real = tmp_path / "real" / "blobforge.db"
    real.parent.mkdir()
    real.write_bytes(b"")
    (tmp_path / "link.db").symlink_to(real)
    (tmp_path / "folder").symlink_to(real.parent)
    with datadir.locked(real):
        for other in (
            tmp_path / "link.db",
            tmp_path / "folder" / "blobforge.db",
            tmp_path / "folder" / ".." / "real" / "blobforge.db",
        ):
            with pytest.raises(StartError, match="another BlobForge holds"), datadir.locked(other):
                pass
    with datadir.locked(tmp_path / "link.db"):
        pass


def test_a_database_with_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"")
    os.link(tmp_path / "x.db", tmp_path / "y.db")
    with pytest.raises(StartError, match="another name"), datadir.locked(tmp_path / "y.db"):
        pass


@pytest.mark.parametrize("side", ["-wal", "-shm"])
def test_a_wal_that_is_a_link_is_refused(tmp_path: Path, side: str) -> None:
    (tmp_path / f"x.db{side}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="is a link"), datadir.locked(tmp_path / "x.db"):
        pass


def test_lock_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "server.lock").touch(0o666)
        with datadir.locked(tmp_path / "server"):
            assert stat.S_IMODE((tmp_path / "server.lock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


# ------------------------------------------------------------------ the data folder


def test_a_data_folder_that_is_a_dangling_link_or_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "gone")
    with pytest.raises(StartError, match=r"data \(BLOBFORGE_DATA_DIR\) is a link to .*gone, which is not there"):
        datadir.prepare(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="is there, and no folder"):
        datadir.prepare(tmp_path / "file")


def test_a_full_disk_is_told_with_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StartError, match=f"cannot write {tmp_path}/signing-secret: No space left on device"):
        signing_secret(FileCommons(tmp_path))
    said = _reason(OSError(28, "No space left on device"), Settings(data_dir="/srv/data"))
    assert said == "No space left on device (data folder /srv/data, database /srv/data/blobforge.db)"


# ------------------------------------------------------------------ flipped bytes


async def test_a_start_on_flipped_bytes_says_what_is_wrong_with_the_file(tmp_path: Path, autojump_clock: Any) -> None:
    """It starts, where nothing that a start reads is hit, or says that the file is damaged; no bug."""
    async with open_local(tmp_path / "data") as local:
        await local.register()
        for number in range(30):
            await local.submit(b"%d" % number, tags=["a", "b"])
        for _ in range(9):
            await local.claim()
    path = tmp_path / "data" / "blobforge.db"
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)
    sound, dice, told = path.read_bytes(), random.Random(7), 0
    for attempt in range(40):
        damaged = bytearray(sound)
        for _ in range(40):
            damaged[dice.randrange(16 if attempt % 8 == 0 else 100, len(damaged))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            async with open_local(tmp_path / "data"):
                pass
        except* DatabaseError as errors:
            (error,) = leaves(errors)
            assert str(path) in str(error)
            told += "is damaged" in str(error)
        for side in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + side).unlink()
    assert told > 5


@pytest.mark.parametrize("place", [18, 28, 47, 63])
def test_a_header_with_a_flipped_bit_is_damage(tmp_path: Path, place: int) -> None:
    """Of what else SQLite may speak: a database that is read-only, a format, a table that exists already."""
    path = tmp_path / "x.db"
    open_writer(path).close()
    damaged = bytearray(path.read_bytes())
    # At the end of 60 to 63 the schema's version stands: a lower one, for a higher one is a newer release's.
    damaged[place] ^= damaged[place] & -damaged[place] if place == 63 else 1
    path.write_bytes(damaged)
    with pytest.raises(DatabaseError, match="is damaged") as error:
        open_writer(path)
    assert "readonly" not in str(error.value)


# ------------------------------------------------------------------ Kubernetes

SERVICE = {
    "BLOBFORGE_PORT": "tcp://10.96.0.7:8080",
    "BLOBFORGE_SERVICE_HOST": "10.96.0.7",
    "BLOBFORGE_SERVICE_PORT": "8080",
    "BLOBFORGE_SERVICE_PORT_HTTP": "8080",
    "BLOBFORGE_PORT_8080_TCP": "tcp://10.96.0.7:8080",
    "BLOBFORGE_PORT_8080_TCP_PROTO": "tcp",
    "BLOBFORGE_PORT_8080_TCP_PORT": "8080",
    "BLOBFORGE_PORT_8080_TCP_ADDR": "10.96.0.7",
}


def test_a_kubernetes_service_of_our_name_sets_nothing() -> None:
    assert load(SERVICE).port == Settings().port
    assert service_variables(SERVICE) == ["BLOBFORGE_PORT"]
    assert unknown_variables(SERVICE | {"BLOBFORGE_PROT": "1"}) == ["BLOBFORGE_PROT"]
    assert load({"BLOBFORGE_PORT": "9000"}).port == 9000
    assert service_variables({"BLOBFORGE_PORT": "9000"}) == []


# ------------------------------------------------------------------ the embedded store's disk


def test_clients_are_not_told_the_servers_paths(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path, reserve=1 << 62)
    with pytest.raises(StoreFullError) as full:
        incoming.write([b"x"])
    incoming.discard()
    told = [
        str(full.value),
        *(str(os_failure("write an object", tmp_path, OSError(n, os.strerror(n)))) for n in (28, 13)),
    ]
    assert not any(str(tmp_path) in each for each in told)


async def test_a_store_without_room_is_not_healthy(autojump_clock: Any, local: LocalServer) -> None:
    store: Any = local.parts.services.objects
    store._reserve = 1 << 62
    _, health = await local.call("GET", "/api/health")
    assert (health["status"], health["object_store"]["status"]) == ("degraded", "unhealthy")


# ------------------------------------------------------------------ earlier releases


def test_a_variable_of_an_earlier_release_is_told_to_have_no_effect(tmp_path: Path) -> None:
    """By the start itself, which goes on; here it ends at a data folder that is a file."""
    (tmp_path / "data").write_text("")
    started = CliRunner().invoke(
        main, ["serve", "--port", "0"], env={"BLOBFORGE_FRONTS": "4", "BLOBFORGE_DATA_DIR": str(tmp_path / "data")}
    )
    assert "Warning: BLOBFORGE_FRONTS has no effect any more: one process serves HTTP" in started.output
    assert "BLOBFORGE_DATA_DIR" in started.output
    assert started.exit_code == 1
