"""What a browser may do on a page of ours (`Content-Security-Policy`). Nothing inline, nothing from another host."""

from __future__ import annotations

from urllib.parse import urlsplit

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; frame-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PAGES = _POLICY.format("'self'")
# Of the worker that hashes files: what compiles WebAssembly is allowed there, and on no page.
HASHING = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"


def with_store(url: str) -> str:
    """That of a page which sends files to this URL's origin, too; one of ours has no origin of its own."""
    parts = urlsplit(url)
    return _POLICY.format(f"'self' {parts.scheme}://{parts.netloc}") if parts.netloc else PAGES
