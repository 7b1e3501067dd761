"""axe-core finds nothing: on every page, wide in the light theme and as on a phone in the dark one, opened or not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, WIDE, crowded, scrolls_sideways, small_targets, spills, uneven, violations
from tests.dashboard.screenshots import pages, remember
from web.api import ROUTES
from web.dashboard.pages import page_routes

# A theme changes colours and a width the layout: both themes and both widths are looked at whole, and once each.
LOOKS = {"light": WIDE, "dark": PHONE}


@pytest.fixture(scope="module", params=LOOKS)
def looker(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Page]:
    page = stage.visitor(viewport=LOOKS[request.param], color_scheme=request.param)
    yield page
    page.context.close()


def test_every_page_is_looked_at() -> None:
    """But those that lead elsewhere, or stand in the frame of another page."""
    addresses = [urlsplit(address).path for address in pages(defaultdict(int)).values()]
    patterns = {route.path: re.sub(r"<[^>]*>", "[^/]+", _several(route.path)) for route in page_routes(ROUTES)
                if route.page and route.method == "GET"}  # fmt: skip
    seen = {path for path, pattern in patterns.items() if any(re.fullmatch(pattern, each) for each in addresses)}
    assert patterns.keys() - seen == {
        "/admin",
        "/do/<path:rest>",
        "/jobs/suggestions",
        "/jobs/<id:job_id>/preview",
        "/jobs/pdf",
        "/jobs/<id:job_id>/diff",
        "/jobs/<id:job_id>/log",
        "/jobs/<id:job_id>/<any(source,output):kind>",
    }


def _several(path: str) -> str:
    """Names that a part of an address may have are what they are, and no other."""
    return re.sub(r"<any\(([^)]*)\):\w+>", lambda found: f"({found[1].replace(',', '|')})", path)


@pytest.mark.parametrize("name", [name for name in pages(defaultdict(int)) if name != "api"])
def test_a_page(stage: Stage, looker: Page, name: str) -> None:
    looker.goto(pages(stage.ids)[name])
    if name == "overview":
        expect(looker.locator(".chart canvas").nth(2)).to_be_visible()
    for summary in looker.locator(".timeline summary, #table-view summary").all():
        summary.click()
    assert violations(looker) == []
    assert spills(looker) == []
    assert crowded(looker) == []
    assert uneven(looker) == []


@pytest.mark.parametrize("theme", LOOKS)
def test_charts_and_previews_on_the_phone(stage: Stage, theme: str) -> None:
    """With all that a script draws in them: then nothing is wider than the phone."""
    remember(stage.server.database)
    page = stage.visitor(viewport=PHONE, color_scheme=theme, is_mobile=True, has_touch=True)
    for address, charts in (("/", 6), ("/types/pdf?window=30d", 6), ("/?figures=tables", 0)):
        page.goto(address)
        expect(page.locator("[data-chart] canvas")).to_have_count(charts)
        assert violations(page) == []
        assert not scrolls_sideways(page), address
        assert small_targets(page) == []
    page.goto(f"/jobs/{stage.ids['album']}/view")
    expect(page.frame_locator("#left iframe").get_by_role("img", name="Page 1 of 3")).to_be_visible()
    for summary in page.locator("summary", has_text="Preview").all():
        summary.click()
    expect(page.frame_locator("#outputs iframe").first.locator("main")).to_be_visible()
    assert not scrolls_sideways(page)
    for address in (f"/jobs/{stage.ids['family']}/family", "/add-machine?type=" + "x" * 100):
        page.goto(address)
        assert not scrolls_sideways(page), address
        assert violations(page) == []
    page.context.close()


def test_the_description_of_the_api(looker: Page) -> None:
    """Its list of addresses, and of the hundreds of sections that are made alike a few of each kind."""
    looker.goto("/api/docs")
    assert violations(looker, "nav") == []
    assert violations(looker, "section:nth-of-type(-n+5)") == []
    assert violations(looker, "section:nth-last-of-type(-n+5)") == []
    ids = looker.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_what_opens_on_a_page(stage: Stage, looker: Page) -> None:
    looker.goto("/workers")
    looker.keyboard.press("?")
    expect(looker.get_by_role("dialog", name="Keys")).to_be_visible()
    assert violations(looker) == []
    looker.keyboard.press("Escape")
    looker.locator("#who summary").click()
    assert violations(looker) == []
    looker.locator("#who summary").click()
    looker.locator("tbody summary").first.click()
    assert violations(looker) == []
    looker.goto("/jobs?status=dead")
    looker.get_by_text("More filters").click()
    looker.keyboard.press("j")
    assert violations(looker) == []


def test_what_comes_after_an_action(stage: Stage, looker: Page) -> None:
    looker.goto("/jobs?status=dead")
    looker.get_by_label("that match, not only").check()
    looker.get_by_role("button", name="Delete…").click()
    expect(looker.get_by_role("heading", name="Are you sure?")).to_be_visible()
    assert violations(looker) == []
    looker.goto("/jobs")
    looker.get_by_role("button", name="Cancel…").click()
    expect(looker.get_by_text("Nothing was ticked")).to_be_visible()
    assert violations(looker) == []
    looker.goto("/admin/tokens")
    looker.get_by_label("Name: who or what will use it").fill("for axe")
    looker.get_by_role("button", name="Make the token").click()
    expect(looker.locator("#secret")).to_be_visible()
    assert violations(looker) == []
    looker.goto("/workers")
    looker.get_by_label("Id", exact=True).fill("axe-" + str(LOOKS["dark"] == looker.viewport_size))
    looker.get_by_role("button", name="Create", exact=True).click()
    expect(looker.locator("#secret")).to_be_visible()
    assert violations(looker) == []
    # What went well, with its undo, and what did not.
    looker.goto(f"/jobs/{stage.ids['pending0']}")
    chosen = looker.get_by_label("Priority").input_value()
    looker.get_by_label("Priority").select_option("5" if chosen != "5" else "4")
    looker.get_by_role("button", name="Set").click()
    expect(looker.get_by_role("button", name="Undo")).to_be_visible()
    assert violations(looker) == []
    looker.goto("/workers")
    looker.get_by_label("Id", exact=True).fill("obelix")
    looker.get_by_role("button", name="Create", exact=True).click()
    expect(looker.locator(".notice.bad").first).to_be_visible()
    assert violations(looker) == []
    looker.goto("/nothing")
    expect(looker.get_by_role("alert")).to_be_visible()
    assert violations(looker) == []


def test_a_preview(stage: Stage, looker: Page) -> None:
    """Its sandbox lets nothing run, axe-core neither: for once it comes without."""

    def unlocked(route: Route) -> None:
        answer = route.fetch()
        kept = {name: value for name, value in answer.headers.items() if name != "content-security-policy"}
        route.fulfill(response=answer, headers=kept)

    looker.route("**/preview", unlocked)
    looker.goto(f"/jobs/{stage.ids['completed']}/preview")
    expect(looker.get_by_role("heading", name="The Banquet")).to_be_visible()
    assert violations(looker) == []
    looker.unroute("**/preview")
