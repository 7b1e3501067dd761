"""Submitting in a browser: from chosen or dropped files to jobs, with the embedded store and with S3."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, WIDE, scrolls_sideways, violations
from tests.dashboard.scene import HOSTILE
from tests.dashboard.test_hostile import INJECTED
from tests.fixtures.engines import looked_into
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess, serving

DROP = """([names, content]) => {
  const transfer = new DataTransfer();
  for (const name of names) transfer.items.add(new File([content + name], name));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


def files(*names: str, content: bytes = b"content of ") -> list[FilePayload]:
    return [FilePayload(name=each, mimeType="application/pdf", buffer=content + each.encode()) for each in names]


def fill(page: Page, type_: str, batch: str = "") -> None:
    page.get_by_label("Type: what converts them").fill(type_)
    page.get_by_label("Batch: a name").fill(batch)


def test_a_folder_becomes_a_batch_and_what_is_known_is_not_sent_again(
    stage: Stage, page: Page, tmp_path: Path
) -> None:
    folder = tmp_path / "scans"
    (folder / "in").mkdir(parents=True)
    for n in range(7):
        (folder / "in" / f"{n}.pdf").write_bytes(b"scan %d" % n)
    (folder / "empty.pdf").write_bytes(b"")
    (folder / ".hidden.pdf").write_bytes(b"hidden")
    (folder / "notes.txt").write_bytes(b"notes")
    (folder / "large.pdf").write_bytes(bytes(9 << 20))
    puts: list[str] = []
    page.on("request", lambda request: puts.append(request.url) if request.method == "PUT" else None)
    page.get_by_role("link", name="Submit").click()
    page.locator("#folder").set_input_files(folder)
    expect(page.get_by_text("10 files chosen, 9.0 MiB.")).to_be_visible()
    fill(page, "browsed", "scans by hand")
    page.get_by_label("Only files whose names end in").fill(".pdf")
    page.locator("#tags").fill("night, scans")
    page.locator("#priority").select_option("2")
    page.locator("#options").fill('{"language": "fr"}')
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/batches/*")
    expect(page.get_by_role("heading", name="scans by hand")).to_be_visible()
    expect(page.get_by_text("0 of 9 jobs ended.")).to_be_visible()
    assert len(puts) == 9
    with looked_into(stage.server.database) as found:
        paths = set(found.probe.column("jobs", "source_path", type="browsed"))
        assert set(found.probe.column("jobs", "status", type="browsed")) == {"pending"}
        assert set(found.probe.column("jobs", "priority", type="browsed")) == {2}
        hashes = set(found.probe.column("jobs", "source_hash", type="browsed"))
    assert paths == {"scans/empty.pdf", "scans/large.pdf", *(f"scans/in/{n}.pdf" for n in range(7))}
    assert hashlib.sha256(bytes(9 << 20)).hexdigest() in hashes
    assert stage.value("batches", "closed_at", name="scans by hand") is not None

    # The same folder, and one file more: by itself that is sent.
    (folder / "new.pdf").write_bytes(b"new")
    page.goto("/submit")
    page.locator("#folder").set_input_files(folder)
    fill(page, "browsed")
    page.get_by_label("Only files whose names end in").fill(".pdf")
    page.locator("#options").fill('{"language": "fr"}')
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("All is submitted: 10 files.")).to_be_visible()
    expect(page.get_by_text("9 of them known already")).to_be_visible()
    assert len(puts) == 10
    page.get_by_role("row", name="new.pdf").get_by_role("link").click()
    expect(page.get_by_role("heading", name="new.pdf")).to_be_visible()


def test_what_is_dropped_is_named_as_it_is_and_runs_nothing(stage: Stage, page: Page) -> None:
    page.goto("/submit")
    names = [each.replace("/", "_") for each in HOSTILE]
    page.evaluate(DROP, [names, "dropped "])
    expect(page.get_by_text("5 files chosen")).to_be_visible()
    fill(page, "dropped")
    page.locator("#options").fill("[1]")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("no JSON object")
    page.locator("#options").fill("")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("All is submitted: 5 files.")).to_be_visible()
    expect(page.locator(INJECTED)).to_have_count(0)
    assert page.title().endswith("Submit · BlobForge")
    assert stage.count("jobs", type="dropped", status="pending") == 5


def test_cancelled_and_taken_up_again(stage: Stage, page: Page) -> None:
    page.goto("/submit")
    page.route("**/objects/**", lambda route: None)  # no answer ever comes
    page.locator("#files").set_input_files(files("a.pdf", "b.pdf"))
    fill(page, "broken-off", "broken off")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("row", name="a.pdf")).to_contain_text("waits")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").filter(has_text="Cancelled")).to_be_visible()
    assert stage.value("batches", "closed_at", name="broken off") is None
    page.unroute("**/objects/**")
    page.get_by_role("link", name="Submit others").click()
    expect(page.locator("#submit")).to_be_visible()
    page.locator("#files").set_input_files(files("a.pdf", "b.pdf"))
    fill(page, "broken-off", "broken off")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/batches/*")
    stage.complaints.clear()  # Chromium tells that the batch is there already
    assert stage.count("jobs", type="broken-off", status="pending") == 2


def test_a_file_that_fails_is_tried_again(stage: Stage, page: Page) -> None:
    page.goto("/submit")
    page.route("**/objects/**", lambda route: route.fulfill(status=400))
    page.locator("#files").set_input_files(files("refused.pdf"))
    fill(page, "refused", "with a refusal")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("row", name="refused.pdf")).to_contain_text("The object store refused it (400)")
    expect(page.get_by_text("1 file could not be submitted. Batch")).to_be_visible()
    for size in (WIDE, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert violations(page) == []
        assert not scrolls_sideways(page)
    page.unroute("**/objects/**")
    stage.complaints.clear()  # Chromium tells of the refusal
    page.get_by_role("button", name="Try those that failed again").click()
    page.wait_for_url("**/batches/*")
    assert stage.count("jobs", type="refused", status="pending") == 1


def test_a_hasher_that_did_not_start_holds_up_one_file(stage: Stage, page: Page) -> None:
    stage.expected.append("Failed to load resource")
    missed: list[str] = []

    def once(route: Route) -> None:
        missed.append(route.request.url)
        if len(missed) > 1:
            route.continue_()
        else:
            route.abort()

    page.goto("/submit")
    page.route(re.compile("hasher"), once)
    page.locator("#files").set_input_files(files("one.pdf", "two.pdf", "three.pdf"))
    fill(page, "rehashed", "rehashed")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("the script that hashes did not start")).to_be_visible()
    page.get_by_role("button", name="Try those that failed again").click()
    expect(page.get_by_text("the script that hashes did not start")).to_have_count(0)
    page.wait_for_url("**/batches/*")
    assert stage.count("jobs", type="rehashed", status="pending") == 3


def test_one_file_holds_up_no_other(stage: Stage, page: Page, tmp_path: Path) -> None:
    """A URL that is no longer good is renewed. A name that is too long is told of its file alone, and so is a file
    that was changed since it was chosen."""
    puts: list[str] = []

    def put(route: Route) -> None:
        puts.append(route.request.url)
        if len(puts) == 1:
            route.fulfill(status=403)
        else:
            route.continue_()

    page.goto("/submit")
    page.route("**/objects/**", put)
    changed = tmp_path / "changed.pdf"
    changed.write_bytes(b"as it was chosen")
    page.locator("#files").set_input_files(changed)
    page.evaluate(DROP, [["long" * 1200, "one.pdf", "two.pdf"], "beside "])
    expect(page.get_by_text("4 files chosen")).to_be_visible()
    changed.write_bytes(b"changed since")
    fill(page, "beside")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("2 files could not be submitted.")).to_be_visible()
    expect(page.get_by_role("row", name="changed.pdf")).to_contain_text("Then choose it again.")
    expect(page.get_by_role("row", name="long")).to_contain_text("source_path: Expected `str` of length <= 4096.")
    assert (len(puts), stage.count("jobs", type="beside", status="pending")) == (3, 2)
    page.unroute("**/objects/**")
    stage.complaints.clear()  # Chromium tells of the refusals


def test_who_may_not_submit_has_no_such_page(stage: Stage) -> None:
    made = stage.scene().call("POST", "/api/admin/tokens", {"name": "looks", "scopes": ["read"]})
    context = stage.context()
    sent = context.request.post("/login", form={"token": made["token"], "next": "/"},
                                headers={"Origin": stage.server.url}, max_redirects=0)  # fmt: skip
    assert sent.status == 303
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("link", name="Batches")).to_be_visible()
    expect(page.get_by_role("link", name="Submit")).to_have_count(0)
    assert context.request.get("/submit").status == 403
    context.close()


def test_who_may_not_read_is_told_the_number_of_the_job_and_led_nowhere(stage: Stage) -> None:
    made = stage.scene().call("POST", "/api/admin/tokens", {"name": "sender", "scopes": ["submit"]})
    stage.complaints.clear()
    context = stage.context()
    form = {"token": made["token"], "next": "/submit"}
    context.request.post("/login", form=form, headers={"Origin": stage.server.url}, max_redirects=0)
    page = context.new_page()
    page.goto("/submit")
    page.keyboard.press("Control+k")
    page.get_by_label("Files", exact=True).set_input_files(files("sent.pdf"))
    page.get_by_label("Type: what converts them").fill("sent")
    page.get_by_role("button", name="Submit").click()
    row = page.get_by_role("row", name="sent.pdf")
    expect(row).to_contain_text(re.compile(r"submitted: job \d+"))
    expect(page.locator("main a:visible")).to_have_text(["Submit others"])
    assert stage.complaints == []
    context.close()


@pytest.mark.parametrize("with_store", ["embedded", "S3"])
def test_without_script_a_file_goes_through_the_server(
    stage: Stage, with_store: str, request: pytest.FixtureRequest
) -> None:
    server: ServerProcess = stage.server if with_store == "embedded" else request.getfixturevalue("with_s3")
    context = stage.browser.new_context(base_url=server.url, java_script_enabled=False)
    form = {"token": server.token, "next": "/"}
    context.request.post("/login", form=form, headers={"Origin": server.url}, max_redirects=0)
    page = context.new_page()
    with server.client() as client:
        batch = client.post("/api/batches", json={"name": "from the plain form"}).json()["id"]
    for again in (r"Submitted: job \d+\.", r"Job \d+ was there already\."):
        page.goto("/submit")
        expect(page.locator("#submit")).to_be_hidden()
        page.get_by_label("File", exact=True).set_input_files(files("plain <i>.pdf"))
        page.get_by_label("Type: what converts it").fill("plain")
        page.locator("#plain-tags").fill("one, two")
        page.locator("#plain-options").fill("[]")
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_text("The options are no JSON object")).to_be_visible()
        page.get_by_label("File", exact=True).set_input_files(files("plain <i>.pdf"))
        page.get_by_label("Type: what converts it").fill("plain")
        page.locator("#plain-tags").fill("one, two")
        page.locator("#plain-options").fill('{"language": "fr"}')
        page.get_by_label("Batch, by its number").fill(str(batch))
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("heading", name="plain <i>.pdf")).to_be_visible()
        expect(page.get_by_text(re.compile(f"^{again}$"))).to_be_visible()
    with looked_into(server.database) as found:
        assert found.probe.column("jobs", "status", type="plain") == ["pending"]
        assert len(found.probe.column("batch_jobs", "job_id", batch=batch)) == 1
    large = {"name": "large.pdf", "mimeType": "application/pdf", "buffer": bytes(17 << 20)}
    for parts, said in (({"file": large, "type": "plain"}, "BLOBFORGE_MAX_RESULT"),
                        ({"type": "plain"}, "No file was chosen")):  # fmt: skip
        answer = context.request.post("/do/jobs", multipart=parts, headers={"Origin": server.url})
        assert said in answer.text()
    context.close()


@pytest.fixture
def with_s3(seaweed: Seaweed, tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(
        tmp_path / "data", **seaweed.settings(f"submit/{tmp_path.name}"), litestream_disabled="true"
    ) as made:
        yield made


def test_files_go_to_s3_if_its_bucket_lets_them(
    stage: Stage, with_s3: ServerProcess, seaweed: Seaweed, tmp_path: Path
) -> None:
    """The policy names the store's origin, on this page alone; and a bucket that lets no page in is told of."""
    context = stage.browser.new_context(base_url=with_s3.url)
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    form = {"token": with_s3.token, "next": "/"}
    context.request.post("/login", form=form, headers={"Origin": with_s3.url}, max_redirects=0)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Submit").click()
    page.wait_for_url("**/submit")
    page.locator("#files").set_input_files(files("one.pdf", "two.pdf"))
    fill(page, "to-s3", "to S3")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/batches/*")
    expect(page.get_by_text("0 of 2 jobs ended.")).to_be_visible()
    with looked_into(with_s3.database) as found:
        assert found.probe.count("jobs", type="to-s3", status="pending") == 2
    assert complaints == []

    # A large file goes in parts, and goes on where it broke off, also after the page was left.
    large = random.Random(20).randbytes(33 << 20)
    chosen = tmp_path / "large.pdf"
    chosen.write_bytes(large)
    puts: list[str] = []

    def put(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        puts.append(query["partNumber"][0])
        if puts[-1] == "3" and len(puts) < 6:
            route.fulfill(status=500)
        else:
            route.continue_()

    context.route(re.compile("[?&]partNumber="), put)
    for again in (False, True):
        page.goto("/submit")
        page.locator("#submit").evaluate("form => { form.dataset.partsAbove = 1 << 20 }")
        page.locator("#files").set_input_files(chosen)
        fill(page, "in-parts")
        page.get_by_role("button", name="Submit").click()
        # It tries again three times before it says so, a little later each time, and has 33 MiB to send.
        said = page.get_by_text("All is submitted" if again else "The object store refused it (500)")
        expect(said).to_be_visible(timeout=60_000)
    assert puts == ["1", "2", "3", "3", "3", "3"]
    stored = f"submit/{tmp_path.name}/sources/{hashlib.sha256(large).hexdigest()}"
    assert seaweed.client().get_object(Bucket=seaweed.bucket, Key=stored)["Body"].read() == large
    context.unroute_all()  # else no bucket is asked whether it lets a page in
    complaints.clear()  # Chromium tells of the refusals
    policies = {each: page.goto(each).headers["content-security-policy"] for each in ("/submit", "/batches")}  # type: ignore[union-attr]
    assert f"connect-src 'self' {seaweed.endpoint};" in policies["/submit"]
    assert seaweed.endpoint not in policies["/batches"]

    rule = {"AllowedOrigins": ["https://elsewhere.example"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    seaweed.client().put_bucket_cors(Bucket=seaweed.bucket, CORSConfiguration={"CORSRules": [rule]})
    try:
        page.goto("/submit")
        page.locator("#files").set_input_files(files("three.pdf"))
        fill(page, "to-s3")
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("row", name="three.pdf")).to_contain_text("blobforge doctor says what to set")
        assert not [each for each in complaints if "Content Security Policy" in each]
    finally:
        seaweed.client().delete_bucket_cors(Bucket=seaweed.bucket)
        context.close()
