"""Chromium before a server with something of everything in it: one of each for a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.dashboard.scene import Scene, furnish
from tests.fixtures.chromium import ARGUMENTS, CHROMIUM
from tests.fixtures.engines import looked_into
from tests.fixtures.server import ServerProcess

expect.set_options(timeout=20_000)  # on a busy machine; what is there at once costs nothing


class Stage:
    """The server, its scene, and what browsers complained about."""

    def __init__(self, server: ServerProcess, browser: Browser) -> None:
        self.server = server
        self.browser = browser
        self.ids: dict[str, int] = {}
        self.complaints: list[str] = []
        self.expected: list[str] = []  # what a test brings about; Chromium tells of it at any time

    def scene(self) -> Scene:
        return Scene(self.server.client())

    def visitor(self, **options: Any) -> Page:
        """Somebody else's browser, signed in as the administrator, at the overview.

        The form itself has its own test (tests/auth/test_login_browser.py): here what it sends is enough.
        """
        page = self.signed_in(self.server.token, **options)
        page.goto("/")
        return page

    def signed_in(self, token: str, **options: Any) -> Page:
        """By a token; at no page yet."""
        context = self.context(**options)
        form = {"token": token, "next": "/"}
        sent = context.request.post("/login", form=form, headers={"Origin": self.server.url}, max_redirects=0)
        assert sent.status == 303
        return context.new_page()

    def context(self, **options: Any) -> BrowserContext:
        context = self.browser.new_context(base_url=self.server.url, **options)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self._complain(str(error.error)))
        return context

    def _heard(self, message: ConsoleMessage) -> None:
        # A stream that breaks off while the server restarts is told by Chromium as an error; nothing else may be.
        if message.type == "error" and "ERR_" not in message.text:
            self._complain(message.text)

    def _complain(self, said: str) -> None:
        if not any(text in said for text in self.expected):
            self.complaints.append(said)

    def value(self, table: str, column: str, **where: object) -> Any:
        """One value out of the database, as another process sees it."""
        with looked_into(self.server.database) as database:
            return database.probe.value(table, column, **where)

    def tags(self, job_id: int) -> set[str]:
        with looked_into(self.server.database) as database:
            return {str(tag) for tag in database.probe.column("job_tags", "tag", job_id=job_id)}

    def count(self, table: str, **where: object) -> int:
        with looked_into(self.server.database) as database:
            return database.probe.count(table, **where)


@contextmanager
def staged(folder: Path, **settings: object) -> Iterator[Stage]:
    """A server with these settings, its scene, and a browser."""
    given = {"worker_timeout": 3600, "retry_backoff": 3600, "webhook_allow": "loopback"}
    server = ServerProcess(folder, **(given | settings))
    server.folder.mkdir()
    # Of the module, not of the session: Playwright keeps an asyncio loop in this thread while it is open.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            server.start()
            made = Stage(server, browser)
            made.ids = furnish(made.scene())
            yield made
        finally:
            server.close()
            browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("dashboard") / "data") as made:
        yield made


@pytest.fixture
def page(stage: Stage) -> Iterator[Page]:
    """A signed-in browser at the overview. Fails the test when the browser had something to complain about."""
    stage.complaints.clear()
    stage.expected.clear()
    opened = stage.visitor()
    yield opened
    opened.context.close()
    assert stage.complaints == []
