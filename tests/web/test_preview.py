"""Strangers' outputs as HTML: nothing in it runs, loads, or leads astray."""

from __future__ import annotations

import html
import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import accepted_key
from tests.dashboard.scene import picture
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem
from web.pictures import dimensions
from web.preview import MOST_BYTES, TAGS, Preview, kind_of, markdown, preview
from web.structured import MOST_COLUMNS, MOST_ROWS

ATTRIBUTES = {"a": {"href", "title", "rel", "target"}, "ol": {"start"}, "td": {"align"}, "th": {"align"}}


class Audit(HTMLParser):
    """Fails on any tag, attribute or address that a preview must not have."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES.get(tag, set()), (tag, name)
            if name == "href":
                assert re.match(r"(https?|mailto):", value or ""), value
        if tag == "a":
            given_ = dict(attrs)
            assert given_.get("rel") == "noopener noreferrer nofollow"
            assert given_.get("target") == "_blank"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)


def audited(html: str) -> str:
    parser = Audit()
    parser.feed(html)
    parser.close()
    return html


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![tracker](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x)",
    "[click](//evil.example/)",
    "[click](/do/jobs/cancel)",
    "[click](file:///etc/passwd)",
    "<a href='javascript:alert(1)'>x</a>",
    "<javascript:alert(1)>",
    "[a](<javascript:alert(1)>)",
    "[x]: javascript:alert(1)\n\n[x]",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<iframe src=https://evil.example></iframe>",
    "<form action=/do/jobs/cancel method=post><button>x</button></form>",
    "<style>*{display:none}</style>",
    "<base href=https://evil.example>",
    "<!-- --><script>x</script>",
    "```html\n</code></pre><script>alert(1)</script>\n```",
    '[x](https://a.example "onmouseover=alert(1)")',
    '[x](https://a.example/"onmouseover="alert(1))',
    "| a | b |\n| --- | --- |\n| <script>x</script> | ![y](z) |",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#x3c;script&#x3e;",
    "\u202e txt.exe <bdo dir=rtl>",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_markdown(number: int) -> None:
    html = audited(markdown(HOSTILE[number]))
    assert "<script" not in html
    assert "<img" not in html


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([*HOSTILE, "\n", " ", "*", "`", "[", "](", ")", ">", "# ", "- ", "|", "<", "&"]), max_size=12
    )
)
def test_hostile_markdown_in_any_combination(parts: list[str]) -> None:
    audited(markdown("".join(parts)))


GOOD = """# Title

Some *text* and `code`, [a link](https://example.org/a?b=1&c=2).

| a | b |
|:-|-:|
| 1 | 2 |

~~gone~~
"""


def test_good_markdown_is_rendered() -> None:
    html = audited(markdown(GOOD))
    for piece in ("<h1>Title</h1>", "<em>text</em>", "<code>code</code>", "<table>", "<s>gone</s>"):
        assert piece in html
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html


def test_what_is_not_rendered_stays_readable() -> None:
    assert "&lt;b&gt;bold&lt;/b&gt;" in audited(markdown("<b>bold</b>"))
    assert 'href="https://example.org/x.png"' in audited(markdown("![a chart](https://example.org/x.png)"))


@pytest.mark.parametrize("text", ["> " * 5000, "[" * 20_000, "*" * 60_000, "- " * 3000, "`" * 50_000, "![" * 20_000])
def test_hostile_nesting_is_bounded(text: str) -> None:
    """In time and in depth: a tree of ten thousand levels would stop the browser."""
    html = audited(markdown(text))
    deepest = depth = 0
    for tag in re.findall(r"<(/?)(?:blockquote|ul|ol|li|em|strong)\b", html):
        depth += -1 if tag else 1
        deepest = max(deepest, depth)
    assert deepest <= 100


@pytest.mark.parametrize(
    ("content_type", "name", "kind"),
    [
        ("text/markdown; charset=utf-8", "a.bin", "markdown"), ("application/octet-stream", "a.MD", "markdown"),
        (None, "notes.md", "markdown"), ("text/plain", "notes.md", "markdown"), ("text/plain", "a", "text"),
        ("text/html", "a.md", "text"), ("application/json", "a", "json"), ("image/svg+xml", "a.svg", "text"),
        (None, "a.csv", "table"), (None, "a.pdf", "pdf"), (None, "a", None), ("application/pdf", "a.md", "pdf"),
        ("image/png", "a.txt", "image"), ("", "a.txt", "text"), ("text/plain", "a.json", "json"),
        ("text/csv", "a", "table"), (None, "a.JPG", "image"), ("text/plain", "a.png", "text"),
        ("application/geo+json", "a", "json"), (None, "a.jsonl", "text"), ("image/tiff", "a.png", None),
    ],
)  # fmt: skip
def test_what_is_shown_as_what(content_type: str | None, name: str, kind: str | None) -> None:
    assert kind_of(content_type, name) == kind


def show(
    data: bytes, *, size: int | None = None, content_type: str | None = "text/plain", name: str = "a.txt"
) -> Preview:
    return preview(data, size=len(data) if size is None else size, content_type=content_type, filename=name)


def test_text_is_escaped() -> None:
    found = show(b"<script>alert(1)</script> & \xe2\x82\xac")
    assert found.html == "<pre>&lt;script&gt;alert(1)&lt;/script&gt; &amp; €</pre>"
    assert (found.kind, found.cut, found.reason) == ("text", False, None)


def test_what_is_cut_says_so_and_loses_no_more_than_a_letter() -> None:
    data = ("x" * 9 + "€").encode()[:10]
    found = show(data, size=5000)
    assert (found.html, found.cut) == (f"<pre>{'x' * 9}</pre>", True)


@pytest.mark.parametrize(
    ("data", "fields", "words"),
    [
        (b"\xff\xfe\x00", {}, "not UTF-8"), (b"a\0b", {}, "not UTF-8"), (b"", {}, "empty"),
        (b"PK", {"content_type": "application/zip"}, "this is application/zip"),
        (b"x", {"content_type": None, "name": "x.tar.gz"}, "this is .gz"),
        (b"x", {"content_type": None, "name": "x"}, "a file without ending"),
    ],
)  # fmt: skip
def test_no_preview_has_a_reason(data: bytes, fields: dict[str, Any], words: str) -> None:
    found = show(data, **fields)
    assert not found.html
    assert words in (found.reason or "")


# ------------------------------------------------------------------ over HTTP


async def converted(
    local: LocalServer, data: bytes, result: dict[str, Any] | None = None, kind: str | None = None
) -> None:
    await local.register()
    await local.submit(source_path="/in/report.pdf")
    grant = await local.claim()

    async def chunks() -> Any:
        yield data

    store: Any = local.parts.services.objects
    await store.receive(grant["output_key"], chunks(), max_size=1 << 30, content_type=kind)
    body = {"worker_id": "w1", "output_key": grant["output_key"], "result": result}
    status, answer = await local.call("POST", "/api/jobs/1/complete", body)
    assert status == 200, answer


async def previewed(local: LocalServer) -> Any:
    status, answer = await local.call("GET", "/api/jobs/1/preview")
    assert status == 200, answer
    return answer


async def test_the_preview_of_a_job(local: LocalServer, autojump_clock: Any) -> None:
    await converted(local, b"# Hello\n\n<script>x</script>", {"filename": "report.md"})
    found = await previewed(local)
    assert (found["kind"], found["cut"], found["reason"]) == ("markdown", False, None)
    assert audited(found["html"]).startswith("<h1>Hello</h1>")


async def test_only_the_beginning_is_read(local: LocalServer, autojump_clock: Any) -> None:
    await converted(local, b"line\n" * 200_000, kind="text/plain")
    found = await previewed(local)
    assert found["cut"] is True
    assert len(found["html"]) == MOST_BYTES + len("<pre></pre>")


async def test_what_a_job_without_a_preview_says(local: LocalServer, autojump_clock: Any) -> None:
    assert_problem(await local.call("GET", "/api/jobs/1/preview"), 404, "no-such-job")
    await local.submit()
    assert (await previewed(local))["reason"] == "There is no output: the job is pending."
    await local.call("POST", "/api/jobs/1/cancel")


async def test_an_output_that_is_gone_or_cannot_be_asked_for(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await converted(local, b"text", kind="text/plain")
    store: Any = local.parts.services.objects

    async def silent(*_: object, **__: object) -> None:
        raise ObjectStoreError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(store, "head", silent)
        assert (await previewed(local))["reason"] == "The object store does not answer; try again later."
    for key in (local.key(1), accepted_key(local.parts.installation, local.key(1))):
        await store.delete(key)
    assert (await previewed(local))["reason"] == "Job 1 (completed) has no output in the store."


def test_the_largest_preview_is_quick() -> None:
    """Not by the clock of a busy machine: only that it does not grow out of hand."""
    text = "Some *text* with [a link](https://example.org) and `code`.\n\n" * (MOST_BYTES // 60)
    began = time.process_time()
    markdown(text)
    assert time.process_time() - began < 20


def test_a_long_address_is_not_written_out_ten_thousand_times() -> None:
    """256 KiB of Markdown became gigabytes of HTML."""
    head = "[a]: http://example.org/" + "u" * 20_000 + "\n\n"
    text = head + "[a] " * ((MOST_BYTES - len(head)) // 4)
    found = preview(text.encode(), size=len(text), content_type="text/markdown", filename="x.md")
    assert found.html is None
    assert found.reason is not None
    assert "links" in found.reason


# ------------------------------------------------------------------ JSON, tables, pictures


def test_json_is_indented_as_it_was_written() -> None:
    found = show(b'{"a":1e5,"b":["<script>",1.0]}', content_type=None, name="a.json")
    assert found.kind == "json"
    assert html.unescape(found.html or "") == '<pre>{\n  "a": 1e5,\n  "b": [\n    "<script>",\n    1.0\n  ]\n}</pre>'
    assert "<script>" not in (found.html or "")


@pytest.mark.parametrize(
    "text",
    ['{"a":', "[" * 100_000, "[" * 65 + "]" * 65, "}{", '{"a":1}\n{"a":2}', '"' + '\\"' * 100_000, '["\\'],
    ids=["begun", "deep", "just too deep", "wrong way", "lines", "a string without an end", "half a sign"],
)
def test_what_is_no_json_or_too_deep_is_text(text: str) -> None:
    assert show(text.encode(), content_type="application/json").html == f"<pre>{html.escape(text)}</pre>"


def test_what_looks_like_a_structure_within_a_string_is_none() -> None:
    assert show(json.dumps(["[" * 100 + '"' + "{" * 100]).encode(), content_type="application/json").kind == "json"


def test_json_that_is_much_longer_when_it_is_indented_is_text() -> None:
    text = "[" * 64 + "0," * 40_000 + "0" + "]" * 64
    assert show(text.encode(), content_type="application/json").html == f"<pre>{text}</pre>"


def test_json_that_is_cut_is_text() -> None:
    found = show(b'{"a": [1, 2', size=5000, content_type="application/json")
    assert (found.kind, found.cut, found.html) == ("text", True, "<pre>{&quot;a&quot;: [1, 2</pre>")


def test_a_table_of_csv_is_its_text_and_no_formula() -> None:
    found = show(b'a,b\n"<img src=x>\n=2","=HYPERLINK(""x"")"\n\n3', content_type="text/csv")
    assert (found.kind, found.cut) == ("table", False)
    assert found.html == (
        '<table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead><tbody>'
        "<tr><td>&lt;img src=x&gt;\n=2</td><td>=HYPERLINK(&quot;x&quot;)</td></tr><tr><td>3</td></tr></tbody></table>"
    )
    for data, name in ((b"a;b\n1,5;2", "x.csv"), (b"a\tb\n1,5\t2", "x.tsv")):
        assert "<td>1,5</td><td>2</td>" in (show(data, content_type=None, name=name).html or "")


def test_a_table_is_bounded_and_says_so() -> None:
    rows = "\n".join(["x," * MOST_COLUMNS + "y" * 999] * (MOST_ROWS + 9))
    found = show(rows.encode(), content_type="text/csv")
    assert found.html is not None
    assert (found.cut, found.html.count("<tr>"), "yy" in found.html) == (True, MOST_ROWS, False)
    assert "…" in (show(b"a\n" + b"y" * 999, content_type="text/csv").html or "")
    # The last row of what goes on may be half a row.
    found = show(b"a,b\n1,2\n3,", size=5000, content_type="text/csv")
    assert found.html is not None
    assert (found.cut, "3" in found.html) == (True, False)
    # A cell beyond all bounds: it is shown as the text that it is.
    assert show(b'"' + b"x" * 200_000, content_type="text/csv").kind == "text"


IMAGE = b",\1\0\2\0\x08\0\4\0\0"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xff\xc2\x00\x11\x08\x01\x02\x03\x04" + bytes(9)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (picture(300, 2), (300, 2)),
        (b"GIF89a\x0a\x00\x05\x00\0\0\0" + IMAGE, (10, 6)),
        (b"GIF87a\1\0\1\0\x81\0\0" + bytes(12) + b"!\xf9\4abcd\0!\xfe\1x\2yz\0" + IMAGE, (9, 6)),
        (JPEG, (0x304, 0x102)),
        (b"RIFF____WEBPVP8X" + bytes(8) + b"\x63\x00\x00\x31\x00\x00", (100, 50)),
        (b"RIFF____WEBPVP8L" + bytes(4) + b"\x2f\x63\x40\x0c\x00", (100, 50)),
        (b"RIFF____WEBPVP8 " + bytes(10) + b"\x64\x00\x32\x00", (100, 50)),
        (b"<svg onload=alert(1)>", None), (b"", None), (JPEG[:25], None), (b"GIF89a\0\0\0\0\0\0\0" + IMAGE, None),
        (b"GIF89a\1\0\1\0\0\0\0;", None), (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\xff" * 999, None),
        (b"GIF89a\1\0\1\0\0\0\0" + IMAGE[:8], None), (b"GIF89a\1\0\1\0", None),
        # Sizes of what is another kind of picture, or none, are not asked for.
        (b'<svg width="3" height="3">', None), (b'<?xml?><svg width="3" height="3">', None), (b"P6 3 3 ", None),
        (b"BM" + bytes(16) + b"\3\0\0\0\3\0\0\0", None), (b"GIF89a\xff\xff\xff\xff", None),
        (b"II*\0\x08\0\0\0" + bytes(60), None), (b"RIFF____WAVE" + bytes(40), None),
        (b"\xff\xd8" + b"\xff\xd8" * 9, None), (b"\x89PNG\r\n\x1a\n", None), (b"RIFF____WEBPVP8L", None),
    ],
)  # fmt: skip
def test_the_size_of_a_picture_is_in_its_beginning(data: bytes, size: tuple[int, int] | None) -> None:
    assert dimensions(data) == size


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_bytes_break_it(data: bytes) -> None:
    for head in (b"", b"\xff\xd8\xff", b"RIFF____WEBPVP8", b"\x89PNG\r\n\x1a\n", b"GIF89a\1\0\1\0"):
        found = dimensions(head + data)
        assert found is None or min(found) > 0


@pytest.mark.parametrize("segment", [b"\0", b"\xff", b"\xff\xd0", b"\xff\xe0\0\2", b"\xff\xe0\xff\xff"])
def test_no_beginning_keeps_its_reader_busy(segment: bytes) -> None:
    began = time.process_time()
    assert dimensions(b"\xff\xd8" + segment * (MOST_BYTES // len(segment))) is None
    assert time.process_time() - began < 5


def test_a_picture_or_a_pdf_is_shown_if_it_is_one_and_of_a_size_that_can_be() -> None:
    assert show(picture(), content_type="image/png") == Preview("image")
    assert show(b"x%PDF-1.7", content_type=None, name="a.pdf") == Preview("pdf")
    bomb = picture(2, 2).replace(b"\0\0\0\x02" * 2, b"\0\0\xff\xff" * 2)
    for data, size, kind, words in (
        (bomb, 99, "image/png", "65,535 by 65,535 pixels"), (picture(), 1 << 30, "image/png", "more than 16 MiB"),
        (b"<html>", 6, "image/png", "not the picture"), (b"<html>", 6, "application/pdf", "not the PDF"),
        (b"%PDF-1.7", 1 << 30, "application/pdf", "more than 64 MiB"),
        (JPEG[:25], 1 << 20, "image/jpeg", "how large it is does not stand at its beginning"),
    ):  # fmt: skip
        found = show(data, size=size, content_type=kind)
        assert words in (found.reason or ""), kind
