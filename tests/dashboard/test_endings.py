"""The browser tells when a batch has ended, whichever page is open then."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect

from tests.dashboard.conftest import Stage

# A display that shows notices is not there: what is asked of it is kept.
DISPLAY = """
window.told = [];
window.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, { body, tag, silent }) { told.push([title, body, tag, silent]); }
};
"""


def test_a_browser_that_shows_no_notices_of_pages_is_told_in_the_page(stage: Stage) -> None:
    """As those of phones: they ask for the right, and then make none."""
    scene = stage.scene()
    batch = scene.http.post("/api/batches", json={"name": "<b>on a phone"}).json()["id"]
    scene.submit("ending/phone.pdf", type="endings", batch=batch)
    page = stage.visitor()
    page.add_init_script(DISPLAY.replace("told.push([title, body, tag, silent]);", "throw new TypeError('no');"))
    page.goto(f"/batches/{batch}")
    page.get_by_role("button", name="Tell me when it ends").click()
    page.goto("/workers")
    expect(page.locator("#connection")).to_have_text("live")
    scene.http.post(f"/api/batches/{batch}/cancel").raise_for_status()
    expect(page.locator("#notices")).to_contain_text(f"Batch {batch} has ended: <b>on a phone")
    page.locator("#notices").get_by_role("link", name=f"Batch {batch}").click()
    expect(page).to_have_url(re.compile(f"/batches/{batch}$"))
    page.context.close()


def test_the_end_of_a_batch_is_told_where_it_was_asked_for(stage: Stage) -> None:
    scene = stage.scene()
    batch = scene.http.post("/api/batches", json={"name": "the night's scans"}).json()["id"]
    other = scene.http.post("/api/batches", json={"name": "not asked for"}).json()["id"]
    for number, each in enumerate((batch, other)):
        scene.submit(f"ending/{number}.pdf", type="endings", batch=each)
    page = stage.visitor()
    page.add_init_script(DISPLAY)
    page.goto(f"/batches/{batch}")
    page.evaluate(f"endings.keep({{ {batch}: 'of a database that was here before' }})")
    page.reload()
    page.get_by_role("button", name="Tell me when it ends").click()
    expect(page.get_by_role("button", name="You are told when it ends")).to_be_visible()
    page.get_by_role("link", name="Workers", exact=True).click()
    expect(page).to_have_url(re.compile("/workers$"))
    expect(page.locator("#connection")).to_have_text("live")
    for each in (other, batch):
        scene.http.post(f"/api/batches/{each}/cancel").raise_for_status()
    told: list[list[Any]] = []
    while not told:  # until the test's time is over
        page.wait_for_timeout(50)
        told = page.evaluate("told")
    assert told == [[f"Batch {batch} has ended", "the night's scans", f"batch-{batch}", True]]
    page.goto(f"/batches/{batch}")
    assert page.evaluate("endings.ids") == []
    page.context.close()
