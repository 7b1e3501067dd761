"""The table of jobs as somebody arranges it: with a script, and without one."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Stage


def choose(page: Page) -> None:
    """Size instead of what happens, in low rows."""
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("What happens").uncheck()
    page.get_by_label("Size", exact=True).check()
    page.get_by_label("Rows").select_option("compact")
    page.get_by_role("button", name="Show these").click()
    expect(page.locator("table.compact")).to_be_visible()


def heads(page: Page) -> list[str]:
    return page.locator("thead th").all_inner_texts()[1:]


CHOSEN = ["Job", "Status", "Type", "Prio", "Tries", "Size", "Updated"]


def test_columns_and_an_order_are_chosen_and_stay(stage: Stage) -> None:
    stage.complaints.clear()
    page = stage.visitor()
    page.goto("/jobs?type=pdf")
    choose(page)
    expect(page).to_have_url(re.compile(r"/jobs\?type=pdf&columns=tags.*density=compact$"))
    assert heads(page) == CHOSEN
    page.get_by_role("link", name="Size").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Size ↓")
    first = page.locator("tr[data-row]").first
    largest = first.get_attribute("id")
    first.locator("input[name=ids]").check()
    # A new job has its place in the order, and nothing that was chosen is lost.
    made = stage.scene().submit("tables/large.pdf", content=b"x" * 100_000)
    expect(page.locator("tr[data-row]").first).to_have_id(f"job-{made}")
    assert page.locator(f"#{largest} input[name=ids]").is_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.get_by_label("Order").select_option("created")
    expect(page.locator("tr[data-row]").last).to_have_id(f"job-{made}")
    assert heads(page) == CHOSEN
    # This browser remembers it, and forgets it.
    page.goto("/jobs")
    assert heads(page) == CHOSEN
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("button", name="The usual ones").click()
    expect(page.get_by_role("columnheader", name="What happens")).to_be_visible()
    page.context.close()
    assert stage.complaints == []


def test_without_a_script(stage: Stage) -> None:
    page = stage.visitor(java_script_enabled=False)
    page.goto("/jobs")
    choose(page)
    assert heads(page) == CHOSEN
    page.get_by_label("Order").select_option("-created")
    page.get_by_role("button", name="Filter").click()
    assert "sort=-created" in page.url
    assert "density=compact" in page.url
    shown = [int((row.get_attribute("id") or "").removeprefix("job-")) for row in page.locator("tr[data-row]").all()]
    assert shown == sorted(shown, reverse=True)
    assert shown != sorted(shown)
    page.context.close()


def test_a_ticked_page_leads_to_all_that_match(stage: Stage) -> None:
    stage.complaints.clear()
    page = stage.visitor()
    page.goto("/jobs?type=pdf&limit=5")
    page.get_by_label("Select all jobs of this page").check()
    expect(page.get_by_text("5 selected")).to_be_visible()
    said = page.get_by_role("button", name=re.compile(r"Select all \d+ that match"))
    number = re.sub(r"\D", "", said.inner_text())
    assert int(number) > 5
    said.click()
    expect(said).to_be_hidden()
    expect(page.get_by_text(f"all {number} that match are selected")).to_be_visible()
    stage.scene().submit("letters/one-more.pdf")  # a refresh takes none of it away
    expect(page.get_by_text(f"all {int(number) + 1} that match are selected")).to_be_visible()
    page.locator("input[name=ids]").first.uncheck()
    expect(page.get_by_text("4 selected")).to_be_visible()
    page.locator("#everything").check()
    page.get_by_role("button", name="Set…").click()
    expect(page.get_by_text("type pdf")).to_be_visible()
    asked = page.locator("main p").first.inner_text()  # so many, and so many more that are so already
    assert sum(map(int, re.findall(r"\d+", asked))) == int(number) + 1
    page.context.close()
    assert stage.complaints == []


def test_a_filter_is_suggested_as_it_is_typed(stage: Stage) -> None:
    stage.scene().submit("a.pdf", tags=[f"shelf-{number}" for number in range(30)])
    page = stage.visitor()
    page.goto("/jobs")
    page.get_by_text("More filters").click()
    options = page.locator("#tag-words option")
    assert options.count() == 12
    page.locator("#tag").press_sequentially("shelf-29")
    expect(options).to_have_count(1)
    expect(options.first).to_have_attribute("value", "shelf-29")
    stage.scene().submit("letters/another.pdf")
    expect(page.get_by_text("letters/another.pdf")).to_be_visible()  # refreshed
    expect(options).to_have_count(1)
    page.context.close()
