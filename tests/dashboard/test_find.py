"""Finding by the keys: the dialog of Ctrl-K, and its page without a script."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage


def test_the_keys_lead_to_a_worker_to_a_job_and_to_what_a_page_can_do(stage: Stage, page: Page) -> None:
    job = stage.scene().submit("found/by its id.pdf", type="finding")
    page.goto("/")
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Find")
    expect(dialog.get_by_role("link", name="Page Workers")).to_be_visible()
    page.keyboard.type("obel")
    expect(dialog.get_by_role("link", name="Jobs Jobs with “obel”")).to_be_visible()  # what follows are its answers
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(dialog.get_by_role("link", name=re.compile("^Worker obelix"))).to_be_focused()
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


def test_answers_that_come_late_leave_the_arrows_where_they_are(stage: Stage, page: Page) -> None:
    held: dict[str, Route] = {}
    page.route("**/find?q=*", lambda route: held.__setitem__(route.request.url.rpartition("=")[2], route))

    def asked(text: str) -> Route:
        while text not in held:
            page.wait_for_timeout(10)
        return held.pop(text)

    page.goto("/")
    page.keyboard.press("Control+k")
    asked("").continue_()
    dialog = page.get_by_role("dialog", name="Find")
    expect(dialog.get_by_role("link", name="Page Workers")).to_be_visible()
    page.keyboard.type("o")
    asked("o").continue_()
    cacofonix = dialog.get_by_role("link", name=re.compile("^Worker cacofonix"))
    obelix = dialog.get_by_role("link", name=re.compile("^Worker obelix"))
    expect(cacofonix).to_be_visible()
    page.keyboard.type("b")
    late = asked("ob")
    obelix.focus()
    late.continue_()
    expect(cacofonix).to_be_hidden()
    expect(obelix).to_be_focused()

    page.keyboard.type("e")  # which goes to the field
    expect(dialog.get_by_role("searchbox")).to_be_focused()
    expect(dialog.get_by_role("searchbox")).to_have_value("obe")
    asked("obe").continue_()
    expect(dialog.get_by_role("link", name="Jobs Jobs with “obe”")).to_be_visible()
    page.keyboard.type("y")
    late = asked("obey")
    obelix.focus()
    late.continue_()
    expect(obelix).to_be_hidden()  # and so the arrows begin anew
    expect(dialog.get_by_role("searchbox")).to_be_focused()


def test_a_dialog_that_is_opened_while_another_page_comes_stays_and_goes(stage: Stage, page: Page) -> None:
    """What was morphed away would keep all else from being clicked."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/failures", hold)
    page.get_by_role("link", name="Failures").click()
    while not held:
        page.wait_for_timeout(10)
    page.keyboard.press("Control+k")
    page.keyboard.type("obel")
    held[0].continue_()
    expect(page.get_by_role("heading", name="Failures by their cause")).to_be_attached()
    dialog = page.get_by_role("dialog", name="Find")
    expect(dialog.get_by_role("link", name=re.compile("^Worker obelix"))).to_be_visible()
    expect(dialog.get_by_role("searchbox")).to_have_value("obel")
    page.keyboard.press("Escape")  # which empties the field first
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Workers", exact=True).click()
    expect(page.get_by_role("heading", name="Workers", exact=True)).to_be_visible()


def test_who_does_not_await_the_answers_is_led_to_the_page(stage: Stage, page: Page) -> None:
    page.route(
        "**/find?q=obelix", lambda route: route.abort() if "x-live" in route.request.headers else route.continue_()
    )
    page.keyboard.press("Control+k")
    page.keyboard.type("obelix")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Find", exact=True)).to_be_visible()
    expect(page.get_by_role("dialog", name="Find")).to_be_hidden()
    page.locator("main").get_by_role("link", name=re.compile("^Worker obelix")).click()
    expect(page).to_have_url(re.compile("/workers/obelix$"))


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
