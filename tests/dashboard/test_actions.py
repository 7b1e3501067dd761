"""Every action of every page: from the click to the database, and back into a second browser that looks on."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.dashboard.conftest import Stage


def said(page: Page, text: str) -> None:
    """The notice of what was done."""
    expect(page.locator(".notice").filter(has_text=text).first).to_be_visible()


def status_of(stage: Stage, job_id: int) -> str:
    return str(stage.value("jobs", "status", id=job_id))


def test_retry_cancel_undo_and_priority_of_one_job(stage: Stage, page: Page) -> None:
    job = stage.ids["dead0"]
    other = stage.visitor()
    other.goto(f"/jobs/{job}")
    page.goto(f"/jobs/{job}")
    page.get_by_role("button", name="Retry").click()
    said(page, f"Job {job} goes again.")
    assert status_of(stage, job) == "pending"
    expect(other.locator("h1 .pill")).to_have_text("pending")
    expect(other.get_by_text("Why is it waiting?")).to_be_visible()

    page.get_by_label("Priority").select_option("1")
    page.get_by_role("button", name="Set").click()
    said(page, f"The priority of job {job} is changed.")
    assert stage.value("jobs", "priority", id=job) == 1
    expect(other.get_by_text("priority 1", exact=False).first).to_be_visible()

    page.get_by_role("button", name="Cancel").click()
    said(page, f"Job {job} is cancelled.")
    assert status_of(stage, job) == "cancelled"
    expect(other.locator("h1 .pill")).to_have_text("cancelled")
    page.get_by_role("button", name="Undo").click()
    said(page, "Undone: 1 of 1 jobs are as before.")
    assert status_of(stage, job) == "pending"
    expect(other.locator("h1 .pill")).to_have_text("pending")
    other.context.close()


def test_a_retry_on_the_page_gives_the_whole_budget_back(stage: Stage, page: Page) -> None:
    job = stage.ids["dead2"]
    assert stage.value("jobs", "attempts", id=job) == 1
    page.goto(f"/jobs/{job}")
    page.get_by_role("button", name="Retry").click()
    said(page, f"Job {job} goes again.")
    assert stage.value("jobs", "attempts", id=job) == 0


def test_cancelling_a_running_job_asks_first(stage: Stage, page: Page) -> None:
    job = stage.ids["running2"]
    page.goto(f"/jobs/{job}")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    assert status_of(stage, job) == "running"
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    said(page, "is cancelled")
    assert status_of(stage, job) == "cancelled"


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
    other = stage.visitor()
    other.goto("/jobs?type=bulk")
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
    assert stage.count("jobs", type="bulk", priority=2) == 2
    page.get_by_role("button", name="Undo").click()
    said(page, "Undone: 2 of 2 jobs are as before.")
    assert stage.count("jobs", type="bulk", priority=4) == 4

    # All that match are cancelled, and the other browser sees it.
    page.goto("/jobs?type=bulk&priority=4")
    page.get_by_label("that match, not only").check()
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_text("This will cancel 4 jobs.")).to_be_visible()
    expect(page.get_by_text("That is bulk/3.pdf, bulk/2.pdf, bulk/1.pdf, bulk/0.pdf.")).to_be_visible()
    assert stage.count("jobs", type="bulk", status="cancelled") == 0
    page.get_by_role("button", name="Cancel 4 jobs").click()
    said(page, "4 of 4 jobs are cancelled.")
    expect(other.locator("tbody .pill-cancelled")).to_have_count(4)

    page.goto("/jobs?type=bulk&status=cancelled")
    page.get_by_label("that match, not only").check()
    page.get_by_role("button", name="Retry…").click()
    page.get_by_role("button", name="Bring 4 jobs back").click()
    said(page, "4 of 4 jobs go again.")
    expect(other.locator("tbody .pill-pending")).to_have_count(4)

    page.goto("/jobs?type=bulk")
    page.get_by_label("Select all jobs of this page").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 4 jobs for good").click()
    said(page, "4 of 4 jobs are deleted.")
    assert stage.count("jobs", type="bulk") == 0
    expect(other.get_by_text("No job matches.")).to_be_visible()
    other.context.close()


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
    assert page.evaluate("scrollY") == before


def test_tags_of_many_jobs_without_a_script(stage: Stage) -> None:
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
    page.get_by_label("Remove", exact=True).fill("old")
    page.get_by_label("Remove", exact=True).press("Enter")
    expect(page.get_by_text("This will change the tags of 2 jobs.")).to_be_visible()
    facts = page.locator("dl.facts")
    expect(facts).to_contain_text("Tag to add")
    expect(facts).to_contain_text("type tagging, tag old")
    page.get_by_role("button", name="Change the tags of 2 jobs").click()
    said(page, "2 of 2 jobs have their tags changed.")
    tags = {job: stage.tags(job) for job in jobs}
    assert tags == {jobs[0]: set(), jobs[1]: {"new"}, jobs[2]: {"new"}}
    page.get_by_role("button", name="Undo").click()
    said(page, "Undone: 2 of 2 jobs are as before.")
    assert stage.tags(jobs[1]) == {"old"}
    page.goto("/jobs?type=tagging&tag=old")
    page.get_by_label("that match, not only").check()
    page.locator("#tags summary").click()
    page.get_by_label("Add", exact=True).fill("old")
    page.get_by_role("button", name="Change tags…").click()
    expect(page.get_by_text("There is nothing to do: 2 jobs were selected, and they are so already.")).to_be_visible()
    page.context.close()


def test_a_retry_of_many_leaves_their_priority(stage: Stage, page: Page) -> None:
    """The field for a new priority stands in the same form."""
    scene = stage.scene()
    job = scene.submit("urgent.pdf", type="urgent", priority=1)
    scene.call("POST", f"/api/jobs/{job}/cancel")
    page.goto("/jobs?type=urgent")
    page.get_by_label("that match, not only").check()
    page.get_by_role("button", name="Retry…").click()
    expect(page.locator("dl.facts")).to_contain_text("type urgent")
    page.get_by_role("button", name="Bring 1 job back").click()
    said(page, "1 of 1 jobs go again.")
    assert (status_of(stage, job), stage.value("jobs", "priority", id=job)) == ("pending", 1)


def test_a_bulk_action_on_nothing_says_so(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    page.get_by_role("button", name="Cancel…").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was ticked, and nothing was done")
    expect(page).to_have_url(re.compile("/jobs$"))


def test_a_group_of_failures_goes_again(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("faulty", "faulty")
    jobs = [scene.submit(f"faulty/{n}.pdf", type="faulty", max_attempts=1) for n in range(2)]
    for _ in jobs:
        scene.fail("faulty", scene.claim("faulty", "faulty"), "no such font", kind="FontError", traceback="")
    page.goto("/failures")
    row = page.locator("tr", has_text="FontError")
    row.get_by_role("button", name="Retry…").click()
    expect(page.get_by_text("This will bring 2 jobs back.")).to_be_visible()
    page.get_by_role("button", name="Bring 2 jobs back").click()
    said(page, "2 of 2 jobs go again.")
    assert [status_of(stage, job) for job in jobs] == ["pending", "pending"]
    expect(page).to_have_url(re.compile("/failures$"))


def test_a_type_is_paused_and_resumed_where_it_waits(stage: Stage, page: Page) -> None:
    stage.scene().submit("held-up.pdf", type="held-up")
    other = stage.visitor()
    other.goto("/")
    page.goto("/")
    page.locator("tr", has_text="held-up").get_by_role("button", name="Pause").click()
    said(page, "Type held-up is paused")
    assert stage.count("type_settings", type="held-up") == 1
    expect(other.locator(".attention li", has_text="held-up").locator(".pill").first).to_have_text("paused")
    expect(page.locator("tr", has_text="held-up").locator(".pill")).to_have_text("paused")
    page.locator(".attention li", has_text="held-up").get_by_role("button", name="Resume").click()
    said(page, "Jobs of type held-up are given out again.")
    assert stage.count("type_settings", type="held-up") == 0
    other.context.close()


def test_workers_are_drained_enabled_disabled_and_removed(stage: Stage, page: Page) -> None:
    stage.scene().worker("handy", "handy")
    other = stage.visitor()
    other.goto("/workers?q=handy")
    page.goto("/workers/handy")

    def act(name: str) -> None:
        page.locator("summary", has_text="Actions").click()
        page.get_by_role("button", name=name).click()

    act("Drain")
    said(page, "handy drains")
    expect(page.locator("h1 .pill")).to_have_text("draining")
    expect(other.locator("tbody .pill").first).to_have_text("draining")
    act("Enable")
    said(page, "handy may work again")
    assert stage.value("workers", "drain", id="handy") == 0
    page.once("dialog", lambda dialog: dialog.accept())
    act("Disable")
    said(page, "handy is disabled")
    assert stage.value("workers", "enabled", id="handy") == 0
    act("Enable")
    said(page, "handy may work again")
    page.once("dialog", lambda dialog: dialog.accept())
    act("Remove")
    said(page, "handy is removed")
    expect(page).to_have_url(re.compile("/workers$"))
    expect(other.get_by_text("No worker matches.")).to_be_visible()
    assert stage.count("workers", id="handy") == 0
    other.context.close()


def test_ticked_workers_are_drained_and_removed(stage: Stage, page: Page) -> None:
    for name in ("rack-1", "rack-2", "rack-3"):
        stage.scene().worker(name, "rack")
    page.goto("/workers?type=rack")

    def ask(button: str, *names: str) -> None:
        for name in names:
            page.get_by_label(f"Select worker {name}").check()
        page.get_by_role("button", name=button, exact=True).click()

    ask("Drain…")
    said(page, "Nothing was ticked")
    ask("Drain…", "rack-1", "rack-2")
    expect(page.locator("main")).to_contain_text("This will drain 2 workers")
    expect(page.get_by_role("link", name="rack-2")).to_be_visible()
    page.get_by_role("button", name="Drain 2 workers").click()
    said(page, "2 of 2 workers end what they run, and get nothing new.")
    expect(page).to_have_url(re.compile(r"/workers\?type=rack$"))
    drained = {name: stage.value("workers", "drain", id=name) for name in ("rack-1", "rack-2", "rack-3")}
    assert drained == {"rack-1": 1, "rack-2": 1, "rack-3": 0}
    ask("End their drain…", "rack-2", "rack-3")
    page.get_by_role("button", name="Let 1 worker work again").click()
    said(page, "1 of 2 workers get jobs again. 1 were left")
    assert stage.value("workers", "drain", id="rack-2") == 0
    ask("Remove…", "rack-1", "rack-2")
    page.get_by_role("button", name="Remove 2 workers").click()
    said(page, "2 of 2 workers are removed.")
    assert [stage.count("workers", id=name) for name in ("rack-1", "rack-2", "rack-3")] == [0, 0, 1]


def test_a_quarantine_is_overruled_by_one_click_and_that_taken_back(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("odd-1", "odd")
    scene.call("POST", "/api/workers/odd-1/quarantine", {"reason": "its 'disk' is <full>"})
    for address in ("/workers?type=odd", "/workers/odd-1"):
        page.goto(address)
        expect(page.locator("main")).to_contain_text("its 'disk' is <full>")
        page.get_by_role("button", name="Readmit").click()
        said(page, "odd-1 gets jobs again.")
        expect(page.locator("main").get_by_text("quarantined", exact=True)).to_have_count(0)
        page.get_by_role("button", name="Quarantine it again").click()
        said(page, "odd-1 gets no jobs until it is readmitted.")
        expect(page.locator("main")).to_contain_text("its 'disk' is <full>")


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


def test_everything_works_without_script(stage: Stage) -> None:
    page = stage.visitor(java_script_enabled=False)
    job = stage.scene().submit("no-script.pdf", type="noscript")
    page.goto("/jobs?type=noscript")
    page.get_by_role("link", name="no-script.pdf").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(f"Job {job} is cancelled.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone: 1 of 1")).to_be_visible()
    page.goto("/jobs?type=noscript")
    page.get_by_label(f"Select job {job}", exact=True).check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 job for good").click()
    assert stage.count("jobs", id=job) == 0
    page.context.close()


def test_a_batch_as_a_whole(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    number = scene.call("POST", "/api/batches", {"name": "a whole"})["id"]
    for each in range(2):
        scene.submit(f"whole/{each}.pdf", type="whole", batch=number)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/batches")
    page.get_by_role("link", name="a whole").click()
    page.get_by_role("button", name="Cancel all").click()
    said(page, f"Batch {number} is closed; operation ")
    expect(page.get_by_text("2 of 2 jobs ended.")).to_be_visible(timeout=20_000)
    page.goto(f"/batches/{number}")
    page.get_by_role("button", name="Retry what is dead or cancelled").click()
    said(page, f"brings jobs of batch {number} back.")
    expect(page.get_by_text("0 of 2 jobs ended.")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="2", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert stage.count("jobs", type="whole", status="pending") == 2


def test_what_is_set_for_a_type_and_its_pause(stage: Stage, page: Page) -> None:
    stage.expected.append("status of 422")
    stage.scene().submit("reel.mp4", type="film")
    other = stage.visitor()
    other.goto("/types/film")
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
    page.get_by_label("Reason").fill("release 2.1 loses tables")
    page.get_by_role("button", name="Pause").click()
    said(page, "Type film is paused")
    expect(other.get_by_text("release 2.1 loses tables").first).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    said(page, "Jobs of type film are given out again.")
    expect(other.get_by_text("No job of it is given to any worker")).to_have_count(0)
    other.context.close()
