"""`blobforge webhooks` against a real server."""

from __future__ import annotations

from blobforge.cli.webhooks import EVENTS
from blobforge.webhook import WebhookEvent
from tests.cli.conftest import Running


def test_events_are_those_of_the_server() -> None:
    assert tuple(WebhookEvent) == EVENTS


def test_a_webhook_is_made_changed_tried_and_deleted(running: Running) -> None:
    secret = running.ok("webhooks", "create", "https://hook.example/x", "--event", "job.dead", "--tag", "a").strip()
    assert secret.startswith("whsec_")
    assert running.ok("webhooks", "list").splitlines()[1:] == ["1\thttps://hook.example/x\tjob.dead\tenabled\t0"]
    changed = running.json("webhooks", "change", "1", "--unset", "tags", "--event", "job.completed")
    assert (changed["events"], changed["tags"]) == (["job.completed"], [])
    assert running.ok("webhooks", "rotate", "1", "--overlap", "1h").strip() != secret
    assert running.json("webhooks", "change", "1", "--disable")["enabled"] is False
    refused = running.blobforge("webhooks", "test", "1")
    assert refused.returncode != 0
    assert "disabled" in refused.stderr
    assert running.ok("webhooks", "deliveries", "1", "--quiet") == ""
    assert running.ok("webhooks", "deliveries", "1", "--state", "failed", "--quiet") == ""
    unasked = running.blobforge("webhooks", "delete", "1")
    assert unasked.returncode != 0
    assert "--yes" in unasked.stderr
    assert running.ok("webhooks", "delete", "1", "--yes") == "1\tdeleted\n"


def test_what_is_wrong_is_said(running: Running) -> None:
    for arguments, said in (
        (("create", "https://x.example/"), "Say of what"),
        (("create", "https://127.0.0.1/", "--event", "job.dead"), "no public address"),
        (("change", "1"), "Say what to change"),
        (("redeliver", "1"), "Name deliveries"),
        (("show", "9"), "There is no webhook 9"),
    ):
        done = running.blobforge("webhooks", *arguments)
        assert done.returncode != 0
        assert said in done.stderr, done.stderr
