"""`login` and `logout`: what is kept, where, for whom, and that nothing is kept that was not tried."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server
from tests.cli.terminal import terminal

# A keyring that works, as an installed backend is: the protocol is keyring's own.
BACKEND = """
import json, os, pathlib
import keyring.backend

class Keyring(keyring.backend.KeyringBackend):
    priority = 5
    path = pathlib.Path(os.environ["TEST_KEYRING"])
    def _all(self): return json.loads(self.path.read_text()) if self.path.exists() else {}
    def get_password(self, service, username): return self._all().get(f"{service} {username}")
    def set_password(self, service, username, password):
        self.path.write_text(json.dumps({**self._all(), f"{service} {username}": password}))
    def delete_password(self, service, username):
        kept = self._all(); kept.pop(f"{service} {username}"); self.path.write_text(json.dumps(kept))
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server; the tests differ in the configuration folder."""
    with running_server(tmp_path_factory.mktemp("login") / "here", {}) as running:
        yield running


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment that knows neither the server nor its admin token, and has a configuration of its own."""
    return {
        "BLOBFORGE_SERVER_URL": "",
        "BLOBFORGE_DATA_DIR": "/nonexistent",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def new_token(local: Running, *scopes: str) -> str:
    options = [part for scope in scopes for part in ("--scope", scope)]
    return str(local.json("tokens", "create", "for-login", *options)["token"])


def login_file(elsewhere: dict[str, str]) -> Path:
    return Path(elsewhere["XDG_CONFIG_HOME"]) / "blobforge" / "login.json"


def test_a_token_from_stdin_is_tried_and_kept_private(local: Running, elsewhere: dict[str, str]) -> None:
    token = new_token(local, "read")
    done = local.blobforge("login", local.url + "/", "--token", token, **elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert f"Logged in to {local.url} as for-login (read)." in done.stderr
    assert token not in done.stderr
    path = login_file(elsewhere)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"server": local.url, "token": token}

    local.ok("stats", **elsewhere)
    refused = local.blobforge("jobs", "cancel", "1", **elsewhere)
    assert refused.returncode == 4
    assert "takes the scope submit" in refused.stderr
    assert "tokens create NAME --scope submit" in refused.stderr

    out = local.blobforge("logout", **elsewhere)
    assert (out.returncode, out.stderr) == (0, "Logged out.\n")
    assert not path.exists()
    assert local.blobforge("logout", **elsewhere).stderr == "There was no login.\n"


def test_it_asks_for_what_is_missing_and_hides_the_token(local: Running, elsewhere: dict[str, str]) -> None:
    token = new_token(local)
    with terminal(local, "login", **elsewhere) as screen:
        screen.see("Server [http://localhost:8080]: ")
        screen.type(local.url)
        screen.see(f"API token for {local.url}: ")
        screen.type_hidden(token)
        assert screen.end() == 0
    assert "Logged in" in screen.text
    assert token not in screen.seen
    with terminal(local, "login", **elsewhere) as screen:
        screen.see(f"Server [{local.url}]: ")
        assert screen.interrupt() == 130
    assert "Traceback" not in screen.text
    local.ok("stats", **elsewhere)


def test_what_does_not_work_is_not_kept(local: Running, elsewhere: dict[str, str], tmp_path: Path) -> None:
    wrong = local.blobforge("login", local.url, "--token", "bf_wrong", **elsewhere)
    assert wrong.returncode == 4
    assert "does not take this token" in wrong.stderr
    nowhere = local.blobforge("login", "http://127.0.0.1:1", "--token", "bf_x", **elsewhere)
    assert nowhere.returncode == 3
    no_url = local.blobforge("login", "queue.example", "--token", "bf_x", **elsewhere)
    assert no_url.returncode == 2
    nothing = local.blobforge("login", local.url, "--with-token", **elsewhere)
    assert nothing.returncode == 2
    unsaid = local.blobforge("login", **elsewhere)
    assert unsaid.returncode == 2
    assert not login_file(elsewhere).exists()


def test_a_token_is_for_its_server_only(local: Running, elsewhere: dict[str, str]) -> None:
    local.ok("login", local.url, "--token", new_token(local), **elsewhere)
    other = local.blobforge("stats", "--server", local.url.replace("127.0.0.1", "localhost"), **elsewhere)
    assert other.returncode == 4
    assert "blobforge login" in other.stderr
    # What is given beats what is kept.
    given = local.blobforge("stats", "--token", "bf_wrong", **elsewhere)
    assert given.returncode == 4
    assert "--token or BLOBFORGE_API_TOKEN is unknown" in given.stderr


def test_a_damaged_login_is_told_and_replaced(local: Running, elsewhere: dict[str, str]) -> None:
    path = login_file(elsewhere)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = local.blobforge("stats", **elsewhere)
    assert done.returncode == 1
    assert f"{path} is damaged" in done.stderr
    assert "blobforge login" in done.stderr
    local.ok("stats", "--server", local.url, "--token", new_token(local), **elsewhere)
    local.ok("login", local.url, "--token", new_token(local), **elsewhere)
    local.ok("stats", **elsewhere)


def test_a_keyring_that_works_has_the_token(local: Running, elsewhere: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file_keyring.py").write_text(BACKEND)
    kept = tmp_path / "kept.json"
    keyring = elsewhere | {
        "PYTHON_KEYRING_BACKEND": "file_keyring.Keyring",
        "PYTHONPATH": str(tmp_path),
        "TEST_KEYRING": str(kept),
    }
    token = new_token(local)
    done = local.blobforge("login", local.url, "--token", token, **keyring)
    assert "The token is in the keyring." in done.stderr
    assert token not in login_file(keyring).read_text()
    assert json.loads(kept.read_text()) == {f"blobforge {local.url}": token}
    local.ok("stats", **keyring)
    gone = local.blobforge("stats", **keyring | {"PYTHON_KEYRING_BACKEND": "no.such.Keyring"})
    assert gone.returncode == 4
    assert "Traceback" not in gone.stderr
    local.ok("login", local.url, "--token", token, "--no-keyring", **keyring)
    assert json.loads(kept.read_text()) == {}
    assert token in login_file(keyring).read_text()
    local.ok("login", local.url, "--token", token, **keyring)
    local.ok("logout", **keyring)
    assert json.loads(kept.read_text()) == {}
