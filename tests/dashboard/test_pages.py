"""Every page: there, readable with and without script, light to load, at home in both themes and widths."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, WIDE, scrolls_sideways, small_targets
from tests.dashboard.scene import Scene
from tests.dashboard.screenshots import pages, sign_in
from tests.fixtures.server import ServerProcess

MOST_BYTES = 200_000  # of a page with all that belongs to it, as it comes over the line
NAMES = list(pages(defaultdict(int)))
HEADINGS = {
    "find": "Find",
    "overview": "Overview", "jobs": "Jobs", "jobs-dead": "Jobs", "jobs-sorted": "Jobs", "jobs-none": "Jobs",
    "job-running": "running books/",
    "job-dead": "dead scans/broken-0.pdf", "job-completed": "completed books/",
    "job-waiting": "pending maps/gaul.svg", "job-family": "Family of job", "machine": "Add a machine",
    "job-view": "Source and result of job", "job-view-outputs": "Source and result of job",
    "failures": "Failures by their cause",
    "types": "Types", "type": "Type pdf", "type-month": "Type pdf", "overview-tables": "Overview",
    "canaries": "Canaries", "canary": "Canary 1", "batches": "Batches", "batch": "Batch 1: letters of November",
    "submit": "Submit files", "operations": "Operations", "operation": "Operation 1: priority", "workers": "Workers",
    "worker": "online obelix",
    "admin-tokens": "API tokens", "admin-users": "Users", "admin-audit": "Audit log", "admin-backup": "Backup",
    "admin-webhooks": "Webhooks", "webhook": "Webhook 1",
    "admin-servers": "Servers", "admin-settings": "Settings", "login": "Sign in",
    "api": "BlobForge Server",
}  # fmt: skip
TITLES = {"login": "Sign in · BlobForge", "api": "BlobForge Server"}


@pytest.fixture(scope="module")
def wide(stage: Stage) -> Iterator[Page]:
    page = stage.visitor(viewport=WIDE)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def phone(stage: Stage) -> Iterator[Page]:
    page = stage.visitor(viewport=PHONE, is_mobile=True, has_touch=True)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def plain(stage: Stage) -> Iterator[Page]:
    """A browser without script."""
    page = stage.visitor(java_script_enabled=False)
    yield page
    page.context.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_page(stage: Stage, wide: Page, phone: Page, plain: Page, name: str) -> None:
    stage.complaints.clear()
    address = pages(stage.ids)[name]
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    wide.on("request", note)
    answer = wide.goto(address)
    assert answer is not None
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    source = answer.text()
    assert re.findall(r"<script(?![^>]* defer src=)[^>]*>", source) == [], "a script that stops the first paint"
    assert re.findall(r"<[^>]+ (?:style|on\w+)=", source) == [], "something inline"
    expect(wide.locator("h1").first).to_contain_text(HEADINGS[name])
    expect(wide).to_have_title(re.compile(TITLES.get(name) or r"^\(3 dead\) .+ · BlobForge$"))
    assert not scrolls_sideways(wide)
    wide.remove_listener("request", note)
    assert [url for url in asked if not url.startswith((stage.server.url, "blob:"))] == [], "another host was asked"

    phone.goto(address)
    expect(phone.locator("h1").first).to_contain_text(HEADINGS[name])
    assert not scrolls_sideways(phone)
    assert small_targets(phone) == []
    if name.startswith("admin-"):
        expect(phone.locator(".tabs a[aria-current]")).to_be_in_viewport(ratio=0.9)
    if name != "api":
        assert phone.locator("main table:not(.cards, .histogram, .u-legend)").count() == 0, "no list on the phone"
        assert phone.locator("main table.cards td.num:not([data-label], :empty)").count() == 0, (
            "a number that says nothing"
        )

    plain.goto(address)
    expect(plain.locator("h1").first).to_contain_text(HEADINGS[name])
    assert len(plain.locator("main").inner_text()) > 40
    assert stage.complaints == []


def test_the_running_job_says_all_that_is_known(stage: Stage, page: Page) -> None:
    page.goto(f"/jobs/{stage.ids['running']}")
    now = page.locator("section", has=page.get_by_role("heading", name="Now"))
    for text in ("obelix", "70.5 %", "31 of 44", "rendering page 31", "Heartbeat", "Expected end"):
        expect(now).to_contain_text(text)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "70.5")
    page.goto(f"/jobs/{stage.ids['dead0']}")
    page.locator("summary", has_text="Traceback").click()
    expect(page.get_by_label("Traceback of attempt 1")).to_contain_text("convert.images.DecodeError")
    page.goto(f"/jobs/{stage.ids['waiting']}")
    expect(page.locator("#waiting")).to_contain_text("No worker for type svg is registered.")


def test_a_job_s_files_are_downloaded_under_their_names(stage: Stage, page: Page) -> None:
    page.goto(f"/jobs/{stage.ids['completed']}")
    links = page.get_by_role("link", name="Download")
    for link, name in ((links.nth(0), "banquet.pdf"), (links.nth(1), "output.md")):
        with page.expect_download() as download:
            link.click()
        assert download.value.suggested_filename == name
    frame = page.frame_locator("iframe.preview")
    expect(frame.get_by_role("heading", name="The Banquet")).to_be_visible()
    expect(frame.get_by_role("link", name="the map")).to_have_attribute("rel", "noopener noreferrer nofollow")
    # The style sheet gets into the sandbox, too.
    assert frame.locator("body").evaluate("body => getComputedStyle(body).margin") == "0px"


def test_what_is_not_there_and_what_is_not_yours(stage: Stage, page: Page) -> None:
    for address, text in (("/nothing/here", "There is nothing at"), ("/jobs/999999", "There is no job 999999")):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("alert")).to_contain_text(text)
        page.get_by_role("link", name="To the overview").click()
        expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    for address, text in (
        ("/jobs?status=nonsense", "There is no status 'nonsense'. There are uploading, pending,"),
        ("/jobs?q=" + "x" * 10_000, "q"),
        ("/jobs?cursor=%00", "NUL character"),
        ("/admin/audit?cursor=x", "cursor"),
    ):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 422
        expect(page.get_by_role("alert")).to_contain_text(text)
        assert not scrolls_sideways(page)
    made = stage.scene().call("POST", "/api/admin/tokens", {"name": "reader", "scopes": ["read"]})
    context = stage.context()
    reader = context.new_page()
    reader.goto("/login")
    reader.get_by_label("API token").fill(made["token"])
    reader.get_by_role("button", name="Sign in").click()
    answer = reader.goto("/admin/tokens")
    assert answer is not None
    assert answer.status == 403
    expect(reader.get_by_role("alert")).to_contain_text("takes the scope admin")
    context.close()
    # Chromium tells every such status on its console.
    stage.complaints[:] = [text for text in stage.complaints if "the server responded with a status of 4" not in text]


def test_who_is_not_signed_in_is_led_there_and_back(stage: Stage) -> None:
    stage.complaints.clear()
    context = stage.context()
    page = context.new_page()
    page.goto("/jobs?status=dead&type=pdf")
    expect(page).to_have_url(re.compile("/login\\?next="))
    page.get_by_label("API token").fill("bf_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("API token").fill(stage.server.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(stage.server.url + "/jobs?status=dead&type=pdf")
    page.locator("#who summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))
    context.close()
    stage.complaints[:] = [text for text in stage.complaints if "status of 401" not in text]
    assert stage.complaints == []


def test_keys(stage: Stage, page: Page) -> None:
    page.goto("/jobs?status=dead")
    first, second = page.locator("[data-row] a[href^='/jobs/']").nth(0), page.locator("[data-row]").nth(1)
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("jk?")
    expect(page.locator("#q")).to_have_value("jk?")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(first).to_be_focused()
    page.keyboard.press("j")
    expect(second.locator("a").first).to_be_focused()
    page.keyboard.press("x")
    expect(second.locator("input[type=checkbox]")).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("x")
    expect(second.locator("input[type=checkbox]")).not_to_be_checked()
    with page.expect_response(lambda answer: "x-live" in answer.request.headers):
        page.keyboard.press("r")
    expect(second.locator("a").first).to_be_focused()
    page.keyboard.press("k")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("w")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"/jobs/\d+$"))
    for key, path in (("w", "/workers"), ("f", "/failures"), ("o", "/"), ("a", "/admin/tokens"), ("j", "/jobs")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_url(stage.server.url + path)
    page.go_back()
    expect(page.get_by_role("heading", name="API tokens")).to_be_visible()


def test_a_filter_stands_in_the_address(stage: Stage, page: Page) -> None:
    page.goto("/jobs")
    page.locator("#status").select_option("dead")
    expect(page).to_have_url(re.compile("status=dead"))
    page.get_by_label("Search", exact=True).fill("broken-1")
    page.keyboard.press("Enter")
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=broken-1"))
    page.reload()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile("/jobs$"))  # or the next click still meets the page before
    page.get_by_text("More filters").click()
    page.locator("#tag").fill("comics")
    page.get_by_label("Submitted from (your time)").fill("2020-01-01T00:00")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("[data-row]")).to_have_count(2)
    expect(page.locator("#tag")).to_be_visible()  # what is in force is not folded away
    page.goto("/jobs?limit=5")
    ids = page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.id)")
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    after = page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.id)")
    assert not set(ids) & set(after)


def ground(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_that_was_chosen_sticks(stage: Stage, page: Page) -> None:
    dark, light = "rgb(15, 20, 27)", "rgb(246, 247, 249)"
    page.emulate_media(color_scheme="dark")
    assert ground(page) == dark, "that of the system, as long as none was chosen"
    page.emulate_media(color_scheme="light")
    assert ground(page) == light
    for theme, colour in (("dark", dark), ("light", light)):
        page.locator("#who summary").click()
        page.get_by_role("button", name=theme, exact=True).click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        page.emulate_media(color_scheme="light" if theme == "dark" else "dark")
        for address in ("/", "/jobs", "/api/docs", "/login"):
            page.goto(address)
            assert ground(page) == colour, address
        page.goto("/")
    page.locator("#who summary").click()
    page.get_by_role("button", name="system", exact=True).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "system")
    assert ground(page) == dark


def test_times_are_relative_and_exact_on_hover(stage: Stage, page: Page) -> None:
    page.goto(f"/jobs/{stage.ids['completed']}")
    times = page.locator("main time")
    assert times.count() > 4
    for each in times.all():
        exact = each.get_attribute("datetime") or ""
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", exact), exact
        assert each.get_attribute("title") == exact
        assert re.search(r"^now$| ago$|^in ", each.inner_text())


def test_a_page_weighs_little(stage: Stage) -> None:
    signed_in = stage.visitor()
    cookies = signed_in.context.cookies()
    signed_in.context.close()
    context = stage.context()
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    weights = weigh(context, page)
    page.goto("/")
    expect(page.locator(".chart canvas").nth(2)).to_be_visible()
    total = sum(weights.values())
    assert 20_000 < total < MOST_BYTES, total
    # And what is named by its content is fetched once.
    weights.clear()
    page.goto("/jobs")
    page.wait_for_load_state("load")
    assert sum(weights.values()) < 20_000, weights
    context.close()


def weigh(context: BrowserContext, page: Page) -> dict[str, float]:
    """Bytes over the line, heads and all, by request."""
    weights: dict[str, float] = {}
    debugger = context.new_cdp_session(page)
    debugger.on(
        "Network.loadingFinished", lambda event: weights.update({event["requestId"]: event["encodedDataLength"]})
    )
    debugger.send("Network.enable")
    return weights


def test_the_libraries_are_those_of_their_list() -> None:
    folder = resources.files("web.dashboard") / "static" / "vendor"
    rows = re.findall(
        r"^\| (\S+\.\w+) \| (\S+) \| \S+ \| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.M
    )
    listed = {name: digest for name, _, digest in rows}
    there = {each.name for each in folder.iterdir() if not each.name.endswith((".LICENSE", ".md"))}
    assert set(listed) == there
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    packages = {package.rpartition("@")[0] for _, package, _ in rows}
    assert packages == {each.name.removesuffix(".LICENSE") for each in folder.iterdir() if each.name.endswith("NSE")}
    # The script that fetches them names the same versions.
    script = (Path(__file__).parents[2] / ".ci" / "vendor").read_text()
    assert {package for _, package, _ in rows} == set(re.findall(r"^(\S+@[\d.]+) ", script, re.MULTILINE))


# ------------------------------------------------------------------ a server with nothing in it


def test_an_empty_server_says_what_to_do_and_then_shows_its_state(stage: Stage, tmp_path: Path) -> None:
    stage.complaints.clear()
    server = ServerProcess(tmp_path / "data")
    server.folder.mkdir()
    context = stage.browser.new_context(base_url="")
    try:
        server.start()
        page = context.new_page()
        page.on("console", lambda message: stage.complaints.append(message.text) if message.type == "error" else None)
        sign_in(page, server)
        for address, text in (
            ("/", "Nothing. No job is dead"),
            ("/", "blobforge submit report.pdf"),
            ("/jobs", "blobforge submit report.pdf"),
            ("/failures", "No job shows a failure now."),
            ("/failures?all=1", "Nothing has failed so far."),
            ("/workers", "No workers yet. Add a machine"),
            ("/workers?q=x", "No worker matches."),
            ("/admin/users", "BLOBFORGE_OIDC_ISSUER="),
            ("/admin/audit?action=job.*", "Nothing on record matches."),
            ("/admin/backup", "blobforge db backup"),
        ):
            page.goto(server.url + address)
            expect(page.locator("main")).to_contain_text(text)
            assert not scrolls_sideways(page)
        # Title and icon say how it stands, also of a page that only stands there.
        page.goto(server.url)
        icon = page.locator("link[rel=icon]")
        expect(page).to_have_title("Overview · BlobForge")
        expect(icon).to_have_attribute("href", re.compile("icon-idle"))
        scene = Scene(server.client())
        scene.worker("w")
        scene.submit("a.pdf", max_attempts=1)
        grant = scene.claim("w")
        expect(icon).to_have_attribute("href", re.compile("icon-busy"))
        scene.fail("w", grant)
        expect(page).to_have_title("(1 dead) Overview · BlobForge")
        expect(icon).to_have_attribute("href", re.compile("icon-dead"))
        assert stage.complaints == []
    finally:
        context.close()
        server.close()


def test_addresses_of_files_carry_their_hash(stage: Stage, page: Page) -> None:
    """So they may be kept for ever; the same without the hash is asked about every time."""
    addresses = page.locator("link[rel=stylesheet], script").evaluate_all(
        "all => all.map(one => one.href || one.src)"
    )
    assert len(addresses) > 4
    for address in addresses:
        assert re.search(r"\?v=[0-9a-f]{12}$", address)
        answer = page.request.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        bare = page.request.get(urlsplit(address).path)
        assert bare.headers["cache-control"] == "no-cache"
        assert page.request.get(urlsplit(address).path, headers={"If-None-Match": bare.headers["etag"]}).status == 304
    for name in ("../page.py", "%2e%2e/page.py", "..%2fpage.py", "vendor/README.md", "nothing.js", ""):
        assert page.request.get(f"/static/{name}").status == 404
