"""`Endpoints`: the endpoints as typed methods. Each does one exchange and says nothing on any stream.

    async with AsyncClient("http://localhost:8080", token="bf_...") as client:
        page = await client.list_jobs(status="dead")

Every method raises ApiError (the server said no), ServerUnreachable (no answer) or UnexpectedAnswer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

import msgspec

from blobforge.client.administration import AdminEndpoints
from blobforge.client.attempts import AttemptEndpoints
from blobforge.client.batches import BatchEndpoints
from blobforge.client.connection import IN_BULK, without_none
from blobforge.client.errors import ApiError, ClientError, ServerTooOld
from blobforge.client.events import EventStream
from blobforge.client.files import FileEndpoints
from blobforge.client.transport import Glance, OnRetry, Preflight
from blobforge.client.types import (
    AttemptPage,
    Attention,
    BatchAnswer,
    BatchItem,
    BulkDone,
    Cancelled,
    Causes,
    ChainCheck,
    ChildPage,
    Comparison,
    ComparisonPage,
    Database,
    Health,
    History,
    Installation,
    Job,
    JobFilters,
    JobLog,
    JobPage,
    JobWaiting,
    Marks,
    Operation,
    OperationBegun,
    OperationPage,
    PathPage,
    QueueEta,
    Scale,
    Servers,
    Stats,
    StatusAnswer,
    Submission,
    TagSizes,
    Times,
    UploadUrl,
    WhoAmI,
)


class Endpoints(FileEndpoints, AttemptEndpoints, BatchEndpoints, AdminEndpoints):
    """What the server can be asked, with one credential."""

    async def submit_job(
        self,
        type: str,
        source_hash: str,
        *,
        source_path: str | None = None,
        source_size: int | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        requires: Sequence[str] | None = None,
        not_before: datetime | None = None,
        group: str | None = None,
        expires_at: datetime | None = None,
        batch: int | None = None,
        then: Sequence[Mapping[str, Any]] | None = None,
    ) -> Submission:
        """Submit a job; one of the same source, type and options that is there already is answered instead. `options`
        are what the converter is to do, `requires` what the labels of its worker must hold (`gpu`, `memory_gib>=32`),
        `group` whose job it is: within a priority jobs of different groups take turns. No worker is given it before
        `not_before`, and it is dead if none was by `expires_at` (without a zone: of this machine's). It comes to the
        `batch` with this id (`make_batch`). `then` are the steps that follow it, each {"type", "outputs"?,
        "options"?, "then"?}: each output whose name matches becomes the source of a job of that type. None: what is
        set for the types follows; [] is nothing.
        """
        body = without_none(
            type=type,
            source_hash=source_hash,
            source_path=source_path,
            source_size=source_size,
            priority=priority,
            max_attempts=max_attempts,
            tags=list(tags) if tags else None,
            metadata=dict(metadata) if metadata else None,
            options=dict(options) if options else None,
            requires=list(requires) if requires else None,
            not_before=not_before.astimezone().isoformat() if not_before is not None else None,
            group=group,
            expires_at=expires_at.astimezone().isoformat() if expires_at is not None else None,
            batch=batch,
            then=[dict(step) for step in then] if then is not None else None,
            # The store then checks the bytes as they come in, so that the server need not read them again to verify
            # them.
            bind_checksum=True,
        )
        answer = await self._post("/api/jobs", Submission, body, once_only=True)
        if requires and answer.requires is None:
            await self._take_back([answer])
        return answer

    async def submit_jobs(self, jobs: Sequence[Mapping[str, Any]]) -> BatchAnswer:
        """Submit up to 1,000 jobs in one round trip, each with the fields of `submit_job`; answered item by item.

        A repetition finds the jobs that the lost answer was about.
        """
        body = {"jobs": [{**job, "bind_checksum": True} for job in jobs]}
        answer = await self._post("/api/jobs/batch", BatchAnswer, body, answer_timeout=IN_BULK)
        heedless = [
            item
            for job, item in zip(jobs, answer.items, strict=False)
            if job.get("requires") and item.error is None and item.requires is None
        ]
        if heedless:
            await self._take_back(heedless)
        return answer

    async def _take_back(self, submitted: Sequence[Submission | BatchItem]) -> None:
        """The server has left out what the jobs require: cancel those that it has made. Raises ServerTooOld."""
        made = [each.job_id for each in submitted if not each.existing and each.job_id is not None]
        if made:
            await self.change_many("cancel", ids=made)
        raise ServerTooOld(
            "this server knows no requirements (it is older than this client); "
            + (f"{len(made)} submitted without them, and cancelled" if made else "what is there has none")
        )

    async def source_uploaded(self, job_id: int) -> StatusAnswer:
        """Tell the server that the source has arrived."""
        return await self._post(f"/api/jobs/{job_id}/uploaded", StatusAnswer)

    async def list_jobs(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        cursor: str | None = None,
        sort: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> JobPage:
        """One page of jobs, at most 100, by priority and then newest first; or by `sort`: `created`, `ended`,
        `duration` (with a `-`: the highest first), `-size`, or `-tries`. A cursor goes on in the same order."""
        params = without_none(**filters, limit=limit, offset=offset, cursor=cursor, sort=sort)
        return await self._call("GET", "/api/jobs", JobPage, params=params)

    async def get_job(self, job_id: int) -> Job:
        """One job, with the record of its attempts."""
        return await self._call("GET", f"/api/jobs/{job_id}", Job)

    async def job_result(self, job_id: int, *, former: bool = False) -> bytes:
        """The JSON that the worker sent as its `result`, as it came, whatever its size; `former`: that of the result
        that is kept to be compared.

        ApiError `no-such-object` (404): it sent none.
        """
        params = {"former": "true"} if former else None
        return bytes(await self._call("GET", f"/api/jobs/{job_id}/result", msgspec.Raw, params=params))

    async def job_log(self, job_id: int, *, attempt: int | None = None, start: int = 0) -> JobLog:
        """What the latest attempt has printed: while it runs, from that place (characters) on, if `attempt` is its
        number; afterwards the end that was kept, if any."""
        params = {"attempt": attempt, "start": start or None}
        return await self._call("GET", f"/api/jobs/{job_id}/log", JobLog, params=params)

    async def compare_job(self, job_id: int, *, cursor: str = "", limit: int = 100) -> Comparison:
        """What has changed between a job's result and the former one that is kept beside it, page by page.

        ApiError `no-such-object` (404): no former result is kept; see `retry_job`.
        """
        params = {"cursor": cursor, "limit": limit}
        return await self._call("GET", f"/api/jobs/{job_id}/comparison", Comparison, params=params)

    async def comparison_page(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Unpack[JobFilters]
    ) -> ComparisonPage:
        """What became of the results of jobs whose former result is kept, in counts: one page, at most 100 jobs."""
        params = without_none(**filters, limit=limit, cursor=cursor)
        return await self._call("GET", "/api/results/comparisons", ComparisonPage, params=params)

    async def retry_job(
        self, job_id: int, *, reset_attempts: bool = False, priority: int | None = None, compare: bool = False
    ) -> StatusAnswer:
        """Put a failed, dead, cancelled or completed job back in the queue. `compare`: its result is kept for a while
        beside the next one (`compare_job`)."""
        body = without_none(reset_attempts=reset_attempts or None, priority=priority, compare=compare or None)
        return await self._post(f"/api/jobs/{job_id}/retry", StatusAnswer, body, once_only=True)

    async def cancel_job(
        self, job_id: int, *, reason: str | None = None, children: bool = False, dry_run: bool = False
    ) -> Cancelled:
        """Cancel a job at once, a running one too. The job shows the reason. `children`: with all that came of it by
        its chain, also where it has ended itself. `dry_run`: say how many these are, and cancel nothing."""
        body = without_none(reason=reason, children=children or None, dry_run=dry_run or None)
        return await self._post(f"/api/jobs/{job_id}/cancel", Cancelled, body, once_only=True)

    async def delete_job(self, job_id: int) -> None:
        """Delete a job for good; one's own that waits for its source needs the scope `submit`, any other `admin`."""
        await self._call("DELETE", f"/api/jobs/{job_id}", type(None))

    async def set_priority(self, job_id: int, priority: int) -> StatusAnswer:
        """Change a job's priority: 1 (critical) to 5 (background)."""
        return await self._call("PATCH", f"/api/jobs/{job_id}/priority", StatusAnswer, body={"priority": priority})

    async def job_waiting(self, job_id: int) -> JobWaiting:
        """Why a job does not run: the rule that holds it, and what would change it."""
        return await self._call("GET", f"/api/jobs/{job_id}/waiting", JobWaiting)

    async def retype_job(self, job_id: int, type: str) -> StatusAnswer:
        """Give a job that waits another type. One that runs or has ended refuses it, and so does one whose source has
        a job of that type (`job-exists`)."""
        return await self._post(f"/api/jobs/{job_id}/retype", StatusAnswer, {"to": type}, once_only=True)

    async def set_requirements(self, job_id: int, requires: Sequence[str]) -> StatusAnswer:
        """Change what a job requires of its worker: all of it; nothing, where it is empty."""
        body = {"requires": list(requires)}
        return await self._call("PATCH", f"/api/jobs/{job_id}/requires", StatusAnswer, body=body)

    async def change_many(
        self,
        verb: str,
        *,
        ids: Sequence[int] | None = None,
        dry_run: bool = False,
        filters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> BulkDone:
        """`retry`, `cancel`, `delete`, `retype` or reprioritise (`priority`) many jobs, or change what they require
        (`requires`), by their ids or by a filter.

        `filters` are JobFilters, as for `list_jobs` (the priority that jobs have may be called `only_priority`, as
        it is in the body); `options` are those of the verb: `reset_attempts`, `priority`, `compare`, `objects`,
        `add`, `remove`, `to` (of `retype`), `requires`, `reason` (of `cancel`).
        With `children`, `cancel` is an operation: `begin_operation`.
        """
        body = without_none(ids=list(ids) if ids else None, dry_run=dry_run or None, **_of_many(filters), **options)
        return await self._post(f"/api/jobs/{verb}", BulkDone, body, once_only=not dry_run, answer_timeout=IN_BULK)

    async def change_tags(self, job_id: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> StatusAnswer:
        """Add tags to a job, and remove some."""
        body = {"add": list(add), "remove": list(remove)}
        return await self._call("PATCH", f"/api/jobs/{job_id}/tags", StatusAnswer, body=body)

    async def list_children(self, job_id: int, *, limit: int | None = None, cursor: str | None = None) -> ChildPage:
        """One page of what came of a job's outputs, by its chain."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/children", ChildPage, params=without_none(limit=limit, cursor=cursor)
        )

    async def check_chain(
        self,
        job_id: int | None = None,
        *,
        type: str | None = None,
        options: Mapping[str, Any] | None = None,
        then: Sequence[Mapping[str, Any]] | None = None,
        source_path: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> ChainCheck:
        """What a completion of this job would start; or that of one to come, by what its submission would say.
        `outputs`: names to try it with, in the place of those that the job has."""
        body = without_none(
            job=job_id,
            type=type,
            options=dict(options) if options else None,
            then=[dict(step) for step in then] if then is not None else None,
            source_path=source_path,
            outputs=list(outputs) if outputs is not None else None,
        )
        return await self._post("/api/chains/check", ChainCheck, body)

    async def list_paths(self, job_id: int, *, limit: int | None = None, cursor: int | None = None) -> PathPage:
        """One page of the paths under which a job's source was submitted."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/paths", PathPage, params=without_none(limit=limit, cursor=cursor)
        )

    async def list_attempts(self, job_id: int, *, limit: int | None = None, cursor: int | None = None) -> AttemptPage:
        """One page of a job's attempts with all that is known of them, newest first, those before `cursor`."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/attempts", AttemptPage, params=without_none(limit=limit, cursor=cursor)
        )

    async def begin_operation(
        self,
        verb: str,
        *,
        ids: Sequence[int] | None = None,
        filters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> int:
        """The same as `change_many`, without waiting for it: the id of an operation, which goes on by itself."""
        body = without_none(ids=list(ids) if ids else None, background=True, **_of_many(filters), **options)
        return (await self._post(f"/api/jobs/{verb}", OperationBegun, body, once_only=True)).operation

    async def get_operation(self, operation_id: int) -> Operation:
        """How far an operation is, and what it has come to."""
        return await self._call("GET", f"/api/operations/{operation_id}", Operation)

    async def list_operations(self, *, limit: int | None = None, cursor: int | None = None) -> OperationPage:
        """One page of the operations, newest first."""
        return await self._call(
            "GET", "/api/operations", OperationPage, params=without_none(limit=limit, cursor=cursor)
        )

    async def cancel_operation(self, operation_id: int) -> Operation:
        """Stop an operation; what it has changed stays."""
        return await self._post(f"/api/operations/{operation_id}/cancel", Operation, {}, once_only=True)

    async def undo_operation(self, operation_id: int) -> int:
        """Take back what an operation has changed, by another one, whose id this is."""
        answer = await self._post(f"/api/operations/{operation_id}/undo", OperationBegun, {}, once_only=True)
        return answer.operation

    def events(
        self, *, types: Sequence[str] = (), job: int | None = None, on_break: OnRetry | None = None
    ) -> EventStream:
        """The live events, for `async with`: of these types (all), about this job (all). See EventStream."""
        return EventStream(self._transport, types=types, job=job, patience=self._patience, on_break=on_break)

    async def stats(self) -> Stats:
        """The queue in numbers."""
        return await self._call("GET", "/api/stats", Stats)

    async def tag_sizes(self, *, limit: int = 50, cursor: str | None = None) -> TagSizes:
        """What the jobs of each tag take, those with most first."""
        return await self._call("GET", "/api/stats/tags", TagSizes, params={"limit": limit, "cursor": cursor})

    async def scale(self, *, type: str | None = None, drain_seconds: float | None = None) -> Scale:
        """How many workers would be done with what waits of this type (of all) in `drain_seconds` (an hour)."""
        return await self._call("GET", "/api/scale", Scale, params={"type": type, "drain_seconds": drain_seconds})

    async def history(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> History:
        """What happened in a `window` (`1h`, `24h`, `7d`, `30d`), or since then (and until then), to jobs of this
        type (of all)."""
        return await self._call("GET", "/api/stats/history", History, params=_chart(window, since, until, type))

    async def times(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Times:
        """How long jobs stood in the queue and ran, in a range of time as with `history`."""
        return await self._call("GET", "/api/stats/times", Times, params=_chart(window, since, until, type))

    async def causes(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Causes:
        """Why attempts failed, in a range of time as with `history`."""
        return await self._call("GET", "/api/stats/causes", Causes, params=_chart(window, since, until, type))

    async def marks(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Marks:
        """When types were paused and resumed, and servers started and stopped, in a range as with `history`."""
        return await self._call("GET", "/api/stats/marks", Marks, params=_chart(window, since, until, type))

    async def outlook(self) -> QueueEta:
        """When the queue will be empty."""
        return await self._call("GET", "/api/stats/outlook", QueueEta)

    async def attention(self) -> Attention:
        """What a person should look at."""
        return await self._call("GET", "/api/stats/attention", Attention)

    async def installation(self) -> Installation:
        """Which installation this is, and the public key that its manifests are signed with."""
        return await self._call("GET", "/api/installation", Installation)

    async def servers(self) -> Servers:
        """The servers that share the database."""
        return await self._call("GET", "/api/servers", Servers)

    async def database(self) -> Database:
        """The database itself, for administrators."""
        return await self._call("GET", "/api/admin/database", Database)

    async def health(self) -> Health:
        """How the server's parts are; `unhealthy` is an answer, too."""
        try:
            return await self.with_patience(0)._call("GET", "/api/health", Health)
        except ApiError as error:
            if error.status == 503:
                return Health(status="unhealthy")
            raise

    async def whoami(self) -> WhoAmI:
        """The caller as the server sees us. ApiError 401: the server does not know the credential."""
        return await self._call("GET", "/api/auth/me", WhoAmI)

    async def glance(self, url: str, *, headers: Mapping[str, str] | None = None) -> Glance:
        """GET a URL (a path: one of the server's) once, without credential, and only look at the answer's head.

        Raises ServerUnreachable.
        """
        return await self._transport.glance(self.base_url + url if url.startswith("/") else url, headers=headers)

    async def preflight(self, url: str, *, origin: str, method: str, names: Sequence[str]) -> Preflight:
        """Whether a browser may send this to the URL from a page of `origin`, with headers of these names.

        Raises ServerUnreachable.
        """
        return await self._transport.preflight(url, origin=origin, method=method, names=names)

    async def clock(self) -> datetime | None:
        """The time that the server's answers carry. None: they carry none."""

        async def once() -> datetime | None:
            return (await self.glance("/livez")).date

        found: datetime | None = await self._transport.patiently(once, self._patience)
        return found

    async def source_upload_url(self, sha256: str) -> UploadUrl:
        """A signed URL to PUT the source with this hash to."""
        body = {"source_hash": sha256, "checksum": sha256}
        return await self._post("/api/files/upload-url", UploadUrl, body)

    async def ready(self) -> bool:
        """Whether the server answers that it is ready. Never raises for one that is not."""
        try:
            await self.with_patience(0)._call("GET", "/readyz", object)
        except ClientError:
            return False
        return True


def _chart(window: str | None, since: datetime | None, until: datetime | None, type: str | None) -> dict[str, Any]:
    """Times without a zone are of this machine's."""
    moments = {"since": since, "until": until}
    said = {name: each.astimezone().isoformat() if each is not None else None for name, each in moments.items()}
    return {"window": window, **said, "type": type}


def _of_many(filters: Mapping[str, Any] | None) -> dict[str, Any]:
    """A filter as the body of a bulk change has it, where `priority` is what jobs get."""
    return {"only_priority" if name == "priority" else name: value for name, value in (filters or {}).items()}
