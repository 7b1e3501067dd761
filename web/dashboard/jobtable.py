"""How the table of jobs looks: its columns, its density, its order.

Columns and density stand in the address, or are those that the browser remembers (a cookie): what was chosen last by
the form of the page. The order stands in the address alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from quart import Response

from blobforge.refusals import Refusal
from blobforge.store.sorting import JobSort
from web.dashboard.forms import back, read_form
from web.html import redirect
from web.routing import Call

COOKIE: Final = "jobs-table"
REMEMBERED_SECONDS: Final = 365 * 86_400
COMPACT: Final = "compact"
DENSITIES: Final = ("comfortable", COMPACT)
# Each column with its head, in the order in which they stand. The job itself always stands before them.
COLUMNS: Final[Mapping[str, str]] = {
    "tags": "Tags",
    "status": "Status",
    "type": "Type",
    "priority": "Prio",
    "tries": "Tries",
    "size": "Size",
    "group": "Group",
    "batch": "Batch",
    "worker": "Worker",
    "made_by": "Made by",
    "created": "Submitted",
    "ended": "Ended",
    "duration": "Took",
    "updated": "Updated",
    "news": "What happens",
}
USUAL: Final = ("tags", "status", "type", "priority", "tries", "updated", "news")
# What a table in a file has of them (`web/api/export.py`), beside the id and the path.
EXPORTED: Final[Mapping[str, tuple[str, ...]]] = {
    "tries": ("attempts", "max_attempts"),
    "size": ("source_size",),
    "batch": ("batches",),
    "worker": ("worker_id",),
    "created": ("created_at",),
    "ended": ("completed_at",),
    "duration": ("seconds",),
    "updated": ("updated_at",),
    "news": ("last_error",),
}
ORDERS: Final[Mapping[JobSort, str]] = {
    JobSort.NEWEST: "newest first",
    JobSort.CREATED: "oldest first",
    JobSort.LAST_ENDED: "last ended first",
    JobSort.ENDED: "first ended first",
    JobSort.LONGEST: "longest first",
    JobSort.DURATION: "shortest first",
    JobSort.LARGEST: "largest first",
    JobSort.MOST_TRIED: "most tries first",
}
BEHIND: Final = {
    "ended": "Jobs that have not ended are behind all others.",
    "duration": "Jobs that have not completed are behind all others.",
    "size": "Where more than 5,000 match, those of less than 8 MiB are behind all others.",
    "tries": "Jobs that were not tried more than once are behind all others.",
}


class JobTable(msgspec.Struct, frozen=True):
    """`columns` are chosen, in their order; `sort` None: the list's own order. `said`: what of it stands in the
    address."""

    columns: tuple[str, ...]
    density: str
    sort: JobSort | None
    said: dict[str, str]

    @property
    def compact(self) -> bool:
        return self.density == COMPACT

    @property
    def in_cells(self) -> list[tuple[str, str]]:
        """The columns that stand as such, with their heads; tags stand with the job."""
        return [(name, COLUMNS[name]) for name in self.columns if name != "tags"]

    @property
    def exported(self) -> str:
        """The same columns of a table in a file."""
        return ",".join(("source_path", *(name for each in self.columns for name in EXPORTED.get(each, (each,)))))

    @property
    def behind(self) -> str | None:
        """Which jobs the order has nothing to say of."""
        return BEHIND.get(self.sort.by) if self.sort is not None else None

    def next_sort(self, column: str) -> str | None:
        """The order that the head of a column leads to: the highest first, then the lowest; None: it has none."""
        down, up = f"-{column}", column
        if down not in set(JobSort):
            return None
        return up if self.sort == down and up in set(JobSort) else down

    def aria_sort(self, column: str) -> str | None:
        if self.sort is None or self.sort.by != column:
            return None
        return "descending" if self.sort.down else "ascending"


def table_of(call: Call, sort: JobSort | None) -> JobTable:
    args = call.request.args
    density, columns = _remembered(call.request.cookies.get(COOKIE, ""))
    said = {"sort": str(sort)} if sort is not None else {}
    if wanted := _known(",".join(args.getlist("columns")).split(",")):
        columns = wanted
        said["columns"] = ",".join(wanted)
    if args.get("density") in DENSITIES:
        density = said["density"] = args["density"]
    return JobTable(columns or USUAL, density or DENSITIES[0], sort, said)


async def choose(call: Call) -> Response | Refusal:
    """Remember columns and density, and show the page with them."""
    form = read_form(call)
    if isinstance(form, Refusal):
        return form
    usual = "usual" in form
    columns = USUAL if usual else _known(form.get("columns", [])) or USUAL
    density = DENSITIES[0] if usual else form.get("density", [""])[0]
    density = density if density in DENSITIES else DENSITIES[0]
    page = urlsplit(back(call))
    kept = [(name, value) for name, value in parse_qsl(page.query) if name not in ("columns", "density")]
    chosen = [] if usual else [("columns", ",".join(columns)), ("density", density)]
    response = redirect(f"/jobs?{urlencode(kept + chosen)}".rstrip("?"))
    response.set_cookie(
        COOKIE, ".".join((density, *columns)), max_age=0 if usual else REMEMBERED_SECONDS, path="/", httponly=True,
        samesite="Strict", secure=call.services.site.is_https(call.request),
    )  # fmt: skip
    return response


def _remembered(cookie: str) -> tuple[str | None, tuple[str, ...]]:
    density, *columns = cookie.split(".")
    return density if density in DENSITIES else None, _known(columns)


def _known(names: Collection[str]) -> tuple[str, ...]:
    """Those of them that there are, in the order of the table: another release may have had others."""
    return tuple(name for name in COLUMNS if name in names)


def order_words(sort: JobSort | None) -> Sequence[tuple[str, str, bool]]:
    """Each order for a list of choices: its value, its words, and whether it is the one."""
    return [("", "urgent first", sort is None), *((str(each), words, each is sort) for each, words in ORDERS.items())]
