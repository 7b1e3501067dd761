"""The page on which files are chosen, hashed, and sent straight to the object store."""

from __future__ import annotations

from quart import Response

from blobforge.job import DEFAULT_PRIORITY
from blobforge.objects.keys import source_key
from web import policy
from web.dashboard.page import framed, page
from web.routing import Access, Call, Route

NOTHING = "0" * 64  # of which a URL is signed to see where the store is; it is given to no caller
PARTS_ABOVE = 100 << 20  # bytes: a connection that breaks then costs a part, and not the whole
MOST_TYPES = 200  # that are offered; any other can be written


async def shown(call: Call) -> Response:
    if "HX-Request" in call.request.headers:
        # It has a policy of its own, which a browser takes from a page that it loads itself.
        return Response("", headers={"HX-Redirect": "/submit", "Cache-Control": "no-store"})
    objects = call.services.objects
    stats, _ = await framed(call, lambda reader: None)
    store = objects.sign_upload(source_key(NOTHING), expires_in=1).url
    response = await page(
        call, "submit.html", title="Submit", place="/submit", stats=stats, local=store.startswith("/"),
        types=sorted(stats.by_type)[:MOST_TYPES] if stats is not None else [], default=DEFAULT_PRIORITY,
        parts_above=PARTS_ABOVE,
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = policy.with_store(store)
    return response


ROUTES = [
    Route("GET", "/submit", Access.SUBMIT, shown, "The page to submit files on", gives=str, page=True),
]  # fmt: skip
