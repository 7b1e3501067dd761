"""What strangers put into every field runs nothing, injects nothing, reorders nothing and breaks no layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, WIDE, scrolls_sideways
from tests.dashboard.scene import HOSTILE, HOSTILE_IDS, furnish_hostile
from web.preview import MOST_NESTING

# Elements that no page of ours has; scripts are ours by their address.
INJECTED = "img[src=x], svg[onload], [onerror], [onload], script:not([src^='/static/']), main style, main script"
BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Evil:
    """What was furnished, and what happened in the browsers that looked at it."""

    def __init__(self, jobs: list[int], workers: list[str]) -> None:
        self.jobs = jobs
        self.workers = workers
        self.dialogs: list[str] = []
        self.elsewhere: list[str] = []


@pytest.fixture(scope="module")
def evil(stage: Stage) -> Evil:
    return Evil(*furnish_hostile(stage.scene()))


@pytest.fixture(scope="module")
def looker(stage: Stage, evil: Evil) -> Iterator[Page]:
    page = stage.visitor(viewport=WIDE)
    page.on("dialog", lambda dialog: (evil.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: evil.elsewhere.append(request.url) if foreign(stage, request.url) else None)
    yield page
    page.context.close()


def foreign(stage: Stage, url: str) -> bool:
    return not url.startswith((stage.server.url, "blob:"))  # the thread that draws a PDF has no other address


def harmless(stage: Stage, evil: Evil, page: Page, address: str, title: str) -> None:
    """Go there, wide and as on a phone, and see that it is a page of ours and nothing else."""
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 200, address
    for size in (WIDE, PHONE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert not scrolls_sideways(page), f"{address} at {size['width']}"
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    expect(page).to_have_title(re.compile(rf"^(\(\d+ dead\) )?{title} · BlobForge$"))
    expect(page.locator(INJECTED)).to_have_count(0)
    expect(page.locator("#connection")).to_have_count(1)
    # No sign that turns the order around reaches what a person reads, or hovers over.
    assert not BIDI.search(answer.text()), address
    assert (evil.dialogs, evil.elsewhere, stage.complaints) == ([], [], []), address


@pytest.fixture(autouse=True)
def no_complaints(stage: Stage) -> None:
    stage.complaints.clear()


def test_the_jobs(stage: Stage, evil: Evil, looker: Page) -> None:
    for job in evil.jobs:
        harmless(stage, evil, looker, f"/jobs/{job}", f"Job {job}")
        for details in looker.locator("details.output summary, .timeline summary").all():
            details.click()
        assert not scrolls_sideways(looker)


def test_lists(stage: Stage, evil: Evil, looker: Page) -> None:
    for address, title in {
        "/": "Overview", "/jobs": "Jobs", "/jobs?limit=100": "Jobs", "/failures": "Failures", "/workers": "Workers",
        "/admin/tokens": "API tokens", "/admin/audit": "Audit log", "/admin/users": "Users",
    }.items():  # fmt: skip
        harmless(stage, evil, looker, address, title)


def test_charts_name_causes_as_text(stage: Stage, evil: Evil, looker: Page) -> None:
    for address in ("/", "/types/type-2"):
        looker.goto(address)
        legend = looker.locator("#chart-why .u-legend, #chart-type-why .u-legend")
        expect(legend).to_be_visible()
        expect(looker.locator(INJECTED)).to_have_count(0)
        assert not BIDI.search(legend.inner_text())
        looker.set_viewport_size(PHONE)  # type: ignore[arg-type]
        assert not scrolls_sideways(looker)
        looker.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert (evil.dialogs, evil.elsewhere, stage.complaints) == ([], [], [])


def test_newer_pages(stage: Stage, evil: Evil, looker: Page) -> None:
    job = evil.jobs[1]
    harmless(stage, evil, looker, "/?figures=tables", "Overview")
    harmless(stage, evil, looker, "/types", "Types")
    for number in range(len(HOSTILE)):
        harmless(stage, evil, looker, f"/types/type-{number}", f"Type type-{number}")
        harmless(stage, evil, looker, "/find?q=" + quote(HOSTILE[number]), "Find")
        harmless(stage, evil, looker, "/canaries?type=" + quote(HOSTILE[number]), "Canaries")
        harmless(stage, evil, looker, f"/jobs/{evil.jobs[3 * number + 1]}/view", "Source and result of job .*")
    for address, title in {
        "/batches": "Batches", "/operations": "Operations", "/canaries": "Canaries", "/admin/webhooks": "Webhooks",
        f"/jobs/{job}/family": f"Family of job {job}",
        "/add-machine?" + urlencode({"type": HOSTILE[0], "command": HOSTILE[4], "labels": "a=" + HOSTILE[0]}):
            "Add a machine",
    }.items():  # fmt: skip
        harmless(stage, evil, looker, address, title)


def test_the_family_of_a_job(stage: Stage, evil: Evil, looker: Page) -> None:
    """Outputs, and the jobs that came of them, under names that mean something in an SVG, an address, a script."""
    scene = stage.scene()
    names = [f"{evil[:60].replace('/', '∕')}.txt" for evil in HOSTILE if evil.isprintable()] + ["שלום.txt", "x" * 200]
    scene.worker("scribe", "scribe")
    then = [{"type": "']]><script>", "outputs": "*"}]
    job = scene.submit("family.pdf", type="scribe", then=then)
    scene.complete_all("scribe", scene.claim("scribe", "scribe"), {name: name.encode() for name in names})
    looker.goto(f"/jobs/{job}/family")
    expect(looker.locator("svg.family a")).to_have_count(1 + len(names))
    harmless(stage, evil, looker, f"/jobs/{job}/family", f"Family of job {job}")
    harmless(stage, evil, looker, f"/jobs/{job}/view", f"Source and result of job {job}")
    looker.goto(f"/jobs/{job}/family")
    looker.locator("svg.family a").last.click()
    expect(looker.locator("h1")).to_contain_text(".txt")
    assert (evil.dialogs, evil.elsewhere, stage.complaints) == ([], [], [])


def test_what_is_hidden_in_a_name_is_sent_back_as_it_was(stage: Stage, evil: Evil, looker: Page) -> None:
    """A choice, a filter that a question keeps, a worker that is ticked: what is seen of them is a sign."""
    scene, name = stage.scene(), "\u202egnp.txt"
    scene.worker("hider\u200f", "hidden")
    job = scene.submit("hidden.pdf", type="hidden", tags=["tag\u200e"])
    outputs = {name: b"turned around", "plain.txt": b"plain"}
    scene.complete_all("hider\u200f", scene.claim("hider\u200f", "hidden"), outputs)
    looker.goto(f"/jobs/{job}/view")
    looker.get_by_label("At the right", exact=True).select_option(label="\ufffdgnp.txt")
    expect(looker.frame_locator("#right iframe").get_by_text("turned around")).to_be_visible()
    looker.get_by_label("At the left", exact=True).select_option("output:plain.txt")
    expect(looker.frame_locator("#left iframe").get_by_text("plain", exact=True)).to_be_visible()
    expect(looker.frame_locator("#right iframe").get_by_text("turned around")).to_be_visible()
    looker.goto("/jobs?tag=" + quote("tag\u200e"))
    looker.get_by_label("that match, not only").check()
    looker.get_by_label("New priority").select_option("1")
    looker.get_by_role("button", name="Set…").click()
    looker.get_by_role("button", name="Change the priority of 1 job").click()
    expect(looker.locator(".notice").first).to_contain_text("1 of 1 jobs")
    looker.goto(f"/jobs/{job}")
    looker.get_by_label("Remove").select_option(label="tag\ufffd")
    looker.get_by_role("button", name="Change", exact=True).first.click()
    expect(looker.locator(".tag")).to_have_count(0)
    assert stage.tags(job) == set()


def test_the_workers(stage: Stage, evil: Evil, looker: Page) -> None:
    for worker in evil.workers:
        harmless(stage, evil, looker, f"/workers/{quote(worker, safe='')}", "Worker .*")
        expect(looker.get_by_role("link", name="Jobs whose latest worker it was")).to_be_visible()


@pytest.mark.parametrize("worker", HOSTILE_IDS, ids=["address", "quotes", "dots", "letters", "long"])
def test_the_links_and_forms_of_a_worker_lead_to_it(stage: Stage, evil: Evil, looker: Page, worker: str) -> None:
    looker.goto("/workers?q=" + quote(worker))
    row = looker.locator("[data-row]")
    expect(row).to_have_count(1)
    row.locator("a").first.click()
    expect(looker.locator("dd").first).to_have_text(worker.replace("\u202e", "\ufffd"))
    looker.locator("summary", has_text="Actions").click()
    looker.get_by_role("button", name="Drain").click()
    expect(looker.locator(".notice").first).to_contain_text("drains")
    expect(looker.get_by_text("It gets nothing new until it is enabled.")).to_be_visible()
    assert stage.value("workers", "drain", id=worker) == 1
    looker.get_by_role("link", name="Jobs whose latest worker it was").click()
    expect(looker.get_by_text("No job matches.")).to_be_visible()
    assert stage.complaints == []


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_what_was_typed_comes_back_as_text(stage: Stage, evil: Evil, looker: Page, number: int) -> None:
    """In filters, in the address, in a form's refusal, in a notice, on the page that shows a secret."""
    text = HOSTILE[number]
    for address in (
        "/jobs?q={}",
        "/jobs?tag={}&worker={}",
        "/workers?q={}&type={}",
        "/admin/audit?actor={}&subject={}",
    ):
        looker.goto(address.replace("{}", quote(text, safe="")))
        expect(looker.locator(INJECTED)).to_have_count(0)
        assert not scrolls_sideways(looker)
    looker.goto("/jobs?q=" + quote(text, safe=""))
    expect(looker.locator("#q")).to_have_value(re.compile("."))
    looker.goto("/admin/tokens")
    looker.get_by_label("Name: who or what will use it").fill(text)
    looker.get_by_role("button", name="Make the token").click()
    expect(looker.locator("#secret")).to_contain_text("bf_")
    expect(looker.locator(INJECTED)).to_have_count(0)
    assert (evil.dialogs, evil.elsewhere, stage.complaints) == ([], [], [])


def test_the_previews(stage: Stage, evil: Evil, looker: Page) -> None:
    for number in range(len(HOSTILE)):
        looker.goto(f"/jobs/{evil.jobs[3 * number + 1]}")
        frame = looker.frame_locator("iframe.preview")
        expect(frame.get_by_role("heading", name="The Banquet")).to_be_visible()
        expect(frame.locator("main :is(script, style, img, iframe, form, object, svg)")).to_have_count(0)
        addresses = frame.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        # Links to the world, and those to images in it; none to a script, to data or to this server.
        assert [each for each in addresses if each] == ["https://example.org/pixel.png", "https://example.org/map"]
    answer = looker.goto(f"/jobs/{evil.jobs[1]}/preview")
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    looker.goto(f"/jobs/{evil.jobs[-1]}")
    # Ten thousands of levels are a few.
    quotes = looker.frame_locator("iframe.preview").locator("blockquote")
    expect(quotes.first).to_be_attached()
    assert quotes.count() <= MOST_NESTING
    assert (evil.dialogs, evil.elsewhere) == ([], [])
    # The sandbox says on the console what it has kept from running; nothing was there to be kept.
    assert stage.complaints == []


def test_an_answer_is_never_cut_by_a_name(stage: Stage, evil: Evil, looker: Page) -> None:
    """Order: what stands behind a name that turns the order around still stands behind it."""
    looker.goto(f"/jobs?type=type-{next(n for n, text in enumerate(HOSTILE) if BIDI.search(text))}")
    for row in looker.locator("[data-row]").all():
        name, status = (row.locator(each).first.bounding_box() for each in ("td.lead a", ".pill"))
        assert name is not None
        assert status is not None
        assert name["x"] + name["width"] <= status["x"]
