"""What a trial of an action is made of: a case of it, and what it is done to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.receiver import Answers
from tests.dashboard.scene import MARKDOWN, Scene
from tests.fixtures.engines import looked_into

# Why no other browser has to see it.
VIEW = "it is how the caller's own browser shows pages: a cookie, of which nothing is stored"
BACKGROUND = "In the background"
# Until something that the server does by itself is done, on a busy machine; a drill alone waits half of it for the
# backup to catch up.
SECONDS_OF_OTHERS = 60
_numbers = count(1)


def none(_: Page) -> None:
    """Nothing is to be filled in."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to which an action is done. `at`: the page with the button, which stands `within` that part of it.
    `before`: what is filled in. `stored`: what the database has; it is not `to` before, and is afterwards (`later`:
    once the server has done it). `said`: by that part (`says`) of the page, afterwards. The page at `shown` comes to
    have an element by the selector `sign` with that `text`, or (`gone`) to have none. `sends`: the route where it is
    another with a script. `cookie`: which holds it, in place of the database. `who`: a token, by which a browser of
    its own is signed in for this; "": it is not signed in. `after`: what is to be looked at besides."""

    at: str
    to: object
    said: str
    says: str = "body"
    stored: Callable[[], object] = lambda: None
    before: Callable[[Page], None] = none
    within: str = "main"
    later: bool = False
    shown: str = ""
    sign: str = ""
    text: str = ""
    gone: bool = False
    sends: str = ""
    cookie: str = ""
    who: str | None = None
    after: Callable[[], object] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`make` a case of it, for a browser with a script or without. `then`: what stands on the button that answers the
    question which it leads to. `asks`: a browser with a script asks before anything is sent. `unseen`: why no other
    browser sees it."""

    path: str
    label: str
    make: Callable[[Props, bool], Case]
    then: str = ""
    asks: bool = False
    unseen: str = ""


class Props:
    """What actions are done to: each call makes another one."""

    def __init__(self, stage: Stage, answers: Answers) -> None:
        self.stage = stage
        self.scene: Scene = stage.scene()
        self.answers = answers

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self.scene.call(method, path, body)

    def name(self, kind: str) -> str:
        return f"{kind}-{next(_numbers)}"

    def job(self, *, tag: str = "", type: str = "acted", **fields: Any) -> int:
        """That waits."""
        return self.scene.submit(f"{self.name('acted')}.pdf", type=type, tags=[tag] if tag else [], **fields)

    def jobs(self, tag: str) -> list[int]:
        return [self.job(tag=tag), self.job(tag=tag)]

    def taken(self, **fields: Any) -> tuple[int, str, Any]:
        """One that runs, of a type and on a worker of its own (which are called the same); and its grant."""
        name = self.name("run")
        self.scene.worker(name, name)
        job = self.job(type=name, **fields)
        return job, name, self.scene.claim(name, name)

    def dead(self, **fields: Any) -> tuple[int, str]:
        """And of which kind its error was."""
        job, name, grant = self.taken(max_attempts=1, **fields)
        self.scene.fail(name, grant, f"no such font in {name}", kind=f"Kind{name}", traceback="")
        return job, f"Kind{name}"

    def completed(self) -> tuple[int, str]:
        """And its type."""
        job, name, grant = self.taken()
        self.scene.complete(name, grant, MARKDOWN)
        return job, name

    def value(self, table: str, column: str, **where: object) -> Callable[[], object]:
        return lambda: self.stage.value(table, column, **where)

    def count(self, table: str, **where: object) -> Callable[[], object]:
        return lambda: self.stage.count(table, **where)

    def there(self, table: str, column: str, **where: object) -> Callable[[], object]:
        """Whether something is set."""
        return lambda: self.stage.value(table, column, **where) is not None

    def setting(self, type_: str, column: str) -> Callable[[], object]:
        """Of a type, of which nothing may be set."""

        def read() -> object:
            with looked_into(self.stage.server.database) as database:
                return database.probe.column("type_settings", column, type=type_)

        return read

    def required(self, job: int) -> object:
        return self.call("GET", f"/api/jobs/{job}").get("requires", [])

    def status(self, job: int) -> Callable[[], object]:
        return self.value("jobs", "status", id=job)

    def statuses(self, jobs: list[int]) -> Callable[[], object]:
        return lambda: {self.stage.value("jobs", "status", id=each) for each in jobs}

    def until(self, found: Callable[[], Any], *, else_: Callable[[], str] = lambda: "it did not come about") -> Any:
        """What the server does by itself."""
        end = time.monotonic() + SECONDS_OF_OTHERS
        while not (value := found()):
            assert time.monotonic() < end, else_()
            time.sleep(0.02)
        return value

    def ended(self, operation: int) -> None:
        self.until(self.there("operations", "ended_at", id=operation))

    def add(self, table: str, **columns: object) -> None:
        """What only others write."""
        with looked_into(self.stage.server.database) as database:
            database.probe.add(table, **columns)

    def add_all(self, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        with looked_into(self.stage.server.database) as database:
            database.probe.add_all(table, columns, rows)


TRIALS: dict[tuple[str, str], Trial] = {}
Make = Callable[[Props, bool], Case]


def trial(path: str, label: str, *, then: str = "", asks: bool = False, unseen: str = "") -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        assert (path, label) not in TRIALS, f"{path} {label} has a trial"
        TRIALS[path, label] = Trial(path=path, label=label, make=make, then=then, asks=asks, unseen=unseen)
        return make

    return keep


def press(label: str, until: str) -> Callable[[Page], None]:
    """And wait for what the page says then."""

    def act(page: Page) -> None:
        page.get_by_role("button", name=label, exact=True).click()
        expect(page.locator("body")).to_contain_text(until)

    return act


def opened(summary: str, then: Callable[[Page], None] = none) -> Callable[[Page], None]:
    """What is folded away is opened first."""

    def act(page: Page) -> None:
        page.locator("main summary").filter(has_text=summary).first.click()
        then(page)

    return act


def filled(**fields: str) -> Callable[[Page], None]:
    """The fields by their ids."""

    def act(page: Page) -> None:
        for name, value in fields.items():
            page.locator(f"#{name}").fill(value)

    return act


def chosen(field: str, value: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.locator(field).select_option(value)

    return act


def every(then: Callable[[Page], None] = none) -> Callable[[Page], None]:
    """All jobs that match are meant."""

    def act(page: Page) -> None:
        page.locator("#everything").check()
        then(page)

    return act
