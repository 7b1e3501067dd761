"""The proxy of `deploy/`, before a real server."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.fixtures.haproxy import CONFIGURATION, Haproxy
from tests.fixtures.seaweed import free_ports
from tests.fixtures.server import ServerProcess


def test_servers_stay_where_their_names_are_asked_for_in_vain() -> None:
    """Else a name server that is away for half a minute takes all of them out, well as they are."""
    found = re.findall(r"^ +hold (\w+) (\w+)$", CONFIGURATION.read_text(), re.MULTILINE)
    assert {reason for reason, how_long in found if how_long == "24d"} == {"nx", "timeout", "refused", "other"}


@pytest.mark.parametrize("forged", [[], ["203.0.113.9"], ["203.0.113.9", "198.51.100.7, 10.0.0.1"]])
def test_a_client_does_not_say_where_it_comes_from(tmp_path: Path, forged: list[str]) -> None:
    """Also where its own network is trusted, as that of the proxy's is."""
    own, behind = free_ports(2)
    (tmp_path / "data").mkdir()
    server = ServerProcess(tmp_path / "data", port=behind, trusted_proxies="127.0.0.0/8,10.0.0.0/8")
    proxy = Haproxy(tmp_path, own, [behind, behind])
    try:
        server.start()
        proxy.start()
        headers = [("Authorization", f"Bearer {server.token}"), *(("X-Forwarded-For", each) for each in forged)]
        with httpx.Client(base_url=proxy.url, headers=headers, trust_env=False) as client:
            assert client.post("/api/admin/tokens", json={"name": "x", "scopes": ["read"]}).status_code == 201
            [entry] = client.get("/api/admin/audit?action=token.create").json()["entries"]
        assert entry["address"] == "127.0.0.1"
    finally:
        proxy.close()
        server.close()
