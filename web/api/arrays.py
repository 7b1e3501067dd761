"""Lists that are JSON arrays, as existing clients know them: a `Link` header has the address of the next page. And
the places at which pages begin, for all lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from quart import Response

from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.lists import NEWEST
from web.routing import Call


def place(cursor: str | None, *, of: int) -> tuple[int, ...] | Refusal | None:
    """The `of` numbers that a page's cursor holds; None without a cursor."""
    if cursor is None:
        return None
    numbers = cursor.split("-")
    if len(numbers) != of or not all(each.isascii() and each.isdigit() and len(each) < 20 for each in numbers):
        return Refusal(RefusalCode.INVALID, "cursor: take it from the page before.", field="cursor")
    return tuple(min(int(each), NEWEST) for each in numbers)


def one_page(call: Call, found: Sequence[Any], *, following: str | int | None) -> Response:
    """The answer. `following` is the cursor of the next page; None: this is the last."""
    answer = Response(msgspec.json.encode(found), content_type="application/json")
    if following is not None:
        given = {name: value for name, value in call.request.args.items() if name != "cursor"}
        query = urlencode(given | {"cursor": following})
        answer.headers["Link"] = f'<{call.request.path}?{query}>; rel="next"'
    return answer
