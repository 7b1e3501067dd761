"""Source and result side by side in a browser: what is drawn, and that hostile contents execute nothing."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect
from playwright.sync_api import TimeoutError as NotShown

from tests.dashboard.conftest import Stage
from tests.dashboard.looks import PHONE, scrolls_sideways
from tests.dashboard.scene import HOSTILE_MARKDOWN, Scene, illustrated, picture
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import serving

MOST_RELOADS = 10
OWNED = "<script>document.title = 'owned'; parent.postMessage('owned', '*')</script>"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'owned\'">{OWNED}</svg>'
# A PDF that runs a script when it is opened, goes to an address, and asks for a file from elsewhere.
PDF = b"""%PDF-1.7
1 0 obj <</Type /Catalog /Pages 2 0 R /OpenAction <</S /JavaScript /JS (app.alert\\('owned'\\); this.submitForm\\('https://example.org'\\))>>
 /AA <</WC <</S /URI /URI (https://example.org/closed)>>>>>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Resources <<>> /Contents 4 0 R
 /Annots [<</Type /Annot /Subtype /Link /Rect [0 0 300 200] /A <</S /JavaScript /JS (app.alert\\(1\\))>>>>]>> endobj
4 0 obj <</Length 32>> stream
0 0 1 rg 20 20 260 160 re f
endstream endobj
trailer <</Root 1 0 R>>
"""
HOSTILE = {
    "a.md": HOSTILE_MARKDOWN,
    "b.svg": SVG.encode(),
    "c.html": OWNED.encode(),
    "d.csv": f'name,"{OWNED.replace(chr(34), chr(34) * 2)}"\n=cmd|calc,@x'.encode(),
    "e.json": f'{{"{OWNED}": [{"[" * 50}{"]" * 50}]}}'.encode(),
    "f.png": SVG.encode(),
    "g.txt": OWNED.encode() * 20_000,
    "h.pdf": OWNED.encode(),
    "i.pdf": PDF,
    '"><img src=x onerror=alert(1)>.md': b"# Named",
}


def test_a_pdf_is_drawn_beside_each_kind_of_output(stage: Stage, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/jobs/{stage.ids['album']}")
    page.keyboard.press("Control+k")
    page.keyboard.type("side by")
    page.get_by_role("button", name="Page Source and result side by side").click()
    pdf = page.frame_locator("#left iframe")
    expect(pdf.get_by_role("img", name="Page 1 of 3")).to_be_visible()
    expect(page.frame_locator("#right iframe").get_by_role("heading", name="The Banquet")).to_be_visible()
    assert not [url for url in asked if not url.startswith((stage.server.url, "blob:"))]
    # No preview in the list is fetched until it is opened.
    assert not [url for url in asked if "preview?name=" in url]
    row = page.get_by_role("row", name=re.compile("^meta.json"))
    row.get_by_text("Preview").click()
    expect(row.frame_locator("iframe").get_by_text('"share": 1e-3')).to_be_visible()
    page.get_by_label("At the right", exact=True).select_option("output:figures/1.png")
    shown = page.frame_locator("#right iframe").get_by_role("img", name="The output figures/1.png")
    expect(shown).to_be_visible()
    assert shown.evaluate("each => each.naturalWidth") == 240
    page.get_by_role("link", name="table.csv at the left").click()
    expect(page.frame_locator("#left iframe").get_by_role("cell", name="roast 28")).to_be_attached()
    expect(page.frame_locator("#right iframe").get_by_role("img")).to_be_visible()


def test_a_pdf_is_fetched_once_however_often_its_frame_asks_for_it(stage: Stage, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/jobs/{stage.ids['album']}/view")
    expect(page.frame_locator("#left iframe").get_by_role("img", name="Page 1 of 3")).to_be_visible()
    address = page.locator("#left [data-pdf]").get_attribute("data-pdf") or "?"
    frame = page.locator("#left iframe").element_handle().content_frame()
    assert frame is not None
    heard = "told = new Promise((heard) => { addEventListener('message', () => setTimeout(heard, 100)); })"
    page.evaluate(f"void ({heard})")
    frame.evaluate("parent.postMessage('ready', '*')")
    page.evaluate("told")
    assert len([each for each in asked if each.endswith(address)]) == 1


def test_hostile_contents_execute_nothing_and_ask_for_nothing(stage: Stage, page: Page) -> None:
    scene = stage.scene()
    scene.worker("impedimenta", "evil")
    job = scene.submit("evil/source.pdf", content=PDF, type="evil")
    scene.complete_all("impedimenta", scene.claim("impedimenta", "evil"), HOSTILE)
    said, elsewhere = [], []

    def note(request: Request) -> None:
        if not request.url.startswith((stage.server.url, "blob:")):
            elsewhere.append(request.url)

    page.on("request", note)
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    for name in HOSTILE:
        page.goto(f"/jobs/{job}/view")
        page.get_by_label("At the right", exact=True).select_option(f"output:{name}")
        expect(page.locator("#right h2")).to_have_text(f"Result: {name}")
        frame = page.frame_locator("#right iframe")
        if name == "h.pdf":
            expect(frame.get_by_text("This PDF cannot be shown.")).to_be_visible()
        elif name == "i.pdf":
            expect(frame.get_by_role("img", name="Page 1 of 1")).to_be_visible()
        else:
            expect(frame.locator("main")).to_contain_text(re.compile("."))
            assert frame.locator("main :is(script, style, img, iframe, form, object, svg)").count() == 0
        if name == "f.png":
            expect(frame.get_by_text("This is not the picture")).to_be_visible()
        expect(page).to_have_title(re.compile(f"Source and result of job {job} · BlobForge$"))
        expect(page.locator("[onerror], img[src=x]")).to_have_count(0)
    assert (said, elsewhere) == ([], [])
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not scrolls_sideways(page)


@pytest.mark.parametrize("box", ["0 0 1 99999999", "0 0 99999999 1", "0 0 0 0", "-1e30 -1e30 1e30 1e30"])
def test_a_page_of_an_odd_shape_is_drawn_as_far_as_it_can_be(stage: Stage, page: Page, box: str) -> None:
    odd = PDF.replace(b"/MediaBox [0 0 300 200]", f"/MediaBox [{box}]".encode())
    job = stage.scene().submit(f"odd/{box}.pdf", content=odd, type="odd")
    page.goto(f"/jobs/{job}/view")
    frame = page.frame_locator("#left iframe")
    shown = frame.get_by_role("img", name="Page 1 of 1").or_(frame.get_by_text(re.compile("cannot be (drawn|shown)")))
    expect(shown.first).to_be_attached()
    sizes = frame.locator("canvas").evaluate_all("all => all.map(each => [each.width, each.height])")
    assert all(max(size) <= 16_000 and size[0] * size[1] <= 6_100_000 for size in sizes), sizes
    height = frame.locator("main").evaluate("each => each.scrollHeight")
    assert height < 100_000
    assert not scrolls_sideways(page)


def test_without_a_script_there_are_previews_of_text_and_links(stage: Stage) -> None:
    page = stage.visitor(java_script_enabled=False)
    page.goto(f"/jobs/{stage.ids['album']}/view")
    expect(page.locator("#left")).to_contain_text("A PDF is drawn by a script, and none runs in this browser.")
    expect(page.frame_locator("#right iframe").get_by_role("heading", name="The Banquet")).to_be_visible()
    page.get_by_label("At the left", exact=True).select_option("output:table.csv")
    page.locator("#left").get_by_role("button", name="Show").click()
    expect(page.frame_locator("#left iframe").get_by_role("cell", name="roast 1", exact=True)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download figures/1.png").click()
    assert download.value.path().read_bytes() == picture()
    page.context.close()


def test_a_pdf_and_a_picture_come_from_s3(stage: Stage, seaweed: Seaweed, tmp_path: Path) -> None:
    """The policy of each names the store's origin; where a bucket lets no page in, a PDF says what to do."""
    settings = seaweed.settings(f"view/{tmp_path.name}")
    with serving(tmp_path / "data", **settings, litestream_disabled="true") as server:
        with server.client() as client:
            job = illustrated(Scene(client))
        context = stage.browser.new_context(base_url=server.url)
        complaints: list[str] = []
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        form = {"token": server.token, "next": "/"}
        context.request.post("/login", form=form, headers={"Origin": server.url}, max_redirects=0)
        page = context.new_page()
        answer = page.goto(f"/jobs/{job}/view?right=output:figures/1.png")
        assert answer is not None
        assert f"connect-src 'self' {seaweed.endpoint};" in answer.headers["content-security-policy"]
        expect(page.frame_locator("#left iframe").get_by_role("img", name="Page 1 of 3")).to_be_visible()
        shown = page.frame_locator("#right iframe").get_by_role("img")
        expect(shown).to_be_visible()
        assert shown.evaluate("each => each.decode().then(() => each.naturalWidth)") == 240
        assert complaints == []
        rule = {"AllowedOrigins": ["https://elsewhere.example"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
        seaweed.client().put_bucket_cors(Bucket=seaweed.bucket, CORSConfiguration={"CORSRules": [rule]})
        try:
            refused = page.locator("#left", has_text="blobforge doctor says what to set")
            for _ in range(MOST_RELOADS):  # the store heeds it after a moment, and a browser keeps what it has got
                page.reload()
                with suppress(NotShown):
                    refused.wait_for(timeout=5_000)
                    break
            expect(refused).to_be_visible()
        finally:
            seaweed.client().delete_bucket_cors(Bucket=seaweed.bucket)
        context.close()
