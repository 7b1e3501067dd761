"""Strangers' outputs as HTML: nothing in it runs, loads, or leads astray."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import accepted_key
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem
from web.preview import MOST_BYTES, TAGS, Preview, kind_of, markdown, preview

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
        ("text/html", "a.md", "text"), ("application/json", "a", "text"), ("image/svg+xml", "a.svg", "text"),
        (None, "a.csv", "text"), (None, "a.pdf", None), (None, "a", None), ("application/pdf", "a.md", None),
        ("image/png", "a.txt", None), ("", "a.txt", "text"),
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
        (b"%PDF", {"content_type": "application/pdf"}, "this is application/pdf"),
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
