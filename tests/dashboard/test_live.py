"""Pages that stand open: what happens comes to them, nothing that somebody has begun is taken away, and they stay
cheap; a lost stream is shown and mends itself."""

from __future__ import annotations

import re
import time
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import refreshes, scrolls_sideways
from tests.dashboard.scene import HOSTILE, Scene

REFRESH_SECONDS = 1.5  # between two refreshes of a page, as app.js has it
# The tab is in the background, as its script sees it, until `show()`.
BACKGROUND = """
let away = true;
Object.defineProperty(document, "hidden", { get: () => away });
window.show = () => { away = false; document.dispatchEvent(new Event("visibilitychange")); };
"""


def live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("live")


def test_progress_moves_without_a_reload(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("mover", "moving")
    job = scene.submit("moving.pdf", type="moving", priority=1)
    grant = scene.claim("mover", "moving")
    page.goto(f"/jobs/{job}")
    overview = stage.visitor()
    live(page)
    live(overview)
    for each in (page, overview):
        each.evaluate("window.same = true")
    row = overview.locator(f"#running-{job}")
    for done, percent in ((1, "25"), (3, "75")):
        scene.beat("mover", grant, stage="pages", done=done, total=4, message=f"page {done}")
        expect(page.get_by_role("progressbar")).to_have_attribute("value", re.compile(percent))
        expect(page.get_by_text(f"{done} of 4")).to_be_visible()
        expect(row.get_by_role("progressbar")).to_have_attribute("value", re.compile(percent))
    scene.complete("mover", grant)
    expect(page.locator("h1 .pill")).to_have_text("completed")
    expect(page.locator("iframe.preview")).to_be_visible()
    expect(row).to_have_count(0)
    for each in (page, overview):
        assert each.evaluate("window.same") is True, "the page was loaded anew"
    overview.context.close()


def test_a_new_job_appears_and_one_that_is_deleted_says_so(stage: Stage, page: Page) -> None:
    stage.expected.append("status of 404")
    page.goto("/jobs?type=fresh")
    expect(page.get_by_text("No job matches.")).to_be_visible()
    live(page)
    job = stage.scene().submit("fresh.pdf", type="fresh")
    expect(page.get_by_role("link", name="fresh.pdf")).to_be_visible()
    expect(page.locator("#type option[selected]")).to_have_text("fresh")
    page.get_by_role("link", name="fresh.pdf").click()
    live(page)
    stage.scene().call("DELETE", f"/api/jobs/{job}")
    expect(page.get_by_role("alert")).to_contain_text(f"There is no job {job}.")


def test_a_refresh_takes_nothing_away_that_was_begun(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    picked = scene.submit("begun/1.pdf", type="begun")
    page.goto("/jobs?type=begun")
    live(page)
    page.get_by_text("More filters").click()
    page.locator("#worker").fill("half a na")  # and leave it: not even the focus is there
    page.get_by_label(f"Select job {picked}", exact=True).check()
    page.get_by_label("New priority").select_option("5")
    page.get_by_label("Search", exact=True).press_sequentially("half a wo")
    scene.submit("begun/2.pdf", type="begun")
    expect(page.get_by_role("link", name="begun/2.pdf")).to_be_visible()
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("#q")).to_have_value("half a wo")
    page.keyboard.type("rd")
    expect(page.locator("#q")).to_have_value("half a word")
    expect(page.locator("#worker")).to_have_value("half a na")
    expect(page.get_by_label("New priority")).to_have_value("5")
    expect(page.get_by_label(f"Select job {picked}", exact=True)).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()

    page.goto("/workers?q=obelix")
    live(page)
    page.locator("tbody summary", has_text="Actions").click()
    page.get_by_label("Id", exact=True).fill("half-an-id")
    page.locator("h1").click()
    scene.worker("obelix", version="2.0.0")
    expect(page.locator("tbody")).to_contain_text("2.0.0")
    expect(page.get_by_role("button", name="Drain", exact=True)).to_be_visible()
    expect(page.get_by_label("Id", exact=True)).to_have_value("half-an-id")

    failed = f"/jobs/{stage.ids['failed']}"
    page.goto(failed)
    live(page)
    page.locator("summary", has_text="Traceback").click()
    scene.call("POST", f"/api{failed}/priority", {"priority": 2})
    expect(page.locator("main")).to_contain_text("priority 2")
    expect(page.get_by_label("Traceback of attempt 1")).to_be_visible()


def test_what_another_has_set_meanwhile_stays_beside_a_field_that_was_begun(stage: Stage, page: Page) -> None:
    """What the field was goes along with the field: it is kept as it was, or comes anew."""
    scene = stage.scene()
    scene.submit("weighed.pdf", type="weighed")
    scene.call("PATCH", "/api/types/weighed", {"weights": {"acme": 4}})
    page.goto("/types/weighed")
    live(page)
    page.locator("#set-weights").fill("acme=4\nbeta=2")
    scene.call("PATCH", "/api/types/weighed", {"weights": {"acme": 4, "gamma": 3}})
    expect(page.get_by_text("gamma").first).to_be_visible()  # among the changes: the page was refreshed
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("1 setting is changed")
    assert scene.call("GET", "/api/types/weighed")["weights"] == {"acme": 4, "beta": 2, "gamma": 3}


def test_a_notice_is_not_taken_away_by_the_refresh_that_its_own_action_brings(stage: Stage, page: Page) -> None:
    """Between the swap of its page and the settling of that, which takes a while here: it shows no second time."""
    job = stage.scene().submit("noticed.pdf", type="noticed")
    page.goto(f"/jobs/{job}")
    live(page)
    page.evaluate("htmx.config.defaultSettleDelay = 1000")
    for button, told in (("Cancel", "is cancelled"), ("Retry", "goes again"), ("Cancel", "is cancelled")):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator("#notices .notice").filter(has_text=told)).to_be_visible()
        expect(page.locator("#notices").get_by_role("button", name="Undo")).to_be_visible()


def test_an_open_choice_waits_for_its_answer(stage: Stage, page: Page) -> None:
    """The list that a browser opens under a select would be closed by a refresh."""
    scene = stage.scene()
    page.goto("/jobs?type=choice")
    live(page)
    page.locator("#status").focus()
    page.keyboard.press("Shift")  # somebody is there
    job = scene.submit("choice.pdf", type="choice")
    page.wait_for_timeout(2 * REFRESH_SECONDS * 1000)
    expect(page.get_by_text("No job matches.")).to_be_visible()
    page.locator("#status").blur()
    expect(page.locator(f"#job-{job}")).to_be_visible()


def test_a_thousand_changes_a_second_are_few_refreshes(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    wanted = 4  # rounds of a thousand changes, and seconds
    for part in range(2):
        jobs = [{"type": "flood", "source_hash": f"{part * 500 + n:064x}"} for n in range(500)]
        scene.call("POST", "/api/jobs/batch", {"jobs": jobs})
    page.goto("/jobs?type=flood")
    live(page)
    overview = stage.visitor()
    live(overview)
    began, rounds = time.monotonic(), 0
    with refreshes(page) as made, refreshes(overview) as others:
        while rounds < wanted or time.monotonic() < began + wanted:
            priority = 1 + rounds % 4
            done = scene.call("POST", "/api/jobs/priority", {"type": "flood", "priority": priority})
            assert done["changed"] == 1000
            rounds += 1
            page.evaluate("1")  # lets its events in
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.keyboard.press("Escape")
        scene.call("POST", "/api/jobs/priority", {"type": "flood", "priority": 5})
        priorities = page.locator("tbody td[data-label=Priority]")
        expect(priorities.filter(has_text="5")).to_have_count(50)
        seconds = time.monotonic() - began
    for refreshed in (made, others):
        assert 1 <= len(refreshed) <= seconds / REFRESH_SECONDS + 2, f"{len(refreshed)} in {seconds:.1f} s"
    overview.context.close()
    scene.call("POST", "/api/jobs/delete", {"type": "flood"})


def test_a_tab_in_the_background_stays_quiet_until_it_is_looked_at(stage: Stage, page: Page) -> None:
    page.goto("/jobs?type=quiet")
    live(page)
    context = stage.context()
    context.add_init_script(BACKGROUND)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    behind = context.new_page()
    behind.goto("/jobs?type=quiet")
    live(behind)
    with refreshes(behind) as made:
        for n in range(3):
            stage.scene().submit(f"quiet/{n}.pdf", type="quiet")
            expect(page.get_by_role("link", name=f"quiet/{n}.pdf")).to_be_visible()  # a refresh of the one in front
        assert made == []
        behind.evaluate("show()")
        expect(behind.locator("[data-row]")).to_have_count(3)
        assert len(made) == 1
    context.close()


def test_resync_fetches_the_page_anew(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    live(page)
    with page.expect_response(lambda answer: "x-live" in answer.request.headers) as found:
        page.evaluate("connection.heard({ missed: true })")
    assert found.value.status == 200


def test_other_styles_and_scripts_load_the_page_anew(stage: Stage, page: Page) -> None:
    """As after a restart with another release: once, and when nothing is half typed."""
    page.goto("/jobs?type=dressed")
    live(page)
    page.evaluate("window.same = true")
    loads: list[str] = []
    page.on("domcontentloaded", lambda loaded: loads.append(loaded.url))

    def newer(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub(r"(app\.js\?v=)\w+", r"\1another", answer.text()))

    page.route("**/jobs?type=dressed", newer)
    page.locator("#q").fill("half a wo")
    scene = stage.scene()
    job = scene.submit("dressed/1.pdf", type="dressed")
    expect(page.locator(f"#job-{job}")).to_be_visible()
    assert page.evaluate("window.same") is True, "what was begun was taken away"
    page.locator("#q").fill("")
    page.locator("h1").click()
    scene.submit("dressed/2.pdf", type="dressed")
    expect(page.get_by_role("link", name="dressed/2.pdf")).to_be_visible()
    while not loads:
        page.wait_for_timeout(50)
    assert page.evaluate("window.same === undefined")
    job = scene.submit("dressed/3.pdf", type="dressed")
    expect(page.locator(f"#job-{job}")).to_be_visible()
    assert len(loads) == 1


def test_a_session_that_ended_is_told(stage: Stage) -> None:
    page = stage.visitor()
    live(page)
    other = page.context.new_page()
    other.goto("/")
    other.locator("#who summary").click()
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Signed out")).to_be_visible()
    stage.scene().submit("after-sign-out.pdf")
    expect(page.locator("#connection")).to_contain_text("signed out")
    page.context.close()


def test_a_lost_stream_is_shown_and_mends_itself(stage: Stage, page: Page) -> None:
    page.goto("/jobs?type=meanwhile")
    live(page)
    page.evaluate("window.same = true")
    server = stage.server
    server.variables["BLOBFORGE_PORT"] = str(urlsplit(server.url).port)
    server.kill()
    expect(page.locator("#connection")).to_contain_text("reconnecting…")
    server.start()
    job = Scene(server.client()).submit("meanwhile.pdf", type="meanwhile")
    live(page)
    expect(page.locator(f"#job-{job}")).to_be_visible()
    # And from then on it is as before.
    again = Scene(server.client()).submit("again.pdf", type="meanwhile")
    expect(page.locator(f"#job-{again}")).to_be_visible()
    assert page.evaluate("window.same") is True
    assert server.stop() == 0
    expect(page.locator("#connection")).to_contain_text("reconnecting…")
    server.start()
    live(page)


def test_a_log_is_followed_as_text_and_waits_for_whom_reads(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("printer", "printing")
    job = scene.submit("printed.pdf", type="printing")
    grant = scene.claim("printer", "printing")
    place = 0

    def prints(text: str) -> None:
        nonlocal place
        body = {"worker_id": "printer", "lease": grant["lease"], "start": place, "text": text}
        scene.call("POST", f"/api/jobs/{job}/log", body)
        place += len(text)

    prints("the first line\n")
    page.goto(f"/jobs/{job}")
    pane = page.locator("#live-log")
    expect(pane).to_have_text("the first line\n")
    expect(page.locator("#live-state")).to_have_text("following")
    hostile = "".join(f"{each}\x1b[2J\n" for each in HOSTILE)
    prints(hostile)
    expect(pane).to_contain_text("DROP TABLE jobs")
    assert pane.evaluate("(each) => [...each.querySelectorAll('*')].every((child) => child.localName === 'span')")
    assert page.title().endswith(f"Job {job} · BlobForge")
    assert not scrolls_sideways(page)
    # A refresh of the page takes nothing of it away.
    scene.beat("printer", grant, stage="pages", done=1, total=4)
    expect(page.get_by_text("1 of 4")).to_be_visible()
    expect(pane).to_contain_text("the first line")
    lines = "".join(f"{number:05} {'x' * 70}\n" for number in range(800))
    prints(lines)
    expect(pane).to_contain_text("00799")
    at_end = "(each) => each.scrollHeight - each.scrollTop - each.clientHeight < 40"
    assert pane.evaluate(at_end)
    pane.evaluate("(each) => { each.scrollTop = 100 }")
    expect(page.locator("#live-state")).to_contain_text("paused")
    for _ in range(3):
        prints(lines)
    prints("the last line\n")
    expect(pane).to_contain_text("the last line")
    assert not pane.evaluate(at_end)
    assert pane.evaluate("(each) => each.textContent.length") < 200_000
    with page.expect_download() as download:
        page.locator("#live").get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"job-{job}-attempt-1.log"
    scene.complete("printer", grant)
    expect(pane).to_have_count(0)
    assert stage.complaints == []


def test_nobody_streams_a_log_to_a_tab_in_the_background_and_it_is_read_without_script(stage: Stage) -> None:
    scene = stage.scene()
    scene.worker("plain-printer", "plain-printing")
    job = scene.submit("plain.pdf", type="plain-printing")
    grant = scene.claim("plain-printer", "plain-printing")
    body = {"worker_id": "plain-printer", "lease": grant["lease"], "start": 0, "text": "what is printed\n"}
    scene.call("POST", f"/api/jobs/{job}/log", body)
    away = stage.visitor()
    asked: list[str] = []
    away.on("request", lambda request: asked.append(request.url))
    away.add_init_script(BACKGROUND)
    away.goto(f"/jobs/{job}")
    expect(away.locator("#live-log")).to_have_text("what is printed\n")
    streams = [url for url in asked if "/events/jobs/" in url]
    assert streams == []
    with away.expect_request(lambda request: "/events/jobs/" in request.url):
        away.evaluate("window.show()")
    away.context.close()
    plain = stage.context(java_script_enabled=False)
    plain.request.post(
        "/login",
        form={"token": stage.server.token, "next": "/"},
        headers={"Origin": stage.server.url},
        max_redirects=0,
    )
    reader = plain.new_page()
    reader.goto(f"/jobs/{job}")
    expect(reader.locator("#live-log")).to_have_text("what is printed\n")
    plain.close()


def test_loads_come_to_a_page_although_no_event_tells_of_them(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("busy", "loads")

    def tell(cpu: float) -> None:
        scene.call("POST", "/api/workers/busy/heartbeat", {"load": {"cpu": cpu, "cpus": 4}})

    tell(0.25)
    page.clock.install()
    for address in ("/workers?type=loads", "/workers/busy"):
        tell(0.25)
        page.goto(address)
        content = page.locator("main")
        expect(content).to_contain_text("25 %")
        live(page)
        time.sleep(1.5)  # what events there were before are told by now
        page.clock.run_for(4_000)
        page.evaluate("window.same = true")
        tell(0.75)
        page.clock.run_for(16_000)
        expect(content).to_contain_text("75 %")
        assert page.evaluate("window.same"), "the page was not loaded anew"
    assert page.get_by_role("img", name=re.compile("^CPU: 75 %")).count() == 1
