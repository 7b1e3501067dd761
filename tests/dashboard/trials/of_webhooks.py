"""Actions of webhooks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Page, expect

from tests.dashboard.trials.case import Case, Props, filled, trial
from web.dashboard.actions import MOST_PAGES

HOOK = "/do/admin/webhooks/<id:webhook_id>"
LOOKED_AT = MOST_PAGES * 500 + 500  # deliveries, until it is asked whether to go on
SILENT = "http://127.0.0.1:9/"  # where nothing listens


def webhook(props: Props, url: str = SILENT) -> int:
    return int(props.call("POST", "/api/admin/webhooks", {"url": url, "events": ["job.dead"]})["id"])


def of_webhook(props: Props, number: int, **fields: Any) -> Case:
    at = f"/admin/webhooks/{number}"
    return Case(**({"at": at, "shown": at, "said": f"Webhook {number} is changed."} | fields))


@trial("/do/admin/webhooks", "Make the webhook")
def make_webhook(props: Props, script: bool) -> Case:
    url = f"https://{props.name('hook')}.example/"
    return Case(at="/admin/webhooks", before=filled(url=url), stored=props.count("webhooks", url=url), to=1,
                said="Shown this once", shown="/admin/webhooks", sign="tbody a", text=url)  # fmt: skip


@trial(HOOK, "Change the webhook")
def change_webhook(props: Props, script: bool) -> Case:
    number, group = webhook(props), props.name("group")
    return of_webhook(
        props,
        number,
        before=filled(group=group),
        stored=props.value("webhooks", "of_group", id=number),
        to=group,
        sign="dd",
        text=group,
    )


@trial(HOOK, "Disable")
def disable_webhook(props: Props, script: bool) -> Case:
    number = webhook(props)
    return of_webhook(
        props,
        number,
        stored=props.there("webhooks", "disabled_at", id=number),
        to=True,
        sign="dl .pill",
        text="disabled",
    )


@trial(HOOK, "Enable")
def enable_webhook(props: Props, script: bool) -> Case:
    number = webhook(props)
    props.call("PATCH", f"/api/admin/webhooks/{number}", {"enabled": False})
    return of_webhook(props, number, stored=props.there("webhooks", "disabled_at", id=number), to=False,
                      sign="dl .pill", gone=True)  # fmt: skip


@trial(f"{HOOK}/delete", "Delete", asks=True)
def delete_webhook(props: Props, script: bool) -> Case:
    number = webhook(props)
    return of_webhook(props, number, stored=props.there("webhooks", "deleted_at", id=number), to=True,
                      shown="/admin/webhooks", sign=f"#webhook-{number}", gone=True,
                      said=f"Webhook {number} is deleted")  # fmt: skip


@trial(f"{HOOK}/test", "Send a test")
def try_webhook(props: Props, script: bool) -> Case:
    number = webhook(props)
    return of_webhook(props, number, stored=props.count("deliveries", webhook=number), to=1, sign="[data-row]",
                      text="webhook.test", said="is sent, to try it")  # fmt: skip


def tried_webhook(props: Props) -> tuple[int, int]:
    """One that was sent something, which was answered with 202; what is sent from now on is answered with 204."""
    answers = props.answers
    answers.status = 202
    number = webhook(props, answers.url)
    delivery = props.call("POST", f"/api/admin/webhooks/{number}/test")["delivery"]
    props.until(lambda: props.stage.value("deliveries", "status", id=delivery) == 202)
    answers.status = 204
    return number, delivery


@trial(f"{HOOK}/deliveries/<id:delivery_id>/redeliver", "Send again")
def send_again(props: Props, script: bool) -> Case:
    number, delivery = tried_webhook(props)
    return of_webhook(
        props,
        number,
        within=f"#delivery-{delivery}",
        stored=props.value("deliveries", "status", id=delivery),
        to=204,
        later=True,
        sign="td[data-label=Answer]",
        text="204",
        said="is sent again.",
    )


@trial(f"{HOOK}/redeliver", "Send again")
def send_all_again(props: Props, script: bool) -> Case:
    number, delivery = tried_webhook(props)

    def fill(page: Page) -> None:
        page.locator("#since").fill(f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT%H:%M}")
        page.get_by_label("what was delivered, too").check()

    return of_webhook(
        props,
        number,
        before=fill,
        within="section:has(#again-title)",
        to=204,
        later=True,
        stored=props.value("deliveries", "status", id=delivery),
        sign="td[data-label=Answer]",
        text="204",
        said="1 delivery is sent again.",
    )


@trial(f"{HOOK}/redeliver", "Go on")
def go_on_sending_again(props: Props, script: bool) -> Case:
    """Behind so many others that were delivered, one is to be sent again."""
    number, _ = tried_webhook(props)
    now = int(time.time() * 1000)
    kept = ("webhook", "event", "at", "data", "state", "due_at", "ended_at")
    props.add_all("deliveries", kept, [(number, "job.dead", now, "{}", "delivered", now, now)] * LOOKED_AT)
    props.add_all("deliveries", kept, [(number, "job.dead", now, "{}", "failed", now, now)])
    last = props.stage.value("deliveries", "id", webhook=number, state="failed")

    def fill(page: Page) -> None:
        page.locator("#since").fill(f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT%H:%M}")
        page.locator("section:has(#again-title)").get_by_role("button", name="Send again").click()
        expect(page.get_by_text("Not all of that time has been looked at yet.")).to_be_visible()

    return of_webhook(
        props,
        number,
        before=fill,
        to=204,
        later=True,
        said="1 delivery is sent again.",
        stored=props.value("deliveries", "status", id=last),
        sign=f"#delivery-{last} .pill",
        text="delivered",
    )


@trial(f"{HOOK}/rotate", "Give it another secret")
def rotate_webhook(props: Props, script: bool) -> Case:
    number = webhook(props)
    return of_webhook(props, number, stored=props.there("webhooks", "former", id=number), to=True, sign="dt",
                      text="Former secret", said="Shown this once")  # fmt: skip
