"""Source and result of a job side by side, each in a frame that runs nothing of it, and the list of its outputs."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import quote, urlencode

import msgspec
from markupsafe import Markup
from msgspec import Meta
from msgspec.structs import replace
from quart import Response

from blobforge.job import Job
from blobforge.outputs import LONGEST_NAME, Output
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web import policy
from web.api import former as formers
from web.api import outputs
from web.api.grants import source_name
from web.api.preview import find_preview, subject
from web.api.wire_insights import PreviewQuery
from web.dashboard.page import frame, framed, page
from web.dashboard.submit import store_url
from web.decode import query
from web.html import rendered
from web.preview import MOST_PDF, Preview, kind_of
from web.routing import Access, Call, Route

MOST_LISTED: Final = 50  # outputs on the page
SOURCE: Final = "source"
OUTPUT: Final = "output"
FORMER: Final = "former"
Choice = Annotated[
    str, Meta(max_length=LONGEST_NAME + 10, pattern="^(source|(output|former)(:.*)?)$", description=
        "`source`, `output` (the main one), `output:NAME`; `former`: of the result that is kept to be compared")
]  # fmt: skip


class ViewQuery(msgspec.Struct, frozen=True):
    """What stands at either side, and behind which output the list goes on."""

    left: Choice = SOURCE
    right: Choice = OUTPUT
    after: Annotated[str, Meta(max_length=LONGEST_NAME)] = ""


class ViewSide(msgspec.Struct, frozen=True, kw_only=True):
    """One side of the page: what was chosen, and how it is shown. `reason`: why it is not."""

    where: Literal["left", "right"]
    choice: str
    title: str
    asked: str
    download: str
    kind: str | None = None
    size: int | None = None
    reason: str | None = None


class ListedOutput(msgspec.Struct, frozen=True):
    """An output in the list, with what its preview and its download are asked for by."""

    output: Output
    kind: str | None
    asked: str


async def shown(call: Call) -> Response | Refusal:
    job_id = call.params["job_id"]
    if "HX-Request" in call.request.headers:
        # It has a policy of its own, which a browser takes from a page that it loads itself.
        address = f"{call.request.path}?{call.request.query_string.decode()}".rstrip("?")
        return Response("", headers={"HX-Redirect": address, "Cache-Control": "no-store"})
    wanted = query(call.request.args, ViewQuery)
    if isinstance(wanted, Refusal):
        return wanted

    def read(reader: Reader) -> tuple[Job | Refusal, bool, list[Output]]:
        job = reader.job_to_name(job_id)
        if job is None:
            return formers.missing(reader, job_id, former=False), False, []
        listed: list[Output] = []
        if outputs.place(job, OUTPUT, None) is not None and job.result_attempt is not None:
            listed = reader.outputs.page(job_id, job.result_attempt, after=wanted.after, limit=MOST_LISTED + 1)
        return job, reader.job_to_name(job_id, former=True) is not None, listed

    totals, (job, has_former, listed) = await framed(call, read)
    if isinstance(job, Refusal):
        return job
    sides = [await _side(call, job, "left", wanted.left), await _side(call, job, "right", wanted.right)]
    choices = [SOURCE, OUTPUT, *([FORMER] if has_former else [])]
    if listed:
        choices += [f"{OUTPUT}:{each.name}" for each in listed[:MOST_LISTED]]
    response = await page(
        call, "view.html", title=f"Source and result of job {job_id}", place="/jobs", totals=totals, job=job,
        sides=sides, choices=choices, has_former=has_former, after=wanted.after, wanted=wanted, most_pdf=MOST_PDF,
        listed=[_listed(each) for each in listed[:MOST_LISTED]],
        following=listed[MOST_LISTED - 1].name if len(listed) > MOST_LISTED else None,
        address=lambda **changed: _address(job_id, replace(wanted, **changed)),
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = policy.with_store(store_url(call))
    return response


def _address(job_id: int, wanted: ViewQuery) -> str:
    said = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}
    return f"/jobs/{job_id}/view?{urlencode(said)}"


async def _side(call: Call, job: Job, where: Literal["left", "right"], choice: str) -> ViewSide:
    of, _, name = choice.partition(":")
    wanted = PreviewQuery("source" if of == SOURCE else "output", name or None, of == FORMER)
    side = ViewSide(
        where=where,
        choice=choice,
        title=_title(job, of, name),
        asked=_asked(wanted),
        download=_download(job.id, wanted),
    )
    chosen = await formers.job_to_name(call, job.id, former=True) if wanted.former else job
    if isinstance(chosen, Refusal):
        return replace(side, reason=chosen.detail)
    found = await subject(call, chosen, wanted)
    if isinstance(found, Preview):
        return replace(side, reason=found.reason)
    too_large = found.kind == "pdf" and found.size > MOST_PDF
    reason = f"The PDF is too large to be shown here: more than {MOST_PDF >> 20} MiB." if too_large else None
    return replace(side, kind=found.kind, size=found.size, reason=reason)


def _title(job: Job, of: str, name: str) -> str:
    if of == SOURCE:
        return f"Source: {source_name(job)}"
    kind = "Result" if of == OUTPUT else "Former result"
    return f"{kind}: {name}" if name else kind


def _asked(wanted: PreviewQuery) -> str:
    said = {"of": wanted.of, "name": wanted.name or "", "former": "true" if wanted.former else ""}
    return urlencode({name: value for name, value in said.items() if value})


def _download(job_id: int, wanted: PreviewQuery) -> str:
    said = {"name": wanted.name or "", "former": "true" if wanted.former else ""}
    asked = urlencode({name: value for name, value in said.items() if value})
    return f"/jobs/{job_id}/{wanted.of}?{asked}".rstrip("?")


def _listed(output: Output) -> ListedOutput:
    return ListedOutput(output, kind_of(output.media_type, output.name), quote(output.name, safe=""))


async def preview(call: Call) -> Response | Refusal:
    """The document in one of the frames."""
    found = await find_preview(call)
    if isinstance(found, Refusal):
        return found
    wanted, given = found
    if given.kind == "image" and given.reason is None:
        url = _download(call.params["job_id"], wanted)
        text = await rendered("picture.html", url=url, of=wanted.of, name=wanted.name)
        return frame(text, policy.with_picture(store_url(call)))
    if given.kind == "pdf" and given.reason is None:
        given = replace(given, reason="A PDF is shown on the page with source and result side by side.")
    # What the preview made is safe (web/preview.py), and the one thing on any page that is not escaped.
    shown = Markup(given.html) if given.html else None  # noqa: S704
    return frame(await rendered("preview.html", found=given, shown=shown))


async def pdf(call: Call) -> Response:
    """The document that draws a PDF: the page around it hands it the bytes, and it has no origin."""
    return frame(await rendered("pdf.html"), policy.PDF)


ROUTES = [
    Route("GET", "/jobs/<id:job_id>/view", Access.READ, shown, "Source and result of a job, side by side",
          gives=str, page=True, query=ViewQuery),
    Route("GET", "/jobs/<id:job_id>/preview", Access.READ, preview, "A preview on that page", gives=str, page=True,
          query=PreviewQuery),
    Route("GET", "/jobs/pdf", Access.READ, pdf, "The frame that draws a PDF", gives=str, page=True),
]  # fmt: skip
