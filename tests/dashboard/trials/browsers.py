"""How a trial is made: the browsers, and what each of them does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Dialog, Locator, Page, Request, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.trials import KNOWN
from tests.dashboard.trials.case import Case, Props, Trial
from tests.dashboard.walk import Led, actions_on, addresses, name_of


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
        browsers.props.until(lambda: kept(case, page) == case.to, else_=lambda: f"{kept(case, page)!r} is kept")
    assert kept(case, page) == case.to
    case.after()
    wanted = case.sends or f"POST {trial.path}"
    assert wanted in {name_of(browsers.known, "POST", each.url) for each in actor.sent}
    assert len(actor.asked) == (2 if trial.asks and script else 0)
