"""PostgreSQL's migrations: each committed schema is kept as a fixture, and no step takes anything from servers of the
release before."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import database
from blobforge.store.postgres.check import check
from tests.fixtures.local import open_local
from tests.fixtures.postgres import Cluster
from tests.migrations.keep import JOBS, KEPT, kept_statements, scripts, used_since
from tests.migrations.older import Schema, broken, harms, schema_of, unprepared
from tests.migrations.test_upgrades import look_at_all

SCRIPTS = database.migrations()
VERSIONS = range(1, len(SCRIPTS) + 1)
# What a migration must not do, and what is said of it; the first ones are what it may.
DEEDS = {
    "ALTER TABLE jobs ADD COLUMN next INTEGER": None,
    "ALTER TABLE jobs ADD COLUMN next INTEGER NOT NULL DEFAULT 0; CREATE INDEX next ON jobs (next)": None,
    "CREATE TABLE next (job_id BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, n INTEGER NOT NULL)": None,
    "ALTER TABLE jobs ADD COLUMN next INTEGER NOT NULL": "jobs.next is new, NOT NULL and without a default",
    "ALTER TABLE jobs DROP COLUMN compare": "jobs.compare is gone",
    "ALTER TABLE jobs RENAME COLUMN lane TO line": "jobs.lane is gone",
    "DROP TABLE undos": "undos.token is gone",
    "ALTER TABLE jobs ALTER COLUMN compare TYPE BIGINT": "jobs.compare has another type",
    "ALTER TABLE jobs ALTER COLUMN progress SET NOT NULL": "jobs.progress may not be NULL any more",
    "ALTER TABLE jobs ALTER COLUMN attempts DROP NOT NULL": "jobs.attempts may be NULL",
    "ALTER TABLE jobs ALTER COLUMN lane SET DEFAULT 1": "jobs.lane has another default",
    "ALTER TABLE jobs DROP CONSTRAINT jobs_status_check": "jobs_status_check is gone or another",
    "ALTER TABLE jobs ADD CHECK (max_attempts > 0)": "CHECK ((max_attempts > 0)) is new",
    "CREATE TABLE next (job_id BIGINT REFERENCES jobs (id))": "an older server cannot delete from jobs",
    "DROP INDEX jobs_running; CREATE INDEX jobs_running ON jobs (worker_id, id, type) WHERE status = 'running'": None,
    "DROP INDEX jobs_running; CREATE INDEX jobs_running ON jobs (worker_id, type) WHERE status = 'running'": "other",
    "DROP INDEX jobs_running; CREATE INDEX jobs_running ON jobs (worker_id, id, type)": "is gone or another",
    "DROP INDEX jobs_running": "the index jobs_running is gone",
    "CREATE UNIQUE INDEX next ON jobs (upload_key)": "the index next is new and unique",
    "CREATE OR REPLACE FUNCTION instr(TEXT, TEXT) RETURNS INTEGER LANGUAGE sql RETURN 7": "the function instr",
    "CREATE TABLE next (job_id BIGINT REFERENCES jobs (id) ON DELETE RESTRICT)": "an older server cannot delete from",
    "CREATE TABLE next (job_id BIGINT NOT NULL REFERENCES jobs (id) ON DELETE SET NULL)": "cannot delete from jobs",
    "CREATE TABLE next (job_id BIGINT REFERENCES jobs (id) ON UPDATE RESTRICT ON DELETE CASCADE)": None,
    "CREATE TABLE next (id BIGINT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE);"
    "CREATE TABLE further (id BIGINT REFERENCES next (id))": "an older server cannot delete from jobs",
    "CREATE TABLE next (id BIGINT PRIMARY KEY); CREATE TABLE further (id BIGINT REFERENCES next (id))": None,
    "CREATE VIEW next AS SELECT id FROM jobs": None,
    "CREATE RULE next AS ON DELETE TO undos DO INSTEAD NOTHING": "the rule next on undos is new",
    "ALTER TABLE undos ENABLE ROW LEVEL SECURITY": "undos has rows that an older server may not see",
    "CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER next BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION next()": "the trigger next on",
    "CREATE TABLE next (id BIGINT); CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN INSERT INTO next VALUES (NEW.id); RETURN NULL; END';"
    "CREATE TRIGGER next AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION next()": None,
    "CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN UPDATE undos SET was = NULL; RETURN NULL; END';"
    "CREATE TRIGGER next AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION next()": "the trigger next on",
}

# By the step that does it, what a migration takes away that servers of an earlier schema have used: as it is said of
# it, and the last schema whose servers need it.
TAKEN_AWAY: dict[int, dict[str, int]] = {}


@pytest.fixture
def empty(postgres: Cluster) -> Iterator[str]:
    name = postgres.database()
    yield postgres.url(name)
    postgres.drop(name)


def digest(version: int) -> list[str]:
    return (KEPT / f"{version:04}.sql").read_text().split("\n", 1)[0].removeprefix("-- ").split()


def load(url: str, version: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute((KEPT / f"{version:04}.sql").read_bytes())


def schema_at(postgres: Cluster, version: int) -> tuple[Schema, int]:
    """The schema of that version, and the oldest one that servers must know."""
    name = postgres.database()
    try:
        with psycopg.connect(postgres.url(name)) as connection:
            database.migrate(connection, SCRIPTS[:version])
            ((oldest,),) = connection.execute("SELECT oldest FROM turn").fetchall()
            return schema_of(connection), int(oldest)
    finally:
        postgres.drop(name)


def test_each_migration_has_its_fixture_and_has_not_changed_since() -> None:
    """A new one is kept by `make schema`."""
    files = {path.name for path in KEPT.iterdir()}
    assert files == {f"{version:04}.{kind}" for version in VERSIONS for kind in ("sql", "statements")}
    assert [digest(version) for version in VERSIONS] == [list(each) for each in scripts().items()]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_database_is_brought_up_to_date(postgres: Cluster, empty: str, version: int) -> None:
    load(empty, version)
    with psycopg.connect(empty) as connection:
        assert schema_of(connection) == schema_at(postgres, version)[0], "as its migrations make it"
    database.prepare(empty)
    assert database.version(empty) == len(SCRIPTS)
    assert check(empty) == []
    with psycopg.connect(empty) as connection:
        assert schema_of(connection) == schema_at(postgres, len(SCRIPTS))[0]
        assert connection.execute("SELECT count(*) FROM jobs").fetchall() == [(JOBS,)]


async def test_every_page_of_the_first_schema(tmp_path: Path, empty: str, autojump_clock: Any) -> None:
    load(empty, 1)
    async with open_local(tmp_path / "data", database_url=empty) as local:
        await look_at_all(local)
        _, jobs = await local.call("GET", "/api/jobs?limit=100")
        assert len(jobs["jobs"]) == JOBS


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_server_of_the_schema_before_survives_a_migration(postgres: Cluster, version: int) -> None:
    before, _ = schema_at(postgres, version - 1)
    after, oldest = schema_at(postgres, version)
    assert broken(harms(before, after), version=version, oldest=oldest, taken=TAKEN_AWAY) == []


HARM = "jobs.lane is gone: an older server reads it"


@pytest.mark.parametrize(
    ("found", "version", "oldest", "taken", "said"),
    [
        ([], 6, 5, {}, None),
        ([], 6, 6, {}, "the release before cannot stay"),
        ([HARM], 6, 1, {}, HARM),
        ([HARM], 6, 5, {}, HARM),  # that `oldest` is raised allows nothing by itself
        ([HARM], 6, 5, {5: {HARM: 3}}, HARM),  # nor does what another step takes
        ([HARM], 6, 5, {6: {HARM: 4}}, None),
        ([HARM], 6, 4, {6: {HARM: 4}}, "servers of schema 4 need it"),
        ([], 6, 5, {6: {HARM: 4}}, "is not taken"),
    ],
)
def test_what_is_taken_away_is_named_with_the_last_schema_that_needs_it(
    found: list[str], version: int, oldest: int, taken: dict[int, dict[str, int]], said: str | None
) -> None:
    wrong = broken(found, version=version, oldest=oldest, taken=taken)
    assert (wrong == []) if said is None else any(said in each for each in wrong), wrong


def test_a_statement_is_used_until_a_release_without_it() -> None:
    kept = [({"a", "b"}, set[str]()), ({"c"}, {"b"}), ({"d"}, {"c"})]
    assert used_since(1, kept) == {"a", "b", "c", "d"}
    assert used_since(2, kept) == {"a", "c", "d"}
    assert used_since(3, kept) == {"a", "d"}, "what older releases had as well is still used"


def test_statements_of_older_servers_can_still_be_prepared(empty: str) -> None:
    database.prepare(empty)
    with psycopg.connect(empty) as connection:
        ((oldest,),) = connection.execute("SELECT oldest FROM turn").fetchall()
        used = used_since(int(oldest), kept_statements(len(SCRIPTS)))
        assert len(used) > 150
        assert unprepared(connection, sorted(used)) == []
        connection.execute("ALTER TABLE attempts ADD COLUMN status TEXT")
        found = unprepared(connection, ["SELECT status FROM jobs JOIN attempts ON job_id = jobs.id"])
        assert "ambiguous" in found[0], "which names a new column takes is seen"


@pytest.mark.parametrize("deed", DEEDS)
def test_what_an_older_server_would_not_survive_is_seen(empty: str, deed: str) -> None:
    database.prepare(empty)
    with psycopg.connect(empty) as connection:
        before = schema_of(connection)
        connection.execute(deed.encode())
        found = harms(before, schema_of(connection))
    said = DEEDS[deed]
    assert found == [] if said is None else any(said in each for each in found), found


def test_a_migration_waits_for_a_report_and_holds_up_none(postgres: Cluster, empty: str) -> None:
    """A table that is changed is locked, and whatever comes meanwhile would queue behind that."""
    database.prepare(empty)
    step = "ALTER TABLE jobs ADD COLUMN next INTEGER"
    failed: list[Exception] = []

    def migrate() -> None:
        try:
            database.prepare(empty, [*SCRIPTS, step])
        except Exception as error:
            failed.append(error)

    with psycopg.connect(empty) as report, psycopg.connect(empty, autocommit=True) as reader:
        report.execute("SELECT count(*) FROM jobs")
        coming = threading.Thread(target=migrate)
        coming.start()
        reader.execute("SET lock_timeout = '5s'")
        for _ in range(8):
            time.sleep(0.1)
            reader.execute("SELECT count(*) FROM jobs")
            reader.execute("UPDATE turn SET at = at")
        assert coming.is_alive()
        report.rollback()
        coming.join(20)
    assert failed == []
    assert database.version(empty) == len(SCRIPTS) + 1


def test_a_migration_that_never_gets_its_tables_says_who_has_them(empty: str) -> None:
    database.prepare(empty)
    step = "ALTER TABLE jobs ADD COLUMN next INTEGER"
    with (
        psycopg.connect(empty, application_name="an old one in nobody's way") as old,
        psycopg.connect(empty, application_name="the report") as report,
        psycopg.connect(empty) as connection,
    ):
        old.execute("SELECT 1")
        report.execute("SELECT count(*) FROM jobs JOIN attempts ON job_id = jobs.id")
        with pytest.raises(DatabaseError) as failed:
            database.migrate(connection, [*SCRIPTS, step], patience=0)
    said = str(failed.value)
    assert re.search(r"tables stay in use.*the report \(process \d+, \d+ s: attempts, jobs\)", said), said
    assert "an old one" not in said
    assert database.version(empty) == len(SCRIPTS)


def test_no_migration_stands_in_a_transaction_of_its_own() -> None:
    """All steps are one transaction; what PostgreSQL does in none is no step."""
    for script in SCRIPTS:
        assert not re.search(
            r"\bCONCURRENTLY\b|^\s*(BEGIN|COMMIT|VACUUM)\b[^\n]*;", script, re.MULTILINE | re.IGNORECASE
        )
