"""With BLOBFORGE_DATABASE_URL, commands that are about a database file say what is done in PostgreSQL's way."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from blobforge.cli import main
from blobforge.config import MASK, Settings, describe
from blobforge.environment import load

URL = "postgresql://queue:open-sesame@db-1,db-2:5433/queue?target_session_attrs=read-write"


@pytest.fixture(autouse=True)
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOBFORGE_DATABASE_URL", URL)


def said(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["db", "backup", "copy.db"], "pg_basebackup"),
        (["db", "vacuum"], "Autovacuum"),
        (["db", "stats"], "psql"),
        (["backup", "restore", "--to", "x.db"], "its own backup"),
    ],
)
def test_what_is_done_instead(command: list[str], instead: str) -> None:
    code, text = said(*command)
    assert code != 0
    assert "The database is PostgreSQL" in text
    assert instead in text
    assert "db-1,db-2:5433/queue" in text
    assert "open-sesame" not in text


def test_a_file_that_is_named_is_still_looked_at() -> None:
    code, text = said("db", "check", "none.db")
    assert code != 0
    assert "There is no database none.db" in text


def test_the_settings_show_no_password() -> None:
    code, text = said("config")
    assert code == 0
    assert "open-sesame" not in text
    [shown] = [each for each in describe(load({"BLOBFORGE_DATABASE_URL": URL})) if each.name.endswith("DATABASE_URL")]
    assert (shown.value, shown.is_set) == (MASK, True)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (URL, URL.replace("open-sesame", MASK)),
        ("postgres://queue@db/queue?password=a%20b&sslmode=verify-full",
         f"postgres://queue@db/queue?password={MASK}&sslmode=verify-full"),
        ("host=db password='a b' dbname=queue", f"host=db password={MASK} dbname=queue"),
        ("host=db password = abc dbname=queue", f"host=db password = {MASK} dbname=queue"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(given: str, shown: str) -> None:
    settings = load({"BLOBFORGE_DATABASE_URL": given, "BLOBFORGE_DB_PATH": "x.db"})  # no error: it is not used
    assert settings.shown_database == shown


def test_what_is_no_url_is_told_without_it() -> None:
    code, text = said_with("mysql://queue:open-sesame@db/queue")
    assert code == 2
    assert "BLOBFORGE_DATABASE_URL" in text
    assert "open-sesame" not in text


def said_with(url: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["config"], env={"BLOBFORGE_DATABASE_URL": url})
    return done.exit_code, done.output


def test_litestream_does_not_copy_it() -> None:
    settings = {
        "BLOBFORGE_S3_ENDPOINT": "http://s3", "BLOBFORGE_S3_BUCKET": "b", "BLOBFORGE_S3_ACCESS_KEY": "a",
        "BLOBFORGE_S3_SECRET_KEY": "s",
    }  # fmt: skip
    assert load(settings).backs_up
    assert not load(settings | {"BLOBFORGE_DATABASE_URL": URL}).backs_up
    assert not Settings().backs_up
