"""Every action of every page, from the click to the database and to a browser that looks on, with a script; and to
the database without one: what there is of them, and how each is tried, stands in `trials`. And what there is to them
beside: questions, refusals, secrets that are shown once, and what becomes of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage, staged
from tests.dashboard.receiver import answering
from tests.dashboard.trials import KNOWN, TRIALS
from tests.dashboard.trials.browsers import Browsers, asks_first, begin, end, has_seen, look_on
from tests.dashboard.trials.case import Props, Trial
from tests.dashboard.walk import Led, actions_on, addresses
from tests.fixtures.seaweed import Seaweed
from web.app import routes


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Stage]:
    """Which is backed up, too."""
    place = {f"backup_{name}": value for name, value in seaweed.settings("actions").items() if name != "s3_prefix"}
    with staged(tmp_path_factory.mktemp("actions") / "data", **place) as made:
        yield made


@pytest.fixture(scope="module")
def browsers(stage: Stage) -> Iterator[Browsers]:
    with answering() as answers:
        yield Browsers(stage, Props(stage, answers))


@pytest.mark.parametrize("trial", TRIALS.values(), ids=lambda trial: f"{trial.path[1:]}-{trial.label}")
def test_it_is_done_and_seen_and_needs_no_script(browsers: Browsers, trial: Trial) -> None:
    stage = browsers.stage
    stage.complaints.clear()
    case = trial.make(browsers.props, True)
    with browsers.actor(case, script=True) as actor:
        begin(browsers, case, actor)
        if not trial.unseen:
            look_on(browsers, case)
        if trial.asks:
            asks_first(case, trial, actor)
        end(browsers, case, trial, actor, script=True)
    again = trial.make(browsers.props, False)  # while the other browser hears of it
    with browsers.actor(again, script=False) as actor:
        begin(browsers, again, actor)
        end(browsers, again, trial, actor, script=False)
    if not trial.unseen:
        has_seen(browsers, case)
    assert stage.complaints == []


def test_each_form_route_has_a_trial() -> None:
    """Also one to which no page leads."""
    forms = {each.path for each in routes() if each.method == "POST" and not each.path.startswith("/api/")}
    assert forms == {path for path, _ in TRIALS}


def test_a_form_without_a_trial_is_met() -> None:
    known: Any = addresses()
    led = Led('<form method="post" action="/do/jobs/7/retry"><button>Retry</button>'
              '<button formaction="/do/jobs/7/tags">Do 7 jobs</button></form>'
              '<form action="/find"><button>Find</button></form>')  # fmt: skip
    met = {("/do/jobs/<id:job_id>/retry", "Retry"), ("/do/jobs/<id:job_id>/tags", "Do N jobs")}
    assert actions_on(known, led) == met
    assert met - KNOWN == {("/do/jobs/<id:job_id>/tags", "Do N jobs")}


def said(page: Page, text: str) -> None:
    """The notice of what was done."""
    expect(page.locator(".notice").filter(has_text=text).first).to_be_visible()


def status_of(stage: Stage, job_id: int) -> str:
    return str(stage.value("jobs", "status", id=job_id))


def test_deleting_one_job_leads_back_to_the_list(stage: Stage, page: Page) -> None:
    """What the event of it says is not looked at before the answer is there: the page would be that of nothing."""
    job = stage.scene().submit("to-be-deleted.pdf", type="parked")
    page.goto(f"/jobs/{job}")

    def slow(route: Route) -> None:
        answer = route.fetch(max_redirects=0)
        page.wait_for_timeout(2500)  # a refresh would have come by now
        route.fulfill(response=answer)

    page.route("**/delete", slow)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    said(page, f"Job {job} is deleted.")
    expect(page).to_have_url(re.compile("/jobs$"))
    assert stage.count("jobs", id=job) == 0


def test_many_jobs_at_once_with_a_question_and_an_undo(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    jobs = [scene.submit(f"bulk/{n}.pdf", type="bulk", priority=4) for n in range(4)]
    page.goto("/jobs?type=bulk")
    # Two that were ticked get another priority.
    page.get_by_label(f"Select job {jobs[0]}", exact=True).check()
    page.get_by_label(f"Select job {jobs[1]}", exact=True).check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.get_by_label("New priority").select_option("2")
    page.get_by_role("button", name="Set…").click()
    expect(page.get_by_text("This will change the priority of 2 jobs.")).to_be_visible()
    page.get_by_role("button", name="Change the priority of 2 jobs").click()
    said(page, "2 of 2 jobs have the new priority.")
    page.get_by_role("button", name="Undo").click()
    said(page, "Undone: 2 of 2 jobs are as before.")
    assert stage.count("jobs", type="bulk", priority=4) == 4
    # Of all that match it is asked, and none of them changes before the answer.
    page.goto("/jobs?type=bulk&priority=4")
    page.get_by_label("that match, not only").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text("This will cancel 4 jobs.")).to_be_visible()
    expect(page.get_by_text("That is bulk/3.pdf, bulk/2.pdf, bulk/1.pdf, bulk/0.pdf.")).to_be_visible()
    assert stage.count("jobs", type="bulk", status="cancelled") == 0


def test_an_operation_is_shown_on_every_page_until_its_end_was_seen(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    for number in range(7):
        scene.submit(f"watched/{number}.pdf", type="watched")
    page.goto("/jobs?type=watched")
    page.get_by_label("that match, not only").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text(re.compile(r"Among them: (watched/\d\.pdf, ){4}watched/\d\.pdf\."))).to_be_visible()
    page.get_by_role("button", name="In the background").click()
    expect(page).to_have_url(re.compile(r"/operations/\d+$"))
    expect(page.get_by_text("completed")).to_be_visible()
    page.goto("/jobs?type=watched&status=cancelled")  # its page has been there from before its end on, or not
    page.goto("/operations")
    page.get_by_role("link", name=re.compile("cancel")).first.click()
    page.goto("/workers")
    expect(page.get_by_label("Operations that you have begun")).to_have_count(0)
    # One that goes on, or has ended unseen, is told of wherever its asker is, and nowhere else.
    number = scene.call("POST", "/api/jobs/retry", {"type": "watched", "background": True})["operation"]
    origin = page.url.removesuffix("/workers")
    page.context.add_cookies([{"name": "operations", "value": f"{number}.x.99999", "url": origin}])
    for place in ("/", "/workers"):
        page.goto(place)
        watched = page.get_by_label("Operations that you have begun")
        expect(watched.get_by_role("link")).to_have_text([f"Operation {number}: retry"])
    expect(watched).to_contain_text("7 of 7 changed")
    watched.get_by_role("link").click()
    expect(watched).to_have_count(0)
    page.goto("/jobs")
    expect(watched).to_have_count(0)


def test_back_leads_to_where_one_was(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    jobs = [scene.submit(f"back/{number}.pdf", type="back") for number in range(40)]
    page.goto("/jobs?type=back")
    box = page.get_by_label(f"Select job {jobs[2]}", exact=True)
    box.check()
    box.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 0
    page.get_by_role("link", name="back/2.pdf").click()
    expect(page.locator("h1")).to_contain_text("back/2.pdf")
    page.go_back()
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(box).to_be_checked()
    page.wait_for_function("before => scrollY === before", arg=before)


def test_tags_of_many_jobs_without_a_script(stage: Stage) -> None:
    """No tag is named, one by a key and not by the button, and one that they all have."""
    scene = stage.scene()
    jobs = [scene.submit(f"tags/{n}.pdf", type="tagging", tags=["old"] if n else []) for n in range(3)]
    page = stage.visitor(java_script_enabled=False)
    page.goto("/jobs?type=tagging&tag=old")
    page.get_by_label("that match, not only").check()
    page.locator("#tags summary").click()
    page.get_by_role("button", name="Change tags…").click()
    expect(page.get_by_role("alert")).to_contain_text("No tag was named, and nothing was done")
    page.get_by_label("that match, not only").check()
    page.locator("#tags summary").click()
    page.get_by_label("Add", exact=True).fill("new")
    page.get_by_label("Add", exact=True).press("Enter")
    expect(page.get_by_text("This will change the tags of 2 jobs.")).to_be_visible()
    expect(page.locator("dl.facts")).to_contain_text("type tagging, tag old")
    page.get_by_role("button", name="Change the tags of 2 jobs").click()
    said(page, "2 of 2 jobs have their tags changed.")
    assert [stage.tags(job) for job in jobs] == [set(), {"old", "new"}, {"old", "new"}]
    page.get_by_label("that match, not only").check()
    page.locator("#tags summary").click()
    page.get_by_label("Add", exact=True).fill("old")
    page.get_by_role("button", name="Change tags…").click()
    expect(page.get_by_text("There is nothing to do: 2 jobs were selected, and they are so already.")).to_be_visible()
    page.context.close()


def test_a_bulk_action_on_nothing_says_so(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was ticked, and nothing was done")
    expect(page).to_have_url(re.compile("/jobs$"))


def test_a_worker_is_made_and_its_secret_shown_once(stage: Stage, page: Page) -> None:
    page.goto("/workers")
    page.get_by_label("Id", exact=True).fill("newcomer")
    page.get_by_role("button", name="Create", exact=True).click()
    secret = page.locator("#secret").inner_text().strip()
    assert secret.startswith("bfw_")
    assert secret in page.locator("#command").inner_text()
    headers = {"X-Worker-ID": "newcomer", "X-Worker-Secret": secret}
    with stage.server.client(**headers) as client:
        assert client.post("/api/workers/newcomer/heartbeat", json={}).status_code in (200, 404)
        page.get_by_role("link", name="I have kept it").click()
        page.goto("/workers/newcomer")
        assert secret not in page.content()
        page.locator("summary", has_text="Actions").click()
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="New secret").click()
        renewed = page.locator("#secret").inner_text().strip()
        assert renewed.startswith("bfw_")
        assert renewed != secret
        assert client.post("/api/workers/newcomer/heartbeat", json={}).status_code == 401
    # A second one of that name is refused, in words.
    page.goto("/workers")
    page.get_by_label("Id", exact=True).fill("newcomer")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator(".notice.bad").first).to_contain_text("newcomer")


def test_a_machine_is_added_with_a_token_that_is_shown_once(stage: Stage, page: Page) -> None:
    page.goto("/workers")
    page.get_by_role("link", name="Add a machine").click()
    page.get_by_label("Type of its jobs").fill("scan")
    page.get_by_label("Labels, with commas between").fill("gpu, zone=a b")
    page.get_by_role("button", name="Show the commands for this").click()
    expect(page.locator("#once")).to_contain_text("--type scan")
    page.get_by_role("button", name="Make a token for it").click()
    secret = page.locator("#secret").inner_text().strip()
    for place in ("once", "systemd", "docker", "kubernetes"):
        expect(page.locator(f"#{place}")).to_contain_text(secret)
    assert secret not in page.url
    expect(page.locator("#docker")).to_contain_text("--label gpu --label 'zone=a b'")
    # Over plain HTTP there is no clipboard: what would be copied is selected.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy what is for Docker").click()
    assert page.evaluate("getSelection().toString()").strip() == page.locator("#docker").inner_text().strip()
    with stage.server.client(secret) as client:
        assert client.post("/api/workers/register", json={"id": "added", "type": "scan"}).status_code == 200
    page.goto("/add-machine?type=scan")
    assert secret not in page.content()


def test_tokens_are_made_and_deleted(stage: Stage, page: Page) -> None:
    page.goto("/admin/tokens")
    page.get_by_label("Name: who or what will use it").fill("night shift")
    page.get_by_label("submit: submit, retry and cancel jobs").uncheck()
    page.get_by_label("Days until it expires").fill("30")
    page.get_by_role("button", name="Make the token").click()
    token = page.locator("#secret").inner_text().strip()
    with stage.server.client(token) as client:
        assert client.get("/api/stats").status_code == 200
        assert client.post("/api/jobs", json={"type": "pdf", "source_hash": "0" * 64}).status_code == 403
        page.get_by_role("link", name="I have kept it").click()
        row = page.locator("tr", has_text="night shift")
        expect(row).to_contain_text("in 30 days")
        page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button", name="Delete").click()
        said(page, "The token is deleted")
        assert client.get("/api/stats").status_code == 401


def test_a_refusal_is_told_on_the_page(stage: Stage, page: Page) -> None:
    """The job has moved on since the page was made, and the page has not heard of it."""
    job = stage.ids["completed"]
    page.route("**/events?**", lambda route: route.abort())
    page.goto(f"/jobs/{job}")
    stage.scene().call("POST", f"/api/jobs/{job}/retry", {})
    page.get_by_role("button", name="Convert again").click()
    expect(page.locator(".notice.bad").first).to_contain_text("pending")
    expect(page.locator("h1 .pill")).to_have_text("pending")


def test_who_may_only_read_sees_no_button_and_can_press_none(stage: Stage) -> None:
    made = stage.scene().call("POST", "/api/admin/tokens", {"name": "looker", "scopes": ["read"]})
    context = stage.context()
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("API token").fill(made["token"])
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"/jobs/{stage.ids['dead1']}")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    answer = page.request.post(f"/do/jobs/{stage.ids['dead1']}/retry", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status == 403
    assert page.request.get("/admin/tokens").status == 403
    assert status_of(stage, stage.ids["dead1"]) == "dead"
    context.close()


def test_another_site_can_press_none_either(stage: Stage, page: Page) -> None:
    answer = page.request.post(f"/do/jobs/{stage.ids['dead1']}/retry", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403
    assert status_of(stage, stage.ids["dead1"]) == "dead"


def test_what_cannot_be_set_for_a_type_is_said_beside_its_field(stage: Stage, page: Page) -> None:
    stage.expected.append("status of 422")
    stage.scene().submit("reel.mp4", type="film")
    page.goto("/types/film")
    page.get_by_label("Tries").fill("none")
    page.get_by_label("Worker time-out").fill("20h")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("'none' is no number.")).to_be_visible()
    expect(page.get_by_label("Worker time-out")).to_have_value("20h")
    assert stage.count("type_settings", type="film") == 0
    page.get_by_label("Tries").fill("7")
    page.get_by_role("button", name="Set", exact=True).click()
    said(page, "Type film: 2 settings are changed.")
    assert stage.value("type_settings", "max_attempts", type="film") == 7
    assert stage.value("type_settings", "worker_timeout", type="film") == 20 * 3_600_000
