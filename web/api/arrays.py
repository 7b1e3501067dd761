"""Lists that are JSON arrays, as existing clients know them. A `Link` header has the address of the next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from quart import Response

from web.routing import Call


def one_page(call: Call, found: Sequence[Any], *, following: str | int | None) -> Response:
    """The answer. `following` is the cursor of the next page; None: this is the last."""
    answer = Response(msgspec.json.encode(found), content_type="application/json")
    if following is not None:
        given = {name: value for name, value in call.request.args.items() if name != "cursor"}
        query = urlencode(given | {"cursor": following})
        answer.headers["Link"] = f'<{call.request.path}?{query}>; rel="next"'
    return answer
