"""The one table of settings: every variable, its default, and what is said of a wrong value."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from blobforge.config import MASK, PREFIX, ConfigError, Settings, describe
from blobforge.environment import load, retired_variables, unknown_variables

# What the original's README promises, exactly.
PROMISED: dict[str, object] = {
    "S3_ENDPOINT": "", "S3_BUCKET": "", "S3_ACCESS_KEY": "", "S3_SECRET_KEY": "",
    "PORT": 8080, "DB_PATH": "", "S3_REGION": "auto", "S3_PREFIX": "", "WORKER_TIMEOUT": 180, "MAX_ATTEMPTS": 3,
    "OIDC_ISSUER": "", "OIDC_CLIENT_ID": "", "OIDC_CLIENT_SECRET": "", "OIDC_REDIRECT_URL": "",
    "OIDC_ALLOWED_GROUPS": "", "OIDC_ADMIN_GROUPS": "",
    "LITESTREAM_DISABLED": False, "LITESTREAM_SKIP_RESTORE": False,
    "LITESTREAM_AGE_SECRET_KEY": "", "LITESTREAM_AGE_PUBLIC_KEY": "",
}  # fmt: skip
# And a value that each of them takes, as it comes from the environment.
GIVEN = {
    "PORT": ("9000", 9000), "WORKER_TIMEOUT": ("60", 60.0), "MAX_ATTEMPTS": ("5", 5),
    "LITESTREAM_DISABLED": ("true", True), "LITESTREAM_SKIP_RESTORE": ("TRUE", True),
    "HOST": ("0.0.0.0", "0.0.0.0"), "DATA_DIR": ("/srv/x", "/srv/x"), "RETRY_JITTER": ("0", 0.0),
    "RETRY_BACKOFF": ("1.5", 1.5), "MAX_LOSSES": ("9", 9), "VERIFY_LIMIT": ("0", 0),
}  # fmt: skip
S3 = {
    "S3_ENDPOINT": "https://s3.test",
    "S3_BUCKET": "b",
    "S3_ACCESS_KEY": "AKIA-something",
    "S3_SECRET_KEY": "a very secret key",
}


def env(**variables: str) -> dict[str, str]:
    return {PREFIX + name: value for name, value in variables.items()}


@pytest.mark.parametrize(("name", "default"), PROMISED.items())
def test_every_promised_variable_has_its_default(name: str, default: object) -> None:
    assert getattr(load({}), name.lower()) == default
    assert getattr(load(env(**{name: "  "})), name.lower()) == default  # empty counts as absent


def test_the_database_lives_where_the_original_kept_it() -> None:
    assert str(load({}).database) == "data/blobforge.db"
    assert str(load(env(DATA_DIR="/srv/x")).database) == "/srv/x/blobforge.db"
    assert str(load(env(DB_PATH="/srv/y.db")).database) == "/srv/y.db"


@pytest.mark.parametrize(("name", "text", "value"), [(name, *pair) for name, pair in GIVEN.items()])
def test_a_variable_is_read(name: str, text: str, value: object) -> None:
    got = getattr(load(env(**{name: text})), name.lower())
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "eighty", "int"), ("PORT", "70000", "65535"), ("PORT", "-1", "0"), ("PORT", "80.5", "int"),
        ("WORKER_TIMEOUT", "0", "0"), ("WORKER_TIMEOUT", "-5", "0"), ("WORKER_TIMEOUT", "nan", "WORKER_TIMEOUT"),
        ("WORKER_TIMEOUT", "inf", "WORKER_TIMEOUT"), ("RETRY_BACKOFF", "nan", "RETRY_BACKOFF"),
        ("WORKER_TIMEOUT", "3 minutes", "Seconds"), ("MAX_ATTEMPTS", "0", "1"), ("MAX_ATTEMPTS", "many", "int"),
        ("LITESTREAM_DISABLED", "maybe", "bool"), ("LOG_LEVEL", "loud", "debug"), ("LOG_FORMAT", "xml", "json"),
        ("S3_ENDPOINT", "s3.test", "URL"), ("PUBLIC_URL", "example.com", "address"), ("MAX_BODY", "1", "1024"),
        ("URL_LIFETIME", "604801", "604800"), ("RETRY_JITTER", "2", "1"), ("PORT", "80\n81", "int"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_name_value_and_what_it_takes(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(env(**{name: value}))
    line = str(error.value)
    assert "\n" not in line
    assert PREFIX + name in line
    assert repr(value) in line or f"={value}" in line
    assert said in line
    assert line.endswith(".")


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as error:
        load(env(ADMIN_TOKEN="hunter2 hunter2 hunter2"))
    assert "hunter2" not in str(error.value)
    assert f"{PREFIX}ADMIN_TOKEN={MASK}" in str(error.value)


@pytest.mark.parametrize("missing", S3)
def test_half_of_s3_is_refused_and_the_missing_one_named(missing: str) -> None:
    assert load(env(**S3)).uses_s3
    with pytest.raises(ConfigError, match=f"{PREFIX}{missing} is missing") as error:
        load(env(**{name: value for name, value in S3.items() if name != missing}))
    assert S3["S3_SECRET_KEY"] not in str(error.value)


@pytest.mark.parametrize("beat", ["60", "61"])
def test_a_heartbeat_that_is_no_shorter_than_the_timeout_is_refused(beat: str) -> None:
    with pytest.raises(ConfigError, match=r"HEARTBEAT_INTERVAL.*WORKER_TIMEOUT"):
        load(env(WORKER_TIMEOUT="60", HEARTBEAT_INTERVAL=beat))
    assert load(env(WORKER_TIMEOUT="60", HEARTBEAT_INTERVAL="59")).beat_every == 59
    assert load(env(WORKER_TIMEOUT="60")).beat_every == 10  # six fit in


def test_describe_masks_secrets_and_shows_the_rest() -> None:
    rows = {row.name: row for row in describe(load(env(**S3, PORT="1234", OIDC_CLIENT_SECRET="hush")))}
    text = repr(rows)
    for secret in (S3["S3_ACCESS_KEY"], S3["S3_SECRET_KEY"], "hush"):
        assert secret not in text
    assert rows[f"{PREFIX}S3_SECRET_KEY"].value == MASK
    assert rows[f"{PREFIX}ADMIN_TOKEN"].value == ""  # not set: nothing to mask, and it shows
    assert (rows[f"{PREFIX}PORT"].value, rows[f"{PREFIX}PORT"].is_set) == ("1234", True)
    assert (rows[f"{PREFIX}WORKER_TIMEOUT"].default, rows[f"{PREFIX}WORKER_TIMEOUT"].is_set) == ("180", False)
    assert all(row.description for row in rows.values())
    assert len(rows) == len(msgspec.structs.fields(Settings))


def test_names_of_secrets_are_marked_as_secret() -> None:
    """A later setting whose name says secret, token or key must not be shown by `blobforge config`."""
    given = {
        field.name: "x" for field in msgspec.structs.fields(Settings) if field.type is str or field.default == ""
    }
    shown = {row.name for row in describe(msgspec.structs.replace(Settings(), **given)) if row.value != MASK}
    suspicious = {name for name in shown if any(word in name for word in ("SECRET", "TOKEN", "PASSWORD", "_KEY"))}
    assert suspicious == {f"{PREFIX}LITESTREAM_AGE_PUBLIC_KEY"}


def test_a_variable_of_an_earlier_release_is_read_and_said_to_have_no_effect() -> None:
    given = env(FRONTS="4")
    assert load(given) == Settings()
    assert unknown_variables(given) == []
    assert list(retired_variables(given)) == [f"{PREFIX}FRONTS"]
    assert retired_variables(env(FRONTS="")) == {}


def test_a_typing_error_in_a_name_is_found() -> None:
    given = env(PORT="1", WORKER_TIMEOUTS="1", SERVER_URL="x", API_TOKEN="x") | {"PATH": "/bin", "BLOBFORGED": "1"}
    assert unknown_variables(given) == [f"{PREFIX}WORKER_TIMEOUTS"]


def test_every_setting_is_used() -> None:
    root = Path(__file__).parent.parent
    modules = [path for name in ("blobforge", "actors", "web") for path in (root / name).rglob("*.py")]
    code = "".join(path.read_text() for path in modules)
    fields = [field.name for field in msgspec.structs.fields(Settings)]
    unused = [name for name in fields if not re.search(rf"\.{name}\b", code)]
    assert [name for name in unused if not name.startswith("backup_s3_")] == []  # those are asked for by `backup_s3`
