"""A PostgreSQL that speaks TLS, with a certificate of its own: who names it as the authority is let in by
`verify-full`, and who does not is told what to do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blobforge.store.errors import DatabaseError
from blobforge.store.postgres.engine import PostgresEngine
from tests.fixtures.postgres import Cluster, running_postgres


def certificate(folder: Path, name: str) -> Path:
    """A new one for 127.0.0.1, signed by itself; its key is beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.with_suffix(".key").write_bytes(secret)
    path.with_suffix(".key").chmod(0o600)
    return path


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Which the user of the cluster can enter."""
    made = Path(tempfile.mkdtemp(prefix="bftls-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def secured(folder: Path) -> Iterator[Cluster]:
    path = certificate(folder, "database")
    user = Cluster.user()
    os.chown(path.with_suffix(".key"), user.pw_uid, user.pw_gid)
    settings = {"ssl": "on", "ssl_cert_file": str(path), "ssl_key_file": str(path.with_suffix(".key"))}
    with running_postgres(durable=False, settings=settings) as cluster:
        yield cluster


def url(cluster: Cluster, database: str, authority: Path, host: str = "127.0.0.1") -> str:
    address = cluster.url(database, port=cluster.port).replace("127.0.0.1", host)
    return f"{address}?sslmode=verify-full&sslrootcert={authority}"


def test_verify_full_lets_in_who_names_the_authority(secured: Cluster, folder: Path) -> None:
    engine = PostgresEngine(url(secured, secured.database(), folder / "database.pem"), "a")
    store, reader, follower = engine.open_store(), engine.open_reader(), engine.follow()
    try:
        with store.transaction(now=1):
            pass
        assert reader.job(1) is None
        assert follower.latest() == 0
        asked = "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr"
        [(encrypted, connections)] = secured.execute(f"{asked} IS NOT NULL")
        assert (encrypted, connections) == (True, 3)
    finally:
        for each in (store, reader, follower):
            each.close()


@pytest.mark.parametrize(
    ("authority", "host", "advice"),
    [
        ("another", "127.0.0.1", "sslrootcert=FILE in BLOBFORGE_DATABASE_URL"),
        ("none", "127.0.0.1", "sslrootcert"),  # libpq says it itself
        ("database", "localhost", "a name that is in its certificate"),
    ],
)
def test_a_certificate_that_cannot_be_verified_is_refused_with_what_to_do(
    secured: Cluster, folder: Path, authority: str, host: str, advice: str
) -> None:
    if authority == "another":
        certificate(folder, "another")
    engine = PostgresEngine(url(secured, secured.database(), folder / f"{authority}.pem", host), "a")
    with pytest.raises(DatabaseError) as refused:
        engine.open_store()
    assert "certificate" in str(refused.value)
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_that_has_no_certificate_is_refused_with_what_to_do(postgres: Cluster, folder: Path) -> None:
    path = folder / "database.pem"
    if not path.exists():
        certificate(folder, "database")
    with pytest.raises(DatabaseError, match="ssl = on"):
        PostgresEngine(url(postgres, "postgres", path), "a").open_store()
