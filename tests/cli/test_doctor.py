"""`doctor`: each thing that can be wrong is made wrong, and told with what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Running, running_server
from tests.cli.people import people
from tests.fixtures.seaweed import Seaweed


def findings(running: Running, code: int = 0, *arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    """What it found, by check. The last of several wins; problems come last."""
    import json

    done = running.blobforge("doctor", "--json", *arguments, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["healthy"] == (code == 0)
    return {found["check"]: found for found in answer["findings"]}


def test_a_healthy_server_and_what_may_be_wrong_with_it(running: Running, tmp_path: Path) -> None:
    found = findings(running)
    assert {name: one["level"] for name, one in found.items()} == {
        "server": "ok", "clock": "ok", "database": "ok", "store": "ok", "token": "ok", "version": "ok", "files": "ok",
        "browser": "ok",
        "workers": "ok", "data folder": "ok",
    }  # fmt: skip
    assert "no file yet" in found["files"]["text"]
    before = sorted((running.folder / "data" / "objects").rglob("*"))

    with people(running) as person:
        person.submit("a document", "pdf")
        waits = findings(running)
        assert "gives out a file" in waits["files"]["text"]
        assert "no worker" in waits["workers"]["text"]
        assert "--type pdf" in waits["workers"]["advice"]
        person.submit("dies", "other", max_attempts=1)
        person.fail(person.claim("other"), "no")
        assert "1 job dead" in findings(running)["jobs"]["text"]
        assert len(sorted((running.folder / "data" / "objects").rglob("*"))) > len(before)

    read_only = running.json("tokens", "create", "r", "--scope", "read", "--expires-in", "2")["token"]
    limited = findings(running, 0, "--token", read_only)
    assert limited["token"]["level"] == "warning"
    assert "expires" in limited["token"]["text"]
    worker = running.json("tokens", "create", "w", "--scope", "work")["token"]
    assert {one: findings(running, 0, "--token", worker)[one]["level"] for one in ("files", "workers")} == {
        "files": "skipped",
        "workers": "skipped",
    }

    (running.folder / "data" / "admin-token").chmod(0o644)
    (running.folder / "data" / "objects").chmod(0o700)
    open_to_all = findings(running, 1)
    assert "chmod 600" in open_to_all["data folder"]["advice"]


def test_no_token_a_wrong_one_and_no_server(running: Running) -> None:
    elsewhere = {"BLOBFORGE_DATA_DIR": "/nonexistent"}
    none = findings(running, 4, **elsewhere)
    assert none["token"]["text"] == "there is none"
    assert "blobforge login" in none["token"]["advice"]
    wrong = findings(running, 4, "--token", "bf_wrong", **elsewhere)
    assert "is refused" in wrong["token"]["text"]
    text = running.blobforge("doctor", "--token", "bf_wrong", "--quiet", **elsewhere)
    (line,) = text.stdout.splitlines()
    assert line.startswith("failure\ttoken\t")
    running.kill_server()
    gone = findings(running, 3)
    assert "connection refused" in gone["server"]["text"]
    assert "is gone without a word" in gone["data folder"]["text"]


class _Odd(BaseHTTPRequestHandler):
    """A server whose clock is an hour ahead, and which knows nobody."""

    def do_GET(self) -> None:
        self.send_response_only(200 if self.path == "/livez" else 404)
        self.send_header("Date", "Tue, 01 Jan 2030 00:00:00 GMT")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def odd_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_clocks_that_differ_and_a_server_that_is_another(tmp_path: Path) -> None:
    with odd_server() as url:
        running = Running(tmp_path, {}, url)
        found = findings(running, 1)
        assert found["clock"]["level"] == "failure"
        assert "behind the server" in found["clock"]["text"]
        assert "NTP" in found["clock"]["advice"]
        other = findings(running, 3, "--server", f"{url}/path")
        assert "answered 404" in other["server"]["text"]


def test_an_object_store_that_is_reached_and_one_that_is_not(seaweed: Seaweed, tmp_path: Path) -> None:
    settings = {
        "BLOBFORGE_S3_ENDPOINT": seaweed.endpoint,
        "BLOBFORGE_S3_BUCKET": seaweed.bucket,
        "BLOBFORGE_S3_ACCESS_KEY": seaweed.access_key,
        "BLOBFORGE_S3_SECRET_KEY": seaweed.secret_key,
        "BLOBFORGE_S3_PREFIX": tmp_path.name,
        "BLOBFORGE_LITESTREAM_DISABLED": "true",  # a start would refuse a place of backups that does not answer
    }
    with running_server(tmp_path / "here", settings) as running, people(running) as person:
        assert (
            findings(running)["files"]["text"]
            == f"{seaweed.endpoint} answers; there is no file yet to try a download with"
        )
        # What a browser asks before a page may send something there.
        said = f"pages of {running.url} may send files to {seaweed.endpoint}, and fetch them there"
        assert findings(running)["browser"]["text"] == said
        methods: dict[str, Any] = {"AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
        rule = methods | {"AllowedOrigins": ["https://elsewhere.example"]}
        seaweed.client().put_bucket_cors(Bucket=seaweed.bucket, CORSConfiguration={"CORSRules": [rule]})
        try:
            refused = findings(running)["browser"]
            rule["AllowedOrigins"] = [running.url]
            seaweed.client().put_bucket_cors(Bucket=seaweed.bucket, CORSConfiguration={"CORSRules": [rule]})
            no_pdf = findings(running)["browser"]
        finally:
            seaweed.client().delete_bucket_cors(Bucket=seaweed.bucket)
        assert (no_pdf["level"], "may not fetch files from" in no_pdf["text"]) == ("warning", True)
        assert (refused["level"], "preflight with 403" in refused["text"]) == ("warning", True)
        assert f'"AllowedOrigins": ["{running.url}"], "AllowedMethods": ["GET", "PUT"]' in refused["advice"]
        running.wait_for(person.submit("", "empty"), "pending")
        assert "gives out a file" in findings(running)["files"]["text"]
    unreachable = settings | {"BLOBFORGE_S3_ENDPOINT": "http://127.0.0.1:1", "BLOBFORGE_S3_TIMEOUT": "1"}
    with running_server(tmp_path / "there", unreachable) as running:
        found = findings(running, 1)
        assert found["store"]["level"] == "failure"
        assert "cannot reach http://127.0.0.1:1/" in found["files"]["text"]
        assert "its port must be open" in found["files"]["advice"]


@pytest.mark.parametrize("folder", ["nothing", "another's"])
def test_no_data_folder_of_this_server_here(running: Running, tmp_path: Path, folder: str) -> None:
    other = tmp_path / folder
    other.mkdir()
    token = (running.folder / "data" / "admin-token").read_text()
    if folder == "another's":
        (other / "server.json").write_text('{"url":"http://127.0.0.1:1","pid":1}')
    found = findings(running, 0, "--token", token.strip(), BLOBFORGE_DATA_DIR=str(other))
    assert found["data folder"]["level"] == "skipped"


def test_an_empty_database_beside_objects_of_another_life(running: Running) -> None:
    """And the mark of the database that was lost."""
    assert "installations" not in findings(running)
    data = running.folder / "data"
    (data / "objects" / "sources" / "ab").mkdir(parents=True)
    (data / "objects" / "sources" / "ab" / ("ab" * 32)).write_bytes(b"of another life")
    running.kill_server()
    for file in data.glob("blobforge.db*"):
        file.unlink()
    running.serve()
    found = findings(running)["installations"]
    assert (found["level"], "sources and orphans are not deleted" in found["text"]) == ("warning", True)
    assert "restore it before anything is deleted" in found["advice"]
    assert "this database is new" in running.ok("doctor")
