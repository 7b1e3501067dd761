"""Style sheets, scripts and icons. State owned here: their bytes, read once at the start, and compressed when
first asked for.

Every address carries the hash of what it leads to, so that browsers may keep it for ever and a new release is never
seen with old scripts.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable

from quart import Request, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from blobforge.machinery.hop import in_thread
from web import policy
from web.html import takes_gzip

KNOWN = "public, max-age=31536000, immutable"
UNKNOWN = "no-cache"
HASHER = "hasher.js"  # a worker, whose policy is its own and not that of the page
SERVED = {".css", ".js", ".mjs", ".svg", ".png", ".wasm"}
# What the frame of a PDF loads. It has no origin, so that to a browser each of these is another's.
FOR_FRAMES = {"vendor/pdf.min.mjs", "vendor/pdf.worker.min.mjs", "vendor/jbig2.wasm", "vendor/openjpeg.wasm"}


class Asset:
    """One file: its bytes, the same compressed, its type and the first digits of its hash."""

    def __init__(self, plain: bytes, type_: str) -> None:
        self.plain = plain
        self.type = type_
        self.tag = hashlib.sha256(plain).hexdigest()[:12]

    @cached_property
    def packed(self) -> bytes:
        """The largest take a quarter of a second: it is done when the file is first asked for."""
        return gzip.compress(self.plain, 9, mtime=0)


class Assets:
    """All files below `static`."""

    def __init__(self) -> None:
        root = resources.files("web.dashboard") / "static"
        self._assets = dict(_read(root, ""))

    def url(self, name: str) -> str:
        """The address for a page. Raises KeyError for a file that is not there: a bug in a template."""
        return f"/static/{name}?v={self._assets[name].tag}"

    async def serve(self, name: str, asked: Request) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound
        headers = {
            "Cache-Control": KNOWN if asked.args.get("v") == asset.tag else UNKNOWN,
            "ETag": f'"{asset.tag}"',
            "Vary": "Accept-Encoding",
        }
        if name == HASHER:
            headers["Content-Security-Policy"] = policy.HASHING
        if name in FOR_FRAMES:
            headers["Access-Control-Allow-Origin"] = "*"
        if asset.tag in asked.headers.get("If-None-Match", ""):
            return Response("", 304, headers=headers, content_type=asset.type)
        body = asset.plain
        if takes_gzip(asked.headers.get("Accept-Encoding")):
            headers["Content-Encoding"] = "gzip"
            body = await in_thread(lambda: asset.packed)
        return Response(body, headers=headers, content_type=asset.type)

    def install(self, app: QuartTrio) -> None:
        """Serve the files, and let templates name them."""

        async def static(name: str) -> Response:
            return await self.serve(name, request._get_current_object())  # type: ignore[attr-defined]

        app.add_url_rule("/static/<path:name>", "static", static, methods=["GET"])
        app.jinja_env.globals["asset"] = self.url


def _read(folder: Traversable, prefix: str) -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            found += _read(entry, name + "/")
        elif any(name.endswith(suffix) for suffix in SERVED):
            plain = entry.read_bytes()
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            text = kind.startswith("text/") or kind.endswith(("javascript", "svg+xml"))
            found.append((name, Asset(plain, f"{kind}; charset=utf-8" if text else kind)))
    return found
