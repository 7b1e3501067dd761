"""The page on which files are chosen, hashed, and sent straight to the object store; and what a browser without
scripts sends instead, one file at a time through this server."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from io import BytesIO
from typing import Any, NamedTuple

import msgspec
import trio
from quart import Response
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from blobforge.access import Scope
from blobforge.job import DEFAULT_PRIORITY
from blobforge.objects import ObjectStoreError
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal
from web import policy
from web.api import jobs, wire_jobs
from web.api.multipart import store_failed
from web.dashboard.forms import body_of
from web.dashboard.page import Notice, framed, leave, page, refused_notice
from web.routing import Access, Call, Route

NOTHING = "0" * 64  # of which a URL is signed to see where the store is; it is given to no caller
PARTS_ABOVE = 100 << 20  # bytes: a connection that breaks then costs a part, and not the whole
LONGEST_FIELD = 64 * 1024  # bytes
MOST_TYPES = 200  # that are offered; any other can be written


def store_url(call: Call) -> str:
    """A URL of the object store; relative where the server serves it itself. It is for policies: only its origin
    counts."""
    return call.services.objects.sign_upload(source_key(NOTHING), expires_in=1).url


async def shown(call: Call) -> Response:
    if "HX-Request" in call.request.headers:
        # It has a policy of its own, which a browser takes from a page that it loads itself.
        return Response("", headers={"HX-Redirect": "/submit", "Cache-Control": "no-store"})
    totals, types = await framed(call, lambda reader: reader.types.names())
    store = store_url(call)
    response = await page(
        call, "submit.html", title="Submit", place="/submit", totals=totals, local=store.startswith("/"),
        types=types[:MOST_TYPES] if totals is not None else [], default=DEFAULT_PRIORITY,
        parts_above=PARTS_ABOVE, largest=call.services.settings.max_result,
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = policy.with_store(store)
    return response


class _Sent(NamedTuple):
    """What the form has: its fields, and the file that was chosen."""

    fields: dict[str, list[str]]
    name: str
    content: bytes


async def sent(call: Call) -> Response:
    """The form of a browser that runs no script: hashed and stored here."""
    kind = call.request.headers.get("Content-Type") or ""
    form = await trio.to_thread.run_sync(_read, call.raw, kind)
    if form is None:
        return _again(call, "No file was chosen, and nothing was submitted.")
    if any("\0" in value for values in form.fields.values() for value in values):
        return _again(call, "The form holds a NUL character, and nothing was submitted.")
    digest = await trio.to_thread.run_sync(lambda: hashlib.sha256(form.content).hexdigest())
    fields = {name: values for name, values in form.fields.items() if name in ("type", "priority") or any(values)}
    if "tags" in fields:
        fields["tags"] = [each for tag in fields["tags"][-1].split(",") if (each := tag.strip())]
    options = fields.pop("options", None)
    source = {"source_hash": [digest], "source_path": [form.name], "source_size": [str(len(form.content))]}
    body = body_of(fields | source, wire_jobs.SubmitBody)
    if isinstance(body, Refusal):
        return leave(call, "/submit", refused_notice(body))
    if options is not None:
        try:
            body = msgspec.structs.replace(body, options=msgspec.json.decode(options[-1], type=dict[str, Any]))
        except msgspec.DecodeError:
            return _again(call, 'The options are no JSON object, as {"language": "fr"}; nothing was submitted.')
    outcome = await jobs.submit(call, body)
    if isinstance(outcome, Refusal):
        return leave(call, "/submit", refused_notice(outcome))
    _, submitted = outcome
    there = await _store(call, submitted, digest, form.content)
    if isinstance(there, Refusal):
        return leave(call, "/submit", refused_notice(there))
    number = submitted.job_id
    said = f"Job {number} was there already." if submitted.existing else f"Submitted: job {number}."
    # A caller that may submit need not be one that may read.
    return leave(call, f"/jobs/{number}" if call.caller.may(Scope.READ) else "/submit", Notice(said))


def _read(raw: bytes, kind: str) -> _Sent | None:
    """None: there is no file in it."""
    mimetype, options = parse_options_header(kind)
    parser = FormDataParser(_in_memory, max_form_memory_size=LONGEST_FIELD, max_form_parts=20)
    _, fields, files = parser.parse(BytesIO(raw), mimetype, len(raw), options)
    file = files.get("file")
    if file is None or not file.filename:
        return None
    return _Sent({name: fields.getlist(name) for name in fields}, file.filename, file.stream.read())


def _in_memory(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> BytesIO:
    """Where the file is put: a body of bounded size is in memory anyway."""
    return BytesIO()


async def _store(call: Call, job: wire_jobs.SubmitAnswer, digest: str, content: bytes) -> Refusal | None:
    if job.upload_url is None:
        return None
    try:
        await call.services.objects.put_own(source_key(digest), content)
    except ObjectStoreError as error:
        return store_failed(error)
    stands = await jobs.uploaded(replace(call, params={"job_id": job.job_id}))
    return stands if isinstance(stands, Refusal) else None


def _again(call: Call, why: str) -> Response:
    return leave(call, "/submit", Notice(why, bad=True))


ROUTES = [
    Route("POST", "/do/jobs", Access.SUBMIT, sent, "Submit a file without a script", gives=str, page=True,
          hidden=True, large=True),
    Route("GET", "/submit", Access.SUBMIT, shown, "The page to submit files on", gives=str, page=True),
]  # fmt: skip
