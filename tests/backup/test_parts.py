"""The parts of the backup by themselves: keys, programs, epochs, configuration."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from blobforge.backup import BackupError, Epoch, Keys, Kind, Place, age, binary, dialect, epoch_name, is_epoch
from blobforge.backup.child import finished, sole_parent
from blobforge.backup.epochs import begin, current, forget, litestreams_own, set_aside

PLACE = Place("http://s3.test", "bucket", "access", "s3cret$HOME", "auto", "some/litestream/")
NOW = 1_795_000_000_000


def pair() -> Keys:
    identity = pyrage.x25519.Identity.generate()
    return Keys(str(identity), str(identity.to_public()))


def test_a_pair_of_age_keys_is_known_by_itself() -> None:
    for _ in range(20):
        keys = pair()
        age.check_pair(keys)
        with pytest.raises(BackupError, match="not a pair"):
            age.check_pair(Keys(keys.secret, pair().public))


@pytest.mark.parametrize(
    "damage", [lambda k: k[:-1], lambda k: k[:-1] + "q", lambda k: k.swapcase()[:9] + k[9:], str.title]
)
def test_a_key_that_was_copied_badly_is_told_and_not_shown(damage) -> None:  # type: ignore[no-untyped-def]
    keys = pair()
    with pytest.raises(BackupError, match="is not a key as `age-keygen` makes them") as told:
        age.check_pair(Keys(damage(keys.secret), keys.public) if damage(keys.secret) != keys.secret else keys)
    assert keys.secret[20:30] not in str(told.value)


def program(folder: Path, says: str) -> str:
    path = folder / f"litestream-{says.replace(' ', '-')}"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_programs_are_known_by_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = program(tmp_path, "0.5.17"), program(tmp_path, "v0.3.13")
    assert binary.find_writer(new, encrypted=False)[1] is Kind.LTX
    assert binary.find_writer(old, encrypted=False)[1] is Kind.WAL
    assert binary.find_writer(old, encrypted=True)[1] is Kind.AGE
    with pytest.raises(BackupError, match=r"takes Litestream 0\.3, and there is only Litestream 0\.5\.17"):
        binary.find_writer(new, encrypted=True)
    for unknown in ("0.5.16", "0.4.0", "1.0.0", "v0.3.12"):
        with pytest.raises(BackupError, match="does not know how to run"):
            binary.ask(program(tmp_path, unknown))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BackupError, match="there is no `litestream` here; install it"):
        binary.find_writer("", encrypted=False)
    (tmp_path / "litestream").symlink_to(new)
    # The image has both: the older one is found when it is needed, and only then.
    monkeypatch.setattr(binary, "SHIPPED_OLD", Path(old))
    assert binary.find_writer("", encrypted=False)[0].version == (0, 5, 17)
    assert binary.find_writer("", encrypted=True)[0].version == (0, 3, 13)


def test_litestream_sees_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOBFORGE_ADMIN_TOKEN", "AWS_SECRET_ACCESS_KEY", "LITESTREAM_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/ca.pem")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    seen = binary.environment()
    assert not [name for name in seen if name.startswith(("BLOBFORGE_", "AWS_", "LITESTREAM_"))]
    assert seen["SSL_CERT_FILE"] == "/ca.pem"


def test_epochs_sort_by_age_and_continue_only_with_the_same_file_place_and_key(tmp_path: Path) -> None:
    database = tmp_path / "blobforge.db"
    database.write_bytes(b"x")
    here = (tmp_path, database, Kind.LTX, PLACE, None)
    assert current(*here) is None
    first = begin(*here, now_ms=NOW)
    assert is_epoch(first.name)
    assert (first.kind, current(*here)) == (Kind.LTX, first)
    litestreams_own(database).mkdir()
    # The clock has gone back by a year: the newer one still sorts behind.
    second = begin(*here, now_ms=NOW - 365 * 86_400_000, after=first)
    assert second > first
    assert not litestreams_own(database).exists()
    assert current(tmp_path, database, Kind.WAL, PLACE, None) is None
    assert current(tmp_path, database, Kind.LTX, PLACE, pair()) is None
    elsewhere = Place("http://other.test", "bucket", "access", "s3cret", "auto", "some/litestream/")
    assert current(tmp_path, database, Kind.LTX, elsewhere, None) is None
    other = tmp_path / "copy"
    other.write_bytes(b"x")
    other.rename(database)
    assert current(*here) is None, "another file has taken its place"
    begin(*here, now_ms=NOW)
    forget(tmp_path, database)
    assert current(*here) is None
    for name in ("generations", "20261123T100000000Z-ltx", "20261123T100000000Z-zip-000000", "../x"):
        assert not is_epoch(name)


def test_what_is_left_of_a_lost_database_is_moved_aside(tmp_path: Path) -> None:
    database, wal = tmp_path / "blobforge.db", tmp_path / "blobforge.db-wal"
    assert set_aside(database, now_ms=NOW) is None
    wal.write_bytes(b"")
    assert set_aside(database, now_ms=NOW) is None
    assert not wal.exists()
    wal.write_bytes(b"committed once")
    (tmp_path / "blobforge.db-shm").write_bytes(b"?")
    aside = set_aside(database, now_ms=NOW)
    assert aside is not None
    assert aside.read_bytes() == b"committed once"
    assert [path.name for path in tmp_path.iterdir()] == [aside.name]


def test_both_dialects(tmp_path: Path) -> None:
    keys = pair()
    epoch = Epoch(epoch_name(Kind.AGE, now_ms=NOW, tie="00ff00"))
    copying = dialect.Copying(tmp_path / "a.db", PLACE, epoch, keys, 0.25, 86_400.0, tmp_path / "socket")
    old = json.loads(dialect.configuration(copying, old=True))["dbs"][0]
    assert old["replicas"][0]["age"] == {"identities": [keys.secret], "recipients": [keys.public]}
    assert old["replicas"][0]["sync-interval"] == "250ms"
    new = json.loads(dialect.configuration(copying, old=False))
    assert new["socket"]["path"] == str(tmp_path / "socket")
    assert new["dbs"][0]["replica"]["path"] == f"some/litestream/{epoch.name}"
    assert keys.secret not in str(new)


def test_the_lock_outlives_whoever_took_it_as_long_as_a_child_runs(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with sole_parent(path) as lock:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "replicate"], pass_fds=(lock,))
        os.pwrite(lock, f"{child.pid}\n".encode(), 0)
    try:
        with path.open("r+") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The next server ends what the last one left, and says nothing about it.
        with sole_parent(path):
            assert child.wait(10) == -9
    finally:
        child.kill()
        child.wait()


async def test_a_restore_that_stands_still_is_given_up(tmp_path: Path) -> None:
    still = "import time; print('hello', flush=True); time.sleep(60)"
    code, said = await finished([sys.executable, "-c", still], folder=tmp_path, stalled=1.0)
    assert (code, said) == (None, ["hello"])
    moving = (
        "import sys, time\nfor n in range(8): open('f', 'a').write('x'); time.sleep(.25)\nprint('done'); sys.exit(3)"
    )
    code, said = await finished([sys.executable, "-c", moving], folder=tmp_path, stalled=1.0)
    assert (code, said) == (3, ["done"])
