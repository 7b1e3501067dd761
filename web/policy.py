"""What a browser may do on a page of ours (`Content-Security-Policy`). Nothing inline, nothing from another host."""

from __future__ import annotations

from urllib.parse import urlsplit

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; frame-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PAGES = _POLICY.format("'self'")
# What strangers have made is a document of its own in a sandboxed frame of ours: no script, no form, nothing loaded.
_FRAME = "default-src 'none'; style-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
FRAMES = f"sandbox; {_FRAME}"
# Of the frame in which a PDF is drawn: it has no origin, and is handed the bytes. It may load what belongs to PDF.js.
PDF = (
    f"sandbox allow-scripts; {_FRAME}; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; connect-src 'self'; "
    "img-src blob: data:; font-src blob: data:"
)
# Of the worker that hashes files: what compiles WebAssembly is allowed there, and on no page.
HASHING = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"


def with_store(url: str) -> str:
    """That of a page which sends files to this URL's origin, or fetches them there; one of ours has no origin of its
    own."""
    return _POLICY.format(_places(url))


def with_picture(url: str) -> str:
    """That of a frame with one picture from this URL's origin, and no script. The embedded store gives a picture to a
    document of its own origin only."""
    return f"sandbox allow-same-origin; {_FRAME}; img-src {_places(url)}"


def _places(url: str) -> str:
    parts = urlsplit(url)
    return f"'self' {parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
