"""What people stumbled over: clocks that are wrong, addresses that are full of nothing, signs that say too little."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage


def live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("live")


@pytest.mark.parametrize("minutes", [-7, 7])
def test_times_are_those_of_the_server_where_the_clock_of_this_machine_is_wrong(stage: Stage, minutes: int) -> None:
    job = stage.scene().submit(f"now/{minutes}.pdf", type="clocks")
    page = stage.visitor()
    page.clock.install(time=time.time() + timedelta(minutes=minutes).total_seconds())
    page.goto(f"/jobs/{job}")
    live(page)
    said = page.locator("dd time[data-ago]").first
    expect(said).to_have_text(re.compile(r"^(now|\d+ seconds? ago|a second ago)$"))
    page.clock.run_for(12_000)  # the script tells them anew
    expect(said).to_have_text(re.compile(r"^\d+ seconds? ago$"))
    page.context.close()


def test_times_in_forms_are_those_of_who_reads_and_in_addresses_utc(stage: Stage) -> None:
    page = stage.visitor(timezone_id="Asia/Kolkata")  # half past five ahead
    for address, since in (("/jobs?created_since=2026-11-30T08:15", "created_since"),
                           ("/jobs?created_since=2026-11-30T08:15:00Z", "created_since"),
                           ("/jobs?created_until=2026-11-30T08:15", "created_until"),
                           (f"/types/pdf?since={earlier()}", "since")):  # fmt: skip
        page.goto(address)
        field = page.locator(f"input[name={since}]")
        utc = datetime.fromisoformat(parse_qs(urlsplit(address).query)[since][0]).replace(tzinfo=None)
        shown = f"{utc + timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M}"
        expect(field).to_have_value(shown)
        expect(page.get_by_label("(your time)")).to_have_count(1)
        assert not page.evaluate("name => begun(document.querySelector(`input[name=${name}]`))", since), "as it came"
        # A refresh brings what the server says, and that is told in this zone again.
        with page.expect_response(lambda answer: "x-live" in answer.request.headers):
            page.keyboard.press("r")
        page.wait_for_timeout(300)
        expect(field).to_have_value(shown)
        page.locator("form", has=field).get_by_role("button").first.click()
        expect(page).to_have_url(re.compile(f"{since}={re.escape(quote(f'{utc:%Y-%m-%dT%H:%M}', safe=''))}(&|#|$)"))
    page.goto("/admin/webhooks/1")
    page.get_by_label("From (your time)").fill("2026-11-30T13:45")
    page.get_by_label("until (empty: now)").fill("2026-11-30T14:45")
    with page.expect_request("**/redeliver") as sent:
        page.locator("form", has=page.locator("#since")).get_by_role("button").click()
    said = parse_qs(sent.value.post_data or "")
    assert (said["since"], said["until"]) == (["2026-11-30T08:15"], ["2026-11-30T09:15"])
    page.context.close()
    plain = stage.visitor(java_script_enabled=False)
    plain.goto("/jobs?created_since=2026-11-30T08:15:00Z")
    expect(plain.get_by_label("Submitted from (UTC)")).to_have_value("2026-11-30T08:15")
    plain.context.close()


def earlier() -> str:
    return f"{datetime.now(UTC) - timedelta(hours=3):%Y-%m-%dT%H:%M}"


def test_a_touch_shows_the_exact_time_and_another_one_the_distance(stage: Stage, page: Page) -> None:
    page.goto(f"/jobs/{stage.scene().submit('touched.pdf', type='clocks')}")
    said = page.locator("dd time[data-ago]").first
    exact = said.get_attribute("title") or ""
    said.click()
    expect(said).to_have_text(exact)
    said.click()
    expect(said).to_have_text(re.compile("ago|now"))


def test_a_filter_that_is_not_set_is_not_in_the_address_and_the_sign_stays(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    live(page)
    page.locator("#status").select_option("dead")
    expect(page).to_have_url(re.compile(r"/jobs\?status=dead$"))
    live(page)
    page.goto("/workers")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"/workers$"))


def test_one_refresh_that_came_to_nothing_is_forgotten_with_the_next(stage: Stage, page: Page) -> None:
    page.goto("/jobs?type=refused")
    live(page)
    aborted = []

    def once(route: Route) -> None:
        if "x-live" in route.request.headers and not aborted:
            aborted.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/jobs?type=refused", once)
    stage.scene().submit("refused/1.pdf", type="refused")
    expect(page.locator("#connection")).to_contain_text("reconnecting")
    expect(page.locator("main[data-stale]")).to_be_visible()
    stage.scene().submit("refused/2.pdf", type="refused")
    expect(page.get_by_role("link", name="refused/2.pdf")).to_be_visible()
    live(page)
    expect(page.locator("main[data-stale]")).to_have_count(0)


def test_old_numbers_do_not_look_new_while_the_server_is_away(stage: Stage, page: Page) -> None:
    page.goto("/")
    live(page)
    page.context.set_offline(True)
    page.keyboard.press("r")
    expect(page.locator("#connection")).to_have_text(re.compile(r"reconnecting… as of \d\d:\d\d:\d\d"))
    expect(page.locator("main[data-stale]")).to_be_visible()
    page.context.set_offline(False)
    live(page)
    expect(page.locator("main[data-stale]")).to_have_count(0)


def test_what_was_shown_once_is_not_an_error_when_it_is_loaded_anew(stage: Stage, page: Page) -> None:
    page.goto("/workers")
    page.get_by_label("Id", exact=True).fill("reloaded")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("#secret")).to_be_visible()
    page.reload()
    expect(page).to_have_url(re.compile("/workers$"))
    expect(page.get_by_role("heading", name="Workers", exact=True)).to_be_visible()
    for address, place in (
        ("/do/jobs/cancel", "/jobs"),
        ("/do/admin/tokens", "/admin"),
        ("/do/theme", "/"),
        ("/do/types/pdf", "/types/pdf"),
    ):
        page.goto(address)
        expect(page).to_have_url(re.compile(f"{place}(/\\w+)?$"))


def test_an_answer_that_cannot_be_swapped_in_holds_up_no_refresh(stage: Stage, page: Page) -> None:
    stage.expected += ["in JSON", "reading 'path'"]  # of htmx, which looks for an address there
    told = {"HX-Location": "{no JSON"}
    page.route("**/failures", lambda route: route.fulfill(content_type="text/html", headers=told, body="<p></p>"))
    with page.expect_response("**/failures"):
        page.get_by_role("link", name="Failures").click()
    page.wait_for_function("refresher.acting === 0")
    with page.expect_response(lambda answer: "x-live" in answer.request.headers) as fresh:
        page.keyboard.press("r")
    assert fresh.value.ok


def test_where_nothing_is_there_is_a_way_on(stage: Stage, page: Page) -> None:
    stage.expected.append("status of 404")
    answer = page.goto("/jobs/999999999")
    assert answer is not None
    assert answer.status == 404
    page.get_by_role("link", name="Failures").click()
    expect(page.get_by_role("heading", name="Failures by their cause")).to_be_visible()


@pytest.mark.parametrize("address", ["/workers", "/jobs", "/failures", "/types/pdf", "/"])
def test_no_id_is_there_twice(stage: Stage, page: Page, address: str) -> None:
    for number in range(2):
        stage.scene().worker(f"twin-{number}", "twins")
    page.goto(address)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert sorted(ids) == sorted(set(ids))


def test_a_click_whose_answer_takes_its_time_shows_that_it_was_heard(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/failures", hold)
    page.get_by_role("link", name="Failures").click()
    sign = "getComputedStyle(document.querySelector('.top'), '::after').content"
    page.wait_for_function(f"{sign} === '\"\"'")
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    expect(page.get_by_role("heading", name="Failures by their cause")).to_be_visible()
    page.wait_for_function(f"{sign} === 'none'")


def test_forty_types_without_a_worker_are_five_and_a_link(stage: Stage, page: Page) -> None:
    for number in range(8):
        stage.scene().submit(f"flood/{number}.pdf", type=f"flood-{number}")
    page.goto("/")
    waiting = page.locator(".attention li", has_text="no worker takes")
    expect(waiting).to_have_count(5)
    page.locator(".attention").get_by_role("link", name=re.compile(r"^\d+ more types?$")).click()
    expect(page).to_have_url(re.compile(r"/types\?state=unserved$"))
    for number in range(8):
        expect(page.get_by_role("link", name=f"flood-{number}", exact=True)).to_be_visible()
    page.goto("/")
    tiles = page.locator(".tiles").bounding_box()
    attention = page.locator(".attention").bounding_box()
    assert tiles is not None
    assert attention is not None
    assert tiles["y"] < attention["y"], "numbers first"


def test_workers_have_a_scale_of_their_own_and_large_numbers_fit(stage: Stage, page: Page) -> None:
    page.goto("/")
    page.locator("#chart-in canvas").wait_for()
    scales = "charts.get('chart-in').axes.map(each => [each.scale, each.label, each.side])"
    assert page.evaluate(scales)[1:] == [["y", "jobs", 3], ["workers", "workers", 1]]
    axis = "charts.get('chart-in').axes[1]"
    short = page.evaluate(f"{axis}.values(null, [0, 500000, 1200000])")
    assert short == ["0", "500K", "1.2M"]
    wide = f"{axis}.size(null, %s)"
    assert page.evaluate(wide % '["1,200,000,000"]') > page.evaluate(wide % '["0"]') + 60


def test_a_dead_job_says_its_error_where_it_happened(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("careless", "careless")
    job = scene.submit("careless.pdf", type="careless", max_attempts=3)
    scene.fail("careless", scene.claim("careless", "careless"), "no such thing", retryable=False)
    page.goto(f"/jobs/{job}")
    expect(page.get_by_text("not tried again: the failure would be the same")).to_be_visible()
    assert page.locator("main").inner_text().count("no such thing") == 2, "at the top, and at its attempt"
    page.get_by_role("link", name="Attempt 1 failed").click()
    expect(page).to_have_url(re.compile("#attempt-1$"))


def test_a_wide_screen_is_used(stage: Stage) -> None:
    page = stage.visitor(viewport={"width": 2560, "height": 1200})
    for address in ("/", "/jobs", "/workers"):
        page.goto(address)
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["width"] > 2000
    page.context.close()
