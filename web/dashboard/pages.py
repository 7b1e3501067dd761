"""The pages. So far one: who is signed in, and how the queue stands."""

from __future__ import annotations

from quart import Response, render_template

from blobforge.access import Scope
from blobforge.refusals import Refusal
from web.auth.login import sign_in_first
from web.routing import Access, Call, Route


async def home(call: Call) -> Response:
    caller = await call.services.sessions.caller(call.request)
    if caller is None or isinstance(caller, Refusal):
        return sign_in_first(call)
    jobs: list[tuple[str, int]] = []
    if caller.may(Scope.READ):
        stats = await call.services.reads.run(lambda reader: reader.stats(now=call.services.now()))
        jobs = [(str(status), n) for status, n in stats.jobs.items()]
    text = await render_template("home.html", name=caller.name, admin=caller.is_admin, jobs=jobs)
    return Response(text, content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})


ROUTES = [Route("GET", "/", Access.PUBLIC, home, "The dashboard; sends to the sign-in page first", gives=str)]
