"""The beginning of a file as HTML that is safe to show: Markdown rendered, JSON indented, CSV as a table, text
escaped; whether a picture or a PDF can be shown; anything else not at all.

What a worker uploads are strangers' bytes. Markdown is rendered without raw HTML, and what comes out goes through an
allow-list once more (nh3): no script, no style, no form, no frame, nothing that is loaded from anywhere (an image
stays a link), and links that tell the other side nothing. The page shows it in a sandboxed frame besides.

State owned here: whose turn it is (`Previews`). All else is pure, bytes in, HTML out: a large document takes a second
of computing, and the server has other things to do.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import cache, partial
from pathlib import PurePosixPath
from typing import TypeVar

import msgspec
import nh3
import trio
from markdown_it import MarkdownIt

from blobforge.machinery.hop import Hop, in_thread
from web import pictures, structured

T = TypeVar("T")

MOST_BYTES = 256 * 1024  # of an output that are looked at
MOST_PDF = 64 * 1024 * 1024
MOST_HREFS = 1 << 20  # characters of all links together: a long address is written out wherever it is referred to
MOST_NESTING = 20  # levels; a page of nothing but `>` would be a deep tree for the browser
MARKDOWN_TYPES = frozenset({"text/markdown", "text/x-markdown"})
MARKDOWN_ENDINGS = frozenset({".md", ".markdown", ".mdown", ".mkd"})
TEXT_ENDINGS = frozenset(
    {".txt", ".text", ".log", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".srt", ".vtt",
     ".rst", ".tex", ".toml", ".ini", ".html", ".htm", ".svg"}
)  # fmt: skip
TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml", "application/x-ndjson"})
TABLE_TYPES = frozenset({"text/csv", "text/tab-separated-values"})
TABLE_ENDINGS = frozenset({".csv", ".tsv"})
PICTURE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
UNTOLD_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream"})  # the upload said nothing
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


class Preview(msgspec.Struct, frozen=True):
    """`kind` is `markdown`, `text`, `json`, `table`, `image` or `pdf`; without HTML, `reason` says why. `cut`:
    there is more of it. A picture or a PDF has no HTML; without a `reason`, it can be shown."""

    kind: str | None = None
    html: str | None = None
    cut: bool = False
    reason: str | None = None


class Previews:
    """Makes previews in a thread, one at a time."""

    def __init__(self, *, hop: Hop | None = None) -> None:
        self._hop = hop or in_thread
        self._turn = trio.Lock()

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Run something that takes long in the thread, in turn."""
        async with self._turn:
            return await self._hop(work)

    async def show(self, data: bytes, *, size: int, content_type: str | None, filename: str) -> Preview:
        """Run `preview` in the thread, in turn."""
        return await self.in_turn(partial(preview, data, size=size, content_type=content_type, filename=filename))


def preview(data: bytes, *, size: int, content_type: str | None, filename: str) -> Preview:
    """Show the beginning of an object of `size` bytes, of which `data` are the first."""
    kind = kind_of(content_type, filename)
    if kind is None:
        declared = (content_type or "").partition(";")[0].strip()
        ending = PurePosixPath(filename).suffix or "a file without ending"
        what = declared if declared.lower() not in UNTOLD_TYPES else ending
        return Preview(reason=f"There is a preview of text, tables, pictures and PDF only; this is {what[:100]}.")
    if size == 0:
        return Preview(kind, "", reason="The file is empty.")
    if kind == "image":
        return Preview(kind, reason=pictures.why_not(data, size))
    if kind == "pdf":
        return Preview(kind, reason=_no_pdf(data, size))
    cut = size > len(data)
    text = _text(data, cut=cut)
    if text is None:
        return Preview(reason="There is no preview: the file says that it is text, and is not UTF-8.")
    if kind == "markdown":
        rendered = markdown(text)
        if rendered is None:
            return Preview(reason="There is no preview: with its links written out, it is too large to show.")
        return Preview(kind, rendered, cut)
    if kind == "json" and not cut and (shown := structured.indented(text)) is not None:
        return Preview(kind, shown)
    tabs = filename.lower().endswith(".tsv") or "tab-separated" in (content_type or "")
    if kind == "table" and (found := structured.table(text, tabs=tabs, cut=cut)) is not None:
        return Preview(kind, *found)
    return Preview("text", f"<pre>{html.escape(text)}</pre>", cut)


def kind_of(content_type: str | None, filename: str) -> str | None:
    """The kind of preview, or None. The name decides where the upload said no more than that it is text."""
    declared = (content_type or "").partition(";")[0].strip().lower()
    ending = PurePosixPath(filename).suffix.lower()
    if declared in MARKDOWN_TYPES:
        return "markdown"
    if declared in UNTOLD_TYPES or declared == "text/plain":
        if ending in MARKDOWN_ENDINGS:
            return "markdown"
        if ending in TABLE_ENDINGS:
            return "table"
        if ending == ".json":
            return "json"
        if declared == "text/plain":
            return "text"
        if ending in PICTURE_ENDINGS:
            return "image"
        return "pdf" if ending == ".pdf" else "text" if ending in TEXT_ENDINGS else None
    if declared in PICTURE_TYPES:
        return "image"
    if declared == "application/pdf":
        return "pdf"
    if declared in TABLE_TYPES:
        return "table"
    if declared == "application/json" or declared.endswith("+json"):
        return "json"
    # HTML is text, too, and is shown as its source.
    return (
        "text"
        if declared.startswith("text/") or declared in TEXT_TYPES or declared.endswith(("+json", "+xml"))
        else None
    )


def _no_pdf(data: bytes, size: int) -> str | None:
    """Why it is not shown, or None. Its header is somewhere in the first 1,024 bytes (ISO 32000-1, annex H)."""
    if size > MOST_PDF:
        return f"The PDF is too large to be shown here: more than {MOST_PDF >> 20} MiB."
    return None if b"%PDF-" in data[:1024] else "This is not the PDF that its name or its media type says."


def _text(data: bytes, *, cut: bool) -> str | None:
    """The bytes as text, or None when they are none. A letter that is cut in two at the end is left out."""
    if b"\0" in data:
        return None
    for fewer in range(4 if cut else 1):
        try:
            return data[: len(data) - fewer].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    return None


def markdown(text: str) -> str | None:
    """Markdown as HTML with nothing in it that runs, loads or leads astray; None if that is out of all proportion."""
    env: dict[str, object] = {}
    tokens = _renderer().parse(text, env)
    inline = (token for block in tokens for token in block.children or ())
    if sum(len(str(value)) for token in inline for value in token.attrs.values()) > MOST_HREFS:
        return None
    rendered = _renderer().renderer.render(tokens, _renderer().options, env)
    return nh3.clean(
        rendered,
        tags=TAGS,
        clean_content_tags={"script", "style"},
        attributes={"a": {"href", "title"}, "ol": {"start"}, "td": {"align"}, "th": {"align"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_relative="deny",
    )


@cache
def _renderer() -> MarkdownIt:
    """CommonMark with tables and strikethrough; raw HTML is shown as text, images are not loaded."""
    renderer = MarkdownIt("commonmark", {"html": False, "maxNesting": MOST_NESTING})
    renderer.enable(["table", "strikethrough"]).disable("image")
    return renderer
