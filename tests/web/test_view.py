"""Source and result of a job side by side: what is asked for, what is there, and in which frame."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from blobforge.objects import ObjectStoreError
from tests.dashboard.scene import picture
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem
from tests.web.test_comparison import page_of
from tests.web.test_files import put
from tests.web.test_outputs import claimed, completed, named
from tests.web.test_preview import converted
from web import policy
from web.dashboard import view

EVIL = '"><img src=x onerror=alert(1)>.md'


async def with_outputs(local: LocalServer, outputs: dict[str, bytes]) -> None:
    grant = await claimed(local)
    _, answer = await named(local, grant, *outputs)
    for each in answer["urls"]:
        assert await put(local, each["url"], outputs[each["name"]]) == 200
    assert (await completed(local, grant, "all"))[0] == 200


def frames(page: str) -> list[str]:
    return re.findall(r'<iframe class="preview" sandbox="allow-same-origin" src="([^"]*)"', page)


async def test_source_and_result_and_any_output_at_either_side(local: LocalServer, autojump_clock: Any) -> None:
    await with_outputs(local, {"a/1.md": b"# One", EVIL: b"evil", "p.png": picture(), "x.pdf": b"%PDF-1.7"})
    page = await page_of(local, "/jobs/1/view")
    assert [each.replace("&amp;", "&") for each in frames(page)] == [
        "/jobs/1/preview?of=output&theme=system",
    ]  # fmt: skip
    assert 'data-pdf="/jobs/1/source"' in page  # of no name: it is what its job's type says
    assert "<img src=x" not in page
    assert 'href="/jobs/1/output?name=a%2F1.md" download' in page
    assert page.count("<summary>Preview</summary>") == 3  # the PDF has none in its row
    # The main output is the first one; a PDF is drawn by the script of the page.
    page = await page_of(local, "/jobs/1/view?left=output:p.png&right=output:x.pdf")
    assert [each.replace("&amp;", "&") for each in frames(page)] == [
        "/jobs/1/preview?of=output&name=p.png&theme=system"
    ]
    assert 'data-pdf="/jobs/1/output?name=x.pdf"' in page
    assert "A PDF is drawn by a script, and none runs in this browser." in page
    assert '<option value="output:p.png" selected>p.png</option>' in page


async def test_each_preview_is_a_document_that_runs_nothing(local: LocalServer, autojump_clock: Any) -> None:
    await with_outputs(local, {EVIL: b"# Evil", "p.png": picture(), "page.html": b"<script>alert(1)</script>"})
    head = {"Authorization": f"Bearer {local.parts.admin_token}"}
    for name, sandbox, words in (
        (EVIL, "sandbox;", b"<h1>Evil</h1>"),
        ("page.html", "sandbox;", b"&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("p.png", "sandbox allow-same-origin;", b'<img src="/jobs/1/output?name=p.png" alt="The output p.png">'),
    ):
        answer = await local.http.get(f"/jobs/1/preview?name={quote(name)}", headers=head)
        said = answer.headers["Content-Security-Policy"]
        assert said.startswith(f"{sandbox} default-src 'none';")
        assert "script-src" not in said
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert words in await answer.get_data(as_text=False)
    frame = (await local.http.get("/jobs/pdf", headers=head)).headers["Content-Security-Policy"]
    assert frame == policy.PDF
    assert frame.startswith("sandbox allow-scripts; default-src 'none'")
    for store in ("https://bucket.example:9000/p/sources/ab?sig=x", "/objects/sources/ab"):
        sources = policy.with_picture(store).partition("img-src ")[2]
        assert sources == ("'self' https://bucket.example:9000" if "bucket" in store else "'self'")


async def test_outputs_by_the_thousand_are_pages_of_a_list(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MOST_LISTED", 2)
    await with_outputs(local, {f"{n}.md": b"# Text" for n in range(5)})
    page, seen = await page_of(local, "/jobs/1/view?right=output:4.md"), []
    while True:
        seen += re.findall(r'<td class="wide lead"><bdi>([^<]*)', page)
        assert '<option value="output:4.md" selected>' in page  # chosen, though it is not on this page
        following = re.search(r'href="([^"#]*)#outputs" rel="next"', page)
        if following is None:
            break
        page = await page_of(local, following[1].replace("&amp;", "&"))
    assert seen == [f"{n}.md" for n in range(5)]
    assert 'href="/jobs/1/view?left=source&amp;right=output%3A4.md#outputs">First page' in page


async def test_what_is_not_there_says_so(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await local.call("GET", "/jobs/9/view"))[0] == 404
    await converted(local, b"# Hello", {"filename": "report.md"})
    page = await page_of(local, "/jobs/1/view?right=former&left=output:none.md")
    assert "Job 1 keeps no former result." in page
    assert "has no output named &#39;none.md&#39;" in page
    assert frames(page) == []
    assert (await local.call("GET", "/jobs/1/view?left=elsewhere"))[0] == 422
    asked = {"Authorization": f"Bearer {local.parts.admin_token}", "HX-Request": "true"}
    answer = await local.http.get("/jobs/1/view?right=former", headers=asked)
    assert answer.headers["HX-Redirect"] == "/jobs/1/view?right=former"
    await local.submit(b"another")
    page = await page_of(local, "/jobs/2/view")
    assert "There is no output: the job is pending." in page
    store: Any = local.parts.services.objects

    async def silent(*_: object, **__: object) -> None:
        raise ObjectStoreError("no answer")

    monkeypatch.setattr(store, "head", silent)
    assert (await page_of(local, "/jobs/1/view")).count("The object store does not answer; try again later.") == 2


async def test_the_preview_of_a_source_in_the_api(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit(b"a,b\n1,2\n", source_path="in/table.csv")
    status, found = await local.call("GET", "/api/jobs/1/preview?of=source")
    assert (status, found["kind"], found["reason"]) == (200, "table", None)
    assert "<td>1</td>" in found["html"]
    await local.submit(picture(), source_path="in/a.png")
    _, found = await local.call("GET", "/api/jobs/2/preview?of=source")
    assert found == {"kind": "image", "html": None, "cut": False, "reason": "It has no HTML: fetch it by its URL."}
    assert_problem(await local.call("GET", "/api/jobs/1/preview?of=all"), 422, "invalid", field="of")
    page = await page_of(local, "/jobs/1")
    assert 'href="/jobs/1/view"' in page
