"""Marked secrets in every place that takes one, a server that is exercised with them, and none of them anywhere."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from blobforge.machinery.datadir import LINK_FILE
from tests.fixtures.forked import run
from tests.fixtures.server import ServerProcess
from tests.web.calls import HEX
from web.app import routes

CONFIGURED = {
    "admin_token": "bf_canaryADMIN0000000000000000000000000001",
    "s3_access_key": "CANARYACCESS00000002",
    "s3_secret_key": "canary+secret/key/of/the/object/store/003",
    "oidc_client_secret": "canary-oidc-client-secret-000000000004",
    "litestream_age_secret_key": "AGE-SECRET-KEY-1CANARY0000000000000000000005",
}
PATTERN = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
JSON = {"Content-Type": "application/json"}


class Seen:
    """What the server has said, kind by kind."""

    def __init__(self, server: ServerProcess, secrets: dict[str, str]) -> None:
        self.server, self.secrets = server, secrets
        self.said: list[tuple[str, str]] = []
        self.client = httpx.Client(base_url=server.url, timeout=60, trust_env=False)

    def note(self, where: str, text: str) -> None:
        self.said.append((where, text))

    def call(self, method: str, path: str, *, shown: bool = False, **options: object) -> httpx.Response:
        """One request. `shown`: the answer is where a secret is handed out, and not looked at."""
        answer = self.client.request(method, path, **options)  # type: ignore[arg-type]
        self.client.cookies.clear()
        if not shown:
            self.note(
                f"{method} {path[:40]} -> {answer.status_code}", answer.text + str(sorted(answer.headers.items()))
            )
        return answer

    def leaks(self) -> list[str]:
        """Where which secret was found. (A cookie that is set is how its owner gets it.)"""
        return [
            f"{name} in {where}"
            for where, text in self.said
            for name, secret in self.secrets.items()
            if secret in text or quote(secret, safe="") in text or json.dumps(secret)[1:-1] in text
        ]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("canary") / "data"
    folder.mkdir()
    # Nothing listens at port 1: whatever the object store and the provider are asked fails, and is told about.
    server = ServerProcess(
        folder,
        **CONFIGURED,
        s3_endpoint="http://127.0.0.1:1", s3_bucket="bucket", s3_timeout=1, url_lifetime=3600,
        oidc_issuer="http://127.0.0.1:1", oidc_client_id="us", oidc_redirect_url="http://127.0.0.1:1/auth/callback",
        litestream_age_public_key="age1public", litestream_disabled="true", log_level="debug", log_format="json",
    )  # fmt: skip
    try:
        server.start()
        yield Seen(server, dict(CONFIGURED))
    finally:
        server.close()


def admin() -> dict[str, str]:
    return {"Authorization": f"Bearer {CONFIGURED['admin_token']}"}


def hand_out(seen: Seen) -> None:
    """Make one of each secret that the server gives away, and add it to those that are looked for."""
    made = seen.call(
        "POST", "/api/tokens", shown=True, headers=admin(), json={"name": "t", "scopes": ["read"]}
    ).json()
    seen.secrets["token"] = made["token"]
    again = {"headers": admin() | {"Idempotency-Key": "k1"}, "json": {"id": "w", "type": "pdf"}, "shown": True}
    seen.secrets["worker secret"] = seen.call("POST", "/api/admin/workers", **again).json()["secret"]
    rotated = seen.call("POST", "/api/admin/workers/w/regenerate", shown=True, headers=admin()).json()
    seen.secrets["new worker secret"] = rotated["secret"]
    job = seen.call(
        "POST",
        "/api/jobs",
        shown=True,
        headers=admin(),
        json={"type": "pdf", "source_hash": HEX, "source_path": "a.pdf"},
    ).json()
    seen.secrets["signature"] = parse_qs(urlsplit(job["upload_url"]).query)["X-Amz-Signature"][0]
    link = (seen.server.folder / LINK_FILE).read_text()
    seen.secrets["first-start code"] = link.strip().partition("code=")[2]
    form = {"headers": {"Sec-Fetch-Site": "same-origin"}, "data": {"token": seen.secrets["token"]}}
    answer = seen.call("POST", "/login", shown=True, **form)
    seen.secrets["session"] = answer.cookies["blobforge"]


def exercise(seen: Seen) -> None:
    """Every route, as it should be called and as it should not, with every secret in every odd place."""
    everywhere = [admin(), {}, {"Cookie": f"blobforge={seen.secrets['session']}", "Sec-Fetch-Site": "same-origin"}]
    for route in routes():
        if route.path == "/events" or (route.method, route.path) == ("DELETE", "/api/tokens/<id:token_id>"):
            continue
        path = PATTERN.sub(
            lambda match: {"worker_id": "w", "type": "p", "kind": "source"}.get(match[1], "999"), route.path
        )
        for headers in everywhere:
            shown = route.audit in ("token.create", "worker.create", "worker.rotate") or path == "/auth/logout"
            seen.call(route.method, path, shown=shown, headers=headers, content=b"{}" if route.body else b"")
    # A signature by itself looks like any checksum; what makes it one is the name before it.
    names = {"signature": "https://s3.test/key?X-Amz-Signature="}
    for secret in [names.get(name, "") + secret for name, secret in seen.secrets.items()]:
        quoted = quote(secret, safe="")
        wrong = {"Authorization": f"Bearer {secret}x"}
        seen.call("GET", "/api/stats", headers=wrong)
        seen.call("GET", "/api/stats", headers={"X-Worker-ID": secret, "X-Worker-Secret": secret})
        seen.call("GET", "/api/stats", headers={"Authorization": f"Basic {secret}"})
        seen.call("GET", f"/no/such/{quoted}")
        seen.call("GET", f"/{quoted}?{quoted}={quoted}")
        seen.call("PUT", f"/api/jobs/{quoted}", headers=admin())
        seen.call("GET", f"/api/workers/{quoted}", headers=admin())
        seen.call("GET", f"/api/admin/audit?cursor={quoted}", headers=admin())
        seen.call("GET", f"/api/jobs?status={quoted}", headers=admin())
        seen.call("GET", f"/events?types={quoted}", headers=admin())
        seen.call("GET", f"/static/{quoted}")
        seen.call("GET", f"/auth/first?code={quoted}x")
        seen.call("GET", f"/auth/login?next=//{quoted}")
        for body in _odd_bodies(secret):
            for path in ("/api/jobs", "/api/jobs/claim", "/api/workers/register", "/api/admin/tokens"):
                seen.call("POST", path, headers=admin() | JSON, content=body)
        seen.call("POST", "/api/jobs", headers=admin() | {"Content-Type": secret}, content=b"x")
        seen.call("POST", "/api/jobs/cancel", headers=admin() | JSON, json={"q": secret})


def _odd_bodies(secret: str) -> list[bytes]:
    """None of them is valid for any of the routes that it is sent to."""
    text = json.dumps(secret)
    return [
        text.encode(),
        f"{{{text}: 1, ".encode(),
        f'{{"type": {{{text}: {text}}}, "name": [{text}], "id": [{text}], "job_type": [{text}]}}'.encode(),
        f'{{"type": "p", "source_hash": {text}, "name": "x", "scopes": [{text}], "worker_id": 1}}'.encode(),
        secret.encode() + b"\xff",
    ]


def listen(seen: Seen, ready: threading.Event, done: threading.Event) -> None:
    """Read the event stream until the exercise is over."""
    with (
        httpx.Client(base_url=seen.server.url, timeout=60, trust_env=False, headers=admin()) as client,
        client.stream("GET", "/events") as stream,
    ):
        text = ""
        for part in stream.iter_text():
            ready.set()
            text += part
            if done.is_set() and "last-words" in text:
                break
        seen.note("the event stream", text)


def test_no_secret_is_seen_anywhere(seen: Seen) -> None:
    ready, done = threading.Event(), threading.Event()
    listener = threading.Thread(target=listen, args=(seen, ready, done))
    listener.start()
    assert ready.wait(30)
    hand_out(seen)
    exercise(seen)
    done.set()
    seen.call("POST", "/api/workers/register", headers=admin(), json={"id": "last-words", "type": "pdf"})
    listener.join(60)
    assert not listener.is_alive()
    for path in (
        "/metrics",
        "/api/openapi.json",
        "/api/docs",
        "/api/health",
        "/api/admin/audit",
        "/api/admin/tokens",
    ):
        assert seen.call("GET", path, headers=admin()).status_code in (200, 503)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    for command in (["config"], ["config", "--json"]):
        ran = run(command, environment=environment | seen.server.variables)
        assert ran.returncode == 0
        assert "BLOBFORGE_S3_SECRET_KEY" in ran.stdout
        seen.note(f"blobforge {command}", ran.stdout + ran.stderr)
    assert seen.server.stop() == 0
    logged = seen.server.logged()
    assert logged.count('"event":"request"') > 200
    assert "[redacted]" in logged
    for line in logged.splitlines():
        seen.note(f"the log: {line[:150]}", line)
    assert sorted(set(seen.leaks())) == []


def test_the_search_finds_what_is_there(seen: Seen) -> None:
    """A search that finds nothing proves something only if it finds what is there."""
    looked = Seen(seen.server, {"a": 'with "quotes" and/slash'})
    looked.note("plain", 'x with "quotes" and/slash x')
    looked.note("json", json.dumps({"x": 'with "quotes" and/slash'}))
    looked.note("url", quote('with "quotes" and/slash', safe=""))
    assert len(looked.leaks()) == 3
