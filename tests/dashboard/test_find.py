"""Finding by the keys: the dialog of Ctrl-K, and its page without a script."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Stage


def test_the_keys_lead_to_a_worker_to_a_job_and_to_what_a_page_can_do(stage: Stage, page: Page) -> None:
    job = stage.scene().submit("found/by its id.pdf", type="finding")
    page.goto("/")
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Find")
    expect(dialog.get_by_role("link", name="Page Workers")).to_be_visible()
    page.keyboard.type("obel")
    expect(dialog.get_by_role("link", name=re.compile("^Worker obelix"))).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("obelix")
    expect(dialog).to_be_hidden()

    page.keyboard.press("Control+k")
    page.keyboard.type(str(job))
    expect(dialog.get_by_role("link", name=re.compile(f"^Job Job {job} pending"))).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/jobs/{job}$"))

    page.keyboard.press("Control+k")
    page.keyboard.type("findin")
    dialog.get_by_role("link", name="Type finding").click()
    expect(page).to_have_url(re.compile("/types/finding$"))
    page.goto(f"/jobs/{job}")

    page.get_by_role("link", name="Find", exact=True).click()
    page.keyboard.type("cancel")
    act = dialog.get_by_role("button", name="Action Cancel")
    expect(act).to_be_visible()
    act.click()
    expect(page.locator("main")).to_contain_text("cancelled")

    page.keyboard.press("Control+k")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_without_a_script_it_is_a_page(stage: Stage) -> None:
    page = stage.visitor(java_script_enabled=False)
    page.goto("/")
    page.get_by_role("link", name="Find", exact=True).click()
    page.get_by_label("Page, job, worker, type or batch").fill("audit")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Page Admin: Audit log").click()
    expect(page).to_have_url(re.compile("/admin/audit$"))
    page.goto("/find?q=%3Cscript%3E")
    expect(page.get_by_role("link", name="Jobs Jobs with “<script>”")).to_be_visible()
    page.context.close()
