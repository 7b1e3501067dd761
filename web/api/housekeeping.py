"""Deletions for good: of one job (many: `bulk.py`), and of objects that no job needs."""

from __future__ import annotations

from quart import Response

from actors.mailbox import ask
from actors.messages import DeleteJob, Done, FindOrphans, Note
from blobforge.refusals import Refusal
from blobforge.search import Search, SearchName, in_the_way
from blobforge.store.files import SupersededTotals
from blobforge.store.reading import Reader
from web.api import encode, wire_common, wire_files, wire_jobs
from web.decode import query
from web.routing import Access, Call, Route


async def delete(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_jobs.DeleteQuery)
    if isinstance(wanted, Refusal):
        return wanted
    submitter = None if call.caller.is_admin else call.caller.subject
    outcome = await call.ask(DeleteJob(call.params["job_id"], wanted.objects, submitter))
    return outcome if isinstance(outcome, Refusal) else Response(b"", 204)


async def find_orphans(call: Call, body: wire_files.OrphanBody) -> wire_common.Status | Refusal:
    """Begin the search. On record where it deletes, and before it does."""
    janitor = call.services.janitor
    earlier = await call.earlier(Done)
    if earlier is not None:
        return earlier if isinstance(earlier, Refusal) else wire_common.Status("searching")
    search, _ = await call.services.reads.run(_search)
    if refusal := in_the_way(search, doom=not body.dry_run, now=call.services.now()):
        return refusal
    noted = await call.tell(Note(), call.repeat, None if body.dry_run else call.audit)
    if isinstance(noted, Refusal):
        return noted
    begun = await ask(janitor.mailbox, FindOrphans(delete=not body.dry_run))
    return begun if isinstance(begun, Refusal) else wire_common.Status("searching")


async def orphans(call: Call) -> wire_files.Orphans | Refusal:
    wanted = query(call.request.args, wire_files.OrphansQuery)
    if isinstance(wanted, Refusal):
        return wanted
    search, names = await call.services.reads.run(_search)
    if search is None:
        return wire_files.Orphans(
            state="never", dry_run=True, objects=0, orphans=0, bytes=0, unfinished=0, examples=[]
        )
    end = wanted.cursor + wanted.limit
    return wire_files.Orphans(
        state=search.state.value,
        dry_run=not search.doom,
        started_at=encode.time_or_none(search.started_at),
        ended_at=encode.time_or_none(search.ended_at),
        objects=search.objects,
        orphans=search.orphans,
        bytes=search.bytes,
        unfinished=search.unfinished,
        examples=list(names[wanted.cursor : end]),
        next_cursor=end if end < len(names) else None,
        error=search.error,
    )


def _search(reader: Reader) -> tuple[Search | None, list[str]]:
    with reader.snapshot():
        return reader.searches.get(SearchName.ORPHANS), reader.searches.names(SearchName.ORPHANS)


async def superseded(call: Call) -> wire_files.SupersededAnswer | Refusal:
    """What others have replaced, and what of it would go by these rules; nothing is deleted."""
    wanted = query(call.request.args, wire_files.SupersededQuery)
    if isinstance(wanted, Refusal):
        return wanted
    settings = call.services.settings
    age = wanted.older_than if wanted.older_than is not None else settings.retention_superseded
    kept = wanted.keep if wanted.keep is not None else settings.superseded_kept
    before = call.services.now() - round(age * 1000) if age > 0 else None

    def look(reader: Reader) -> tuple[SupersededTotals, SupersededTotals]:
        with reader.snapshot():
            return reader.superseded.totals(), reader.superseded.due(before=before, kept=kept)

    totals, due = await call.services.reads.run(look)
    return wire_files.SupersededAnswer(
        results=totals.results,
        bytes=totals.bytes,
        due_results=due.results,
        due_bytes=due.bytes,
        older_than=age if age > 0 else None,
        keep=kept,
    )


ROUTES = [
    Route("DELETE", "/api/jobs/<id:job_id>", Access.SUBMIT, delete,
          "Delete a job that does not run, with its objects (`?objects=false` leaves them)."
          " Without the scope `admin`: one that you submitted, while it is `uploading`",
          status=204, audit="job.delete"),
    Route("POST", "/api/admin/orphans", Access.ADMIN, find_orphans,
          "Look for objects that no job needs; with `dry_run: false`, delete them",
          body=wire_files.OrphanBody, gives=wire_common.Status, audit="orphans.delete"),
    Route("GET", "/api/admin/orphans", Access.ADMIN, orphans, "How that search goes, or what the last one found",
          gives=wire_files.Orphans, query=wire_files.OrphansQuery),
    Route("GET", "/api/admin/superseded", Access.ADMIN, superseded,
          "How many results others have replaced, and how many would go by a rule (without one: by the settings)",
          gives=wire_files.SupersededAnswer, query=wire_files.SupersededQuery),
]  # fmt: skip
