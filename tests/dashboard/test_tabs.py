"""Many tabs of one browser have one event stream, which goes on whatever one of them does; a tab in the background
costs nothing; where a browser has no shared worker, each tab has a stream of its own."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import refreshes
from tests.dashboard.test_live import BACKGROUND, live

MANY = 8  # more than the six connections that Chromium opens to a server over plain HTTP
NO_WORKER = "delete window.SharedWorker;"
FAILING_WORKER = """
window.SharedWorker = class {
  constructor() {
    this.port = new MessageChannel().port1;
    setTimeout(() => this.onerror(new Event("error")));
  }
};
"""


def until_streams(stage: Stage, page: Page, wanted: int) -> None:
    """Wait until so many event streams are open at the server."""
    with stage.server.client() as client:
        while True:
            found = re.search(r"^blobforge_event_streams (\d+)", client.get("/metrics").text, re.MULTILINE)
            assert found
            if int(found[1]) == wanted:
                return
            page.wait_for_timeout(50)


@pytest.fixture
def browser(stage: Stage, page: Page) -> BrowserContext:
    """One browser, signed in, at the overview; no other has a stream."""
    live(page)
    until_streams(stage, page, 1)
    return page.context


def test_many_tabs_have_one_stream_and_all_are_live(stage: Stage, page: Page, browser: BrowserContext) -> None:
    tabs = [browser.new_page() for _ in range(MANY - 1)]
    watched = stage.scene().submit("tabs/watched.pdf", type="tabs")
    for tab in tabs[:-1]:
        tab.goto("/jobs?type=tabs")
        live(tab)
    tabs[-1].goto(f"/jobs/{watched}")  # names a job, which the stream has to be asked for
    live(tabs[-1])
    until_streams(stage, page, 1)
    job = stage.scene().submit("tabs/new.pdf", type="tabs")
    for tab in tabs[:-1]:
        expect(tab.locator(f"#job-{job}")).to_be_visible()
    stage.scene().call("POST", f"/api/jobs/{watched}/priority", {"priority": 2})
    expect(tabs[-1].locator("main")).to_contain_text("priority 2")
    until_streams(stage, page, 1)

    # The tabs that are left go on when others are closed or go elsewhere, and the stream ends when none is left.
    tabs[0].goto("/admin/settings")  # not live
    for tab in (*tabs[2:], page):
        tab.close()
    job = stage.scene().submit("tabs/later.pdf", type="tabs")
    expect(tabs[1].locator(f"#job-{job}")).to_be_visible()
    tabs[1].close()
    for _ in range(3):  # tabs that come find that others have gone
        tabs[0].goto("/admin/settings")
        expect(tabs[0].locator("h1")).to_have_text("Settings")
    until_streams(stage, tabs[0], 0)


def test_a_page_that_is_gone_back_to_is_live_again(stage: Stage, page: Page, browser: BrowserContext) -> None:
    page.goto("/jobs?type=back")
    live(page)
    page.goto("/api/docs")
    page.go_back()
    live(page)
    job = stage.scene().submit("back.pdf", type="back")
    expect(page.locator(f"#job-{job}")).to_be_visible()
    until_streams(stage, page, 1)


@pytest.mark.parametrize("script", [NO_WORKER, FAILING_WORKER], ids=["none", "fails"])
def test_without_a_shared_worker_each_tab_has_its_own(stage: Stage, page: Page, script: str) -> None:
    context = stage.context()
    context.add_init_script(script)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    page.close()
    tabs = [context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto("/jobs?type=alone")
        live(tab)
    until_streams(stage, tabs[0], 2)
    job = stage.scene().submit("alone.pdf", type="alone")
    for tab in tabs:
        expect(tab.locator(f"#job-{job}")).to_be_visible()
    tabs[0].close()
    until_streams(stage, tabs[1], 1)
    context.close()


def test_a_tab_in_the_background_fetches_nothing_and_tells_of_the_dead(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("killer", "lethal")
    context = stage.context()
    context.add_init_script(BACKGROUND)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    page.close()
    behind = context.new_page()
    behind.goto("/jobs?type=lethal")
    live(behind)
    before = dead(behind.title())
    with refreshes(behind) as made:
        scene.submit("lethal.pdf", type="lethal", max_attempts=1)
        grant = scene.claim("killer", "lethal")
        scene.fail("killer", grant, "dies")
        expect(behind).to_have_title(re.compile(rf"\({before + 1} dead\)"))
        assert made == []
        behind.evaluate("show()")
        expect(behind.locator("[data-row]")).to_have_count(1)
        assert len(made) == 1
    expect(behind.locator("link[rel=icon]")).to_have_attribute("href", re.compile("icon-dead"))
    context.close()


def dead(title: str) -> int:
    """The number of dead jobs in a tab's title."""
    found = re.match(r"\(([\d,]+) dead\)", title)
    return int(found[1].replace(",", "")) if found else 0
