"""Every action of every page, from the click to the database and to a browser that looks on, with a script; and to
the database without one. What there is of them, and how each is tried, stands in `trials`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Dialog, Locator, Page, Request, expect

from tests.dashboard.conftest import Stage, staged
from tests.dashboard.receiver import answering
from tests.dashboard.trials import KNOWN, TRIALS
from tests.dashboard.trials.case import Case, Props, Trial
from tests.dashboard.walk import Led, actions_on, addresses, name_of
from tests.fixtures.seaweed import Seaweed
from web.app import routes


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Stage]:
    """Which is backed up, too."""
    place = {f"backup_{name}": value for name, value in seaweed.settings("actions").items() if name != "s3_prefix"}
    with staged(tmp_path_factory.mktemp("actions") / "data", **place) as made:
        yield made


class Actor:
    """A browser that acts: what it was asked, and what it has sent."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.agrees = True
        self.asked: list[str] = []
        self.sent: list[Request] = []
        page.on("dialog", self._answer)
        page.on("request", lambda request: self.sent.append(request) if request.method == "POST" else None)

    def _answer(self, dialog: Dialog) -> None:
        self.asked.append(dialog.message)
        if self.agrees:
            dialog.accept()
        else:
            dialog.dismiss()


class Browsers:
    """One with a script and one without, and one that looks on. `known`: the routes."""

    def __init__(self, stage: Stage, props: Props) -> None:
        self.stage = stage
        self.props = props
        self.known = addresses()
        self.other = stage.visitor()
        self._actors = {script: Actor(stage.visitor(java_script_enabled=script)) for script in (True, False)}

    @contextmanager
    def actor(self, case: Case, *, script: bool) -> Iterator[Actor]:
        if case.who is None:
            actor = self._actors[script]
            actor.asked.clear()
            actor.sent.clear()
            yield actor
            return
        options = {"java_script_enabled": script}
        page = self.stage.signed_in(case.who, **options) if case.who else self.stage.context(**options).new_page()
        yield Actor(page)
        page.context.close()


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


def begin(browsers: Browsers, case: Case, actor: Actor) -> None:
    actor.page.goto(case.at, wait_until="domcontentloaded")
    case.before(actor.page)
    assert kept(case, actor.page) != case.to, "it was so before"


def kept(case: Case, page: Page) -> object:
    if not case.cookie:
        return case.stored()
    return next((each["value"] for each in page.context.cookies() if each["name"] == case.cookie), "")


def signs(browsers: Browsers, case: Case) -> Locator:
    found = browsers.other.locator(case.sign)
    return found.filter(has_text=case.text) if case.text else found


def look_on(browsers: Browsers, case: Case) -> None:
    """The other browser stands open where it will show, and shows what was before."""
    other = browsers.other
    if other.url != browsers.stage.server.url + case.shown:
        other.goto(case.shown, wait_until="domcontentloaded")
    expect(other.locator("#connection")).to_have_text("live")
    other.evaluate("window.same = true")
    other.evaluate("refresher.last = 0")  # no refresh was of late, so that the next one is at once
    if case.gone:
        expect(signs(browsers, case)).not_to_have_count(0)
    else:
        expect(signs(browsers, case)).to_have_count(0)


def has_seen(browsers: Browsers, case: Case) -> None:
    if case.gone:
        expect(signs(browsers, case)).to_have_count(0)
    else:
        expect(signs(browsers, case)).not_to_have_count(0)
    assert browsers.other.evaluate("window.same") is True, "the page was loaded anew"


def button(page: Page, within: str, label: str) -> Locator:
    """By what stands on it, but for what differs (`walk.label_of`)."""
    pattern = re.escape(label)
    for shown, meant in ((r"N\ jobs", r"[\d,]+\ jobs?"), (r"N\ workers", r"[\d,]+\ workers?"), (r"\ …", " .+")):
        pattern = pattern.replace(shown, meant)
    return page.locator(within).get_by_role("button", name=re.compile(f"^{pattern}$"))


def asks_first(case: Case, trial: Trial, actor: Actor) -> None:
    actor.agrees = False
    button(actor.page, case.within, trial.label).click()
    assert len(actor.asked) == 1
    assert kept(case, actor.page) != case.to
    actor.agrees = True


def end(browsers: Browsers, case: Case, trial: Trial, actor: Actor, *, script: bool) -> None:
    page = actor.page
    for within, label in ((case.within, trial.label), *((("main", trial.then),) if trial.then else ())):
        pressed = button(page, within, label)
        expect(pressed).to_be_visible()
        found = actions_on(browsers.known, Led(page.content()))
        assert found <= KNOWN, f"{page.url}: how is this tried? {sorted(found - KNOWN)}"
        assert (trial.path, label) in found or not script or case.sends
        pressed.click()
    expect(page.locator(case.says).filter(has_text=case.said).first).to_be_visible()
    if case.later or case.cookie:
        browsers.props.until(lambda: kept(case, page) == case.to)
    assert kept(case, page) == case.to
    case.after()
    wanted = case.sends or f"POST {trial.path}"
    assert wanted in {name_of(browsers.known, "POST", each.url) for each in actor.sent}
    assert len(actor.asked) == (2 if trial.asks and script else 0)


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
