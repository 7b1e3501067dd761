"""Charts in Chromium: a stretch that is drawn over becomes the range of the page, and keys lead on and back."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Stage

CANVAS = "#chart-ended canvas"


def asked(page: Page) -> dict[str, datetime]:
    query = parse_qs(urlsplit(page.url).query)
    return {name: datetime.fromisoformat(query[name][0]) for name in ("since", "until")}


def test_a_chart_is_zoomed_by_hand_and_by_keys(stage: Stage, page: Page) -> None:
    page.goto("/")
    page.locator(CANVAS).wait_for()
    page.locator("#chart-ended").scroll_into_view_if_needed()
    box = page.locator("#chart-ended .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"since=.*until="))
    drawn = asked(page)
    half = drawn["until"] - drawn["since"]
    assert timedelta(minutes=25) < half < timedelta(minutes=35), "half of the hour"
    chart = page.locator("#chart-ended")
    expect(chart).to_have_attribute("data-chart", re.compile(r"since=.*until="))  # the address comes before the page
    page.locator(CANVAS).wait_for()
    address = chart.get_attribute("data-chart")
    assert address is not None
    assert page.locator("#chart-in").get_attribute("data-chart") == address
    # The fields say it in the zone of who reads it, which is sent as UTC.
    shown = page.locator("#range-since")
    local = page.evaluate("(utc) => zoned.local(Date.parse(utc))", drawn["since"].strftime("%Y-%m-%dT%H:%MZ"))
    expect(shown).to_have_value(local)
    chart.press("ArrowLeft")  # focus and key in one: a live refresh may come between two
    expect(page).not_to_have_url(re.compile(re.escape(drawn["since"].strftime("since=%Y-%m-%dT%H%%3A%M"))))
    assert asked(page)["since"] < drawn["since"]
    expect(chart).not_to_have_attribute("data-chart", address)
    page.go_back()
    expect(page).to_have_url(re.compile(re.escape(drawn["since"].strftime("since=%Y-%m-%dT%H%%3A%M"))))
    expect(chart).to_have_attribute("data-chart", address)
    page.locator(CANVAS).wait_for()
    chart.press("Escape")
    expect(page).to_have_url(re.compile(r"window=1h"))
    page.get_by_role("link", name="As tables").click()
    expect(page.locator("#figures-ended")).to_be_visible()
    expect(page.locator("[data-chart]")).to_have_count(0)


def test_a_chart_without_figures_says_so_and_asks_again(stage: Stage, page: Page) -> None:
    stage.expected.append("status of 503")
    page.route("**/api/stats/**", lambda route: route.fulfill(status=503))
    page.goto("/?window=24h")
    expect(page.locator("#chart-ended")).to_contain_text("These figures could not be fetched.")
    page.unroute("**/api/stats/**")
    page.keyboard.press("r")
    page.locator(CANVAS).wait_for()
    expect(page.locator("#chart-ended")).not_to_contain_text("could not")
    # What is drawn stays where the next ones do not come.
    page.route("**/api/stats/**", lambda route: route.abort())
    with page.expect_event("requestfailed", lambda request: "/api/stats/history" in request.url):
        page.keyboard.press("r")
    expect(page.locator(CANVAS)).to_be_visible()
