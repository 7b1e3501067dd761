"""Signing in and out as people do it: Chromium, a real provider, and the server as a process.

Ours is `127.0.0.1` and the provider's `localhost`: two sites, as in life, so that `SameSite` means something.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from blobforge.machinery import datadir
from blobforge.people import session_hash
from blobforge.store.commons import signing_secret
from blobforge.store.sqlite.commons import FileCommons
from tests.fixtures.chromium import ARGUMENTS, CHROMIUM
from tests.fixtures.engines import looked_into
from tests.fixtures.provider import CLIENT_ID, PASSWORD, RealProvider, free_port
from tests.fixtures.server import ServerProcess
from web.auth.oidc import Leaving, Tokens
from web.auth.sessions import Sealer

LAN = "blobforge.lan"  # a name that is not this machine's to the browser, and leads to it all the same


class Place:
    """A server and its provider."""

    def __init__(self, folder: Path, **variables: object) -> None:
        self.provider = RealProvider(folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.callback = f"{self.url}/auth/callback"
        given: dict[str, object] = {
            "port": port,
            "log_level": "debug",
            "oidc_issuer": self.provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": self.provider.client_secret,
            "oidc_redirect_url": self.callback,
            "oidc_allowed_groups": "staff",
            "oidc_admin_groups": "admins",
        }
        self.server = ServerProcess(folder / "data", **given | variables)
        self.server.folder.mkdir()

    def start(self, *, provider: bool = True) -> None:
        if provider:
            self.provider.start(self.callback)
        self.server.start()

    def close(self) -> None:
        self.provider.kill()
        self.server.close()

    def sealed(self, session_id: str) -> bytes | None:
        """What rests beside this session, as the database has it; None when there is no such session."""
        with looked_into(self.server.database) as database:
            found = database.probe.column("sessions", "sealed", hash=session_hash(session_id))
        return bytes(found[0]) if found else None

    def who(self, session_id: str) -> object:
        """Whom the server takes the holder of this cookie for."""
        answer = httpx.get(f"{self.url}/api/auth/info", cookies={"blobforge": session_id}, trust_env=False)
        return answer.json()["user"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # Of the module, not of the session: Playwright keeps an asyncio loop in this thread while it is open.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, "--no-proxy-server", f"--host-resolver-rules=MAP {LAN} 127.0.0.1"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    opened = Place(tmp_path_factory.mktemp("place"))
    try:
        opened.start()
        yield opened
    finally:
        opened.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that has never been anywhere."""
    opened = chromium.new_context()
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def sign_out(page: Page) -> None:
    page.locator("#who summary").click()
    page.get_by_role("button", name="Sign out").click()


def sign_in(page: Page, place: Place, name: str, path: str = "/") -> None:
    """From one of our pages to the provider, and back."""
    page.goto(place.url + path)
    page.get_by_role("link", name="Sign in with").click()
    give_password(page, name)


def give_password(page: Page, name: str) -> None:
    page.fill("[name=login]", name)
    page.click("button[type=submit]")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")


def session_of(context: BrowserContext, place: Place) -> str | None:
    return {cookie["name"]: cookie["value"] for cookie in context.cookies(place.url)}.get("blobforge")


def fetch(page: Page, method: str, path: str, body: str | None = None) -> int:
    """The status that a script of this page gets. (Its context must leave out our policy, which allows none.)"""
    return int(
        page.evaluate(
            """([method, path, body]) =>
                fetch(path, {method, body, headers: {"Content-Type": "application/json"}}).then(r => r.status)""",
            [method, path, body],
        )
    )


# ------------------------------------------------------------------ in


def test_a_whole_sign_in(place: Place, context: BrowserContext, page: Page) -> None:
    sign_in(page, place, "sam")
    page.wait_for_url(f"{place.url}/")
    expect(page.locator(".menu")).to_contain_text("Signed in as Sam")
    [cookie] = context.cookies(place.url)
    assert cookie["name"] == "blobforge"  # __Host- needs https
    assert cookie["httpOnly"] is True
    assert cookie["sameSite"] == "Lax"
    assert cookie["path"] == "/"
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.locator(".menu")).to_contain_text("Signed in as Sam")


@pytest.mark.parametrize("start", ["/login?next=/api/docs?x=1%262", "/auth/login?next=%2Fapi%2Fdocs%3Fx%3D1%25262"])
def test_next_is_where_it_ends(place: Place, page: Page, start: str) -> None:
    page.goto(place.url + start)
    if start.startswith("/login"):
        page.get_by_role("link", name="Sign in with").click()
    give_password(page, "sam")
    page.wait_for_url(f"{place.url}/api/docs**")


@pytest.mark.parametrize("target", ["//localhost/", "/\\localhost/", "https://localhost/", "/\tx"])
def test_next_never_leads_away(place: Place, page: Page, target: str) -> None:
    page.goto(f"{place.url}/auth/login?next={httpx.URL('/', params={'x': target}).query.decode()[2:]}")
    give_password(page, "sam")
    page.wait_for_url(f"{place.url}/")


@pytest.mark.parametrize("name", ["otto", "nina"])
def test_whoever_is_in_no_allowed_group_is_refused(
    place: Place, context: BrowserContext, page: Page, name: str
) -> None:
    sign_in(page, place, name)
    expect(page.get_by_role("alert")).to_contain_text("not in a group")
    assert session_of(context, place) is None
    page.goto(place.url)
    expect(page.get_by_role("link", name="Sign in with")).to_be_visible()


def test_people_without_an_email(place: Place, chromium: Browser) -> None:
    for name in ("erik", "mira", "erik"):
        context = chromium.new_context()
        page = context.new_page()
        sign_in(page, place, name)
        expect(page.locator(".menu")).to_contain_text(f"Signed in as {name.title()}")
        context.close()
    with place.server.client() as client:
        people = [user for user in client.get("/api/admin/users").json() if user["name"] in ("Erik", "Mira")]
    assert len(people) == 2
    assert [user.get("email") for user in people] == [None, None]


@pytest.mark.parametrize(("name", "seen", "made"), [("ada", 200, 201), ("sam", 403, 403)])
def test_administrators_and_others(place: Place, chromium: Browser, name: str, seen: int, made: int) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    sign_in(page, place, name)
    page.wait_for_url(f"{place.url}/")
    assert fetch(page, "GET", "/api/jobs") == 200
    assert fetch(page, "GET", "/api/admin/tokens") == seen
    assert fetch(page, "GET", "/api/admin/users") == seen
    assert fetch(page, "POST", "/api/admin/tokens", '{"name": "from a page"}') == made
    context.close()


def test_pages_of_other_sites_can_do_nothing(place: Place, chromium: Browser) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    sign_in(page, place, "ada")
    page.wait_for_url(f"{place.url}/")
    page.goto(f"{place.provider.issuer}/login")  # another site; here it plays the attacker's
    status = page.evaluate(
        "url => fetch(url, {credentials: 'include'}).then(r => r.status, () => 'unreadable')", place.url + "/api/jobs"
    )
    assert status == "unreadable"
    page.evaluate(
        """url => {
            const form = document.createElement("form");
            form.method = "post";
            form.action = url;
            document.body.append(form);
            form.submit();
        }""",
        place.url + "/auth/logout",
    )
    page.wait_for_url(f"{place.url}/auth/logout")
    expect(page.locator("body")).to_contain_text("comes from another site")
    page.goto(place.url)
    expect(page.locator(".menu")).to_contain_text("Signed in as Ada (administrator)")
    context.close()


# ------------------------------------------------------------------ out


def test_signing_out(place: Place, context: BrowserContext, page: Page) -> None:
    sign_in(page, place, "sam")
    page.wait_for_url(f"{place.url}/")
    cookie = session_of(context, place)
    assert cookie is not None
    assert place.who(cookie) is not None
    before = sum("/oauth/end_session" in line for line in place.provider.requests())
    sign_out(page)
    page.wait_for_url(f"{place.url}/login")  # by way of the provider
    assert sum("/oauth/end_session" in line for line in place.provider.requests()) == before + 1
    assert session_of(context, place) is None
    assert place.who(cookie) is None
    assert place.sealed(cookie) is None
    # The provider has forgotten, too: it asks for the password again.
    page.goto(f"{place.url}/auth/login")
    expect(page.locator("[name=login]")).to_be_visible()


# ------------------------------------------------------------------ without the provider


def test_signing_in_with_an_api_token(place: Place, context: BrowserContext, page: Page) -> None:
    page.goto(f"{place.url}/login?next=/api/docs")
    page.get_by_text("Use an API token instead").click()
    page.get_by_label("API token").fill("bf_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    assert session_of(context, place) is None
    page.get_by_text("Use an API token instead").click()
    page.get_by_label("API token").fill(place.server.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{place.url}/api/docs")
    page.goto(place.url)
    expect(page.locator(".menu")).to_contain_text("(administrator)")
    sign_out(page)
    expect(page.get_by_role("main")).to_contain_text("Signed out")
    assert session_of(context, place) is None


def test_the_first_start_link_signs_in_once(tmp_path: Path, chromium: Browser) -> None:
    server = ServerProcess(tmp_path / "data")
    server.folder.mkdir()
    try:
        server.start()
        file = server.folder / datadir.LINK_FILE
        assert file.stat().st_mode & 0o077 == 0
        ready = server.folder / datadir.READY_FILE
        assert ready.stat().st_mtime_ns >= file.stat().st_mtime_ns, "who waits for the one finds the other"
        link = file.read_text().strip()
        assert link not in server.logged()
        assert urlsplit(link).query.removeprefix("code=") not in server.logged()
        for attempt in ("first", "second"):
            context = chromium.new_context()
            page = context.new_page()
            page.goto(link)
            if attempt == "first":
                page.wait_for_url(f"{server.url}/")
                expect(page.locator(".menu")).to_contain_text("(administrator)")
            else:
                expect(page.get_by_role("alert")).to_contain_text("used already")
                assert context.cookies() == []
            context.close()
    finally:
        server.close()


def test_plain_http_is_for_this_machine(place: Place, context: BrowserContext, page: Page) -> None:
    elsewhere = place.url.replace("127.0.0.1", LAN)
    page.goto(f"{elsewhere}/login")
    expect(page.get_by_role("main")).to_contain_text("Signing in needs https here")
    expect(page.get_by_label("API token")).to_have_count(0)
    answer = page.goto(f"{elsewhere}/auth/login")
    assert answer is not None
    assert answer.status == 400
    assert context.cookies() == []


# ------------------------------------------------------------------ a provider that comes and goes


def test_a_provider_that_is_down_at_the_start_and_in_the_middle(
    tmp_path: Path, context: BrowserContext, page: Page, chromium: Browser
) -> None:
    place = Place(tmp_path)
    try:
        place.start(provider=False)
        assert httpx.get(f"{place.url}/readyz", trust_env=False).status_code == 200
        answer = page.goto(f"{place.url}/auth/login")
        assert answer is not None
        assert answer.status == 503
        expect(page.get_by_role("alert")).to_contain_text("Everything else goes on working")
        place.provider.start(place.callback)
        page.get_by_role("link", name="Try again").click()
        page.get_by_role("link", name="Sign in with").click()
        give_password(page, "sam")
        page.wait_for_url(f"{place.url}/")

        place.provider.kill()
        page.reload()
        expect(page.locator(".menu")).to_contain_text("Signed in as Sam")  # nobody is thrown out
        # Somebody was on the way back when it went down (and we were away, too, so that there is time for that).
        other = chromium.new_context()
        stranded = other.new_page()
        place.provider.start(place.callback)
        stranded.goto(f"{place.url}/auth/login")
        place.server.kill()
        with stranded.expect_request(f"{place.callback}?**") as request:
            give_password(stranded, "ada")
        place.provider.kill()
        place.server.start()
        stranded.goto(request.value.url)
        expect(stranded.get_by_role("alert")).to_contain_text("Everything else goes on working")
        assert session_of(other, place) is None
        other.close()
        # Signing out here needs no provider.
        cookie = session_of(context, place)
        assert cookie is not None
        with page.expect_request("**/auth/logout") as asked:
            sign_out(page)
        assert asked.value.response() is not None
        assert session_of(context, place) is None
        assert place.sealed(cookie) is None
    finally:
        place.close()


def test_a_session_outlives_the_server(tmp_path: Path, page: Page) -> None:
    place = Place(tmp_path)
    try:
        place.start()
        sign_in(page, place, "sam")
        page.wait_for_url(f"{place.url}/")
        place.server.kill()
        place.server.start()
        page.reload()
        expect(page.locator(".menu")).to_contain_text("Signed in as Sam")
    finally:
        place.close()


# ------------------------------------------------------------------ what the log knows


def test_nothing_secret_of_a_sign_in_reaches_the_log(place: Place, context: BrowserContext, page: Page) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(f"{place.url}/auth/login")
    sealer = Sealer(signing_secret(FileCommons(place.server.folder)))
    [sealed] = [each["value"] for each in context.cookies(place.callback) if "leaving" in str(each.get("name"))]
    leaving = sealer.open(sealed.encode(), Leaving)
    give_password(page, "ada")
    page.wait_for_url(f"{place.url}/")
    [callback] = [parse_qs(urlsplit(url).query) for url in urls if url.startswith(place.callback)]
    cookie = session_of(context, place)
    assert cookie is not None
    tokens = sealer.open(place.sealed(cookie) or b"", Tokens)
    sign_out(page)
    page.wait_for_url(f"{place.url}/login")
    secrets = {
        "code": callback["code"][0],
        "state": callback["state"][0],
        "nonce": leaving.nonce,
        "verifier": leaving.verifier,
        "leaving cookie": sealed,
        "session": cookie,
        "session's hash": session_hash(cookie),
        "access token": tokens.access,
        "refresh token": tokens.refresh,
        "ID token": tokens.id,
        "client secret": place.provider.client_secret,
    }
    assert callback["state"][0] == leaving.state
    logged = place.server.logged()
    assert "/auth/callback" in logged
    for name, secret in secrets.items():
        assert secret, name
        assert secret not in logged, f"the {name} is in the log"
        # Nor does the database hold them, the session's hash apart.
        if name != "session's hash":
            raw = b"".join(path.read_bytes() for path in place.server.folder.glob("blobforge.db*"))
            assert secret.encode() not in raw, f"the {name} is in the database"
