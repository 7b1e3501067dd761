"""Webhooks in a browser: from the form to a receiver and back, and what receivers and people write runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from standardwebhooks import Webhook

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, WIDE, scrolls_sideways, violations
from tests.dashboard.receiver import Answers, answering
from tests.dashboard.scene import HOSTILE
from tests.dashboard.test_actions import said
from tests.dashboard.test_hostile import BIDI, INJECTED

EVIL = "\n".join(HOSTILE)


@pytest.fixture
def receiver() -> Iterator[Answers]:
    with answering(EVIL, "/hook?x='onload=document.title='owned'//") as made:
        yield made


def test_from_the_form_to_the_receiver_and_back(stage: Stage, page: Page, receiver: Answers) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.accept()))
    page.goto("/admin/webhooks")
    page.get_by_label("URL that is told").fill(receiver.url)
    page.get_by_label("batch.ended").check()
    page.get_by_label("Only of jobs with one of these tags").fill(HOSTILE[1])
    page.get_by_label("Only of jobs of this group").fill(HOSTILE[1])
    page.get_by_role("button", name="Make the webhook").click()
    secret = page.locator("#secret").inner_text().strip()
    assert violations(page) == []
    page.get_by_role("link", name="I have kept it").click()
    page.wait_for_url("**/admin/webhooks/*")
    number = int(page.url.rpartition("/")[2])

    # What was sent shows by itself once it was taken.
    page.get_by_role("button", name="Send a test").click()
    said(page, "is sent, to try it")
    row = page.locator("[data-row]")
    expect(row.locator(".pill")).to_have_text("delivered")
    body, headers = receiver.got[0]
    assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"
    row.get_by_text("what it answered").click()
    expect(row.locator("pre")).to_contain_text("<script>document.title=")
    row.get_by_role("button", name="Send again").click()
    said(page, "is sent again.")
    expect(row.locator(".pill")).to_have_text("delivered")

    for address in (f"/admin/webhooks/{number}", "/admin/webhooks"):
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            answer = page.goto(address)
            assert answer is not None
            assert not BIDI.search(answer.text())
            expect(page.locator(INJECTED)).to_have_count(0)
            assert not scrolls_sideways(page)
            assert violations(page) == []
    assert (dialogs, page.title()) == ([], "(3 dead) Webhooks · BlobForge")

    page.goto(f"/admin/webhooks/{number}")
    page.get_by_label("Only of jobs of this group").fill("")
    page.get_by_label("job.dead").uncheck()
    page.get_by_role("button", name="Change the webhook").click()
    said(page, f"Webhook {number} is changed.")
    assert stage.value("webhooks", "of_group", id=number) is None
    assert json.loads(stage.value("webhooks", "events", id=number)) == ["batch.ended"]
    page.get_by_label("State").select_option("given up")
    expect(page.get_by_text("There is none in that state.")).to_be_visible()
    page.get_by_role("button", name="Give it another secret").click()
    expect(page.locator("#secret")).not_to_have_text(secret)
    assert dialogs == []
