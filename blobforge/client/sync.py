"""`Client`: the AsyncClient without `async` and `await`, for scripts.

    with Client() as client:
        report = client.submit("report.pdf")
        job = client.wait(report)
        client.save(job, "results/")

Made of it by `make docs`: change that one, and never this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

from blobforge.client.blocking import BlockingClient
from blobforge.client.events import ServerEvent
from blobforge.client.scripting import AJob, JobResult
from blobforge.client.submission import SubmittedFile
from blobforge.client.transfer import FileFacts, OnBytes
from blobforge.client.transport import Glance, Preflight
from blobforge.client.types import (
    AttemptPage,
    Attention,
    AuditPage,
    BackupReport,
    BatchAnswer,
    BatchInfo,
    BatchInfoPage,
    BatchItem,
    BatchMade,
    BulkDone,
    Canary,
    CanaryJobPage,
    CanaryPage,
    CanaryReport,
    Cancelled,
    Causes,
    ChainCheck,
    ChildPage,
    Comparison,
    ComparisonPage,
    Database,
    Deliveries,
    DeliveryBegun,
    DownloadUrl,
    DrillsPage,
    FileLink,
    Health,
    History,
    Installation,
    Job,
    JobFilters,
    JobLog,
    JobPage,
    JobWaiting,
    Marks,
    NamedUploadUrl,
    NewToken,
    Operation,
    OperationPage,
    OrphanSearch,
    OutputPage,
    PathPage,
    QueueEta,
    Redelivered,
    Scale,
    Servers,
    Stats,
    StatusAnswer,
    Submission,
    SupersededAnswer,
    TagSizes,
    Times,
    TokenInfo,
    TypeInfo,
    TypesPage,
    UploadUrl,
    UserInfo,
    WebhookInfo,
    WebhookSecret,
    WhoAmI,
    WorkerAttempts,
    WorkerInfo,
    WorkerSecret,
)


class Client(BlockingClient):
    """A client of one server, with one credential, for scripts; see AsyncClient, whose methods it has."""

    def submit(
        self,
        file: str | os.PathLike[str] | bytes,
        type: str | None = None,
        *,
        name: str | None = None,
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
    ) -> SubmittedFile:
        """Submit a file, or bytes under a `name`, as a job, and upload what the server does not have yet.

        `type` is the job's, by default what the suffix says; `options` are what the converter is to do, `requires`
        what the labels of its worker must hold, `group` whose job it is: groups take turns; no worker is given the
        job before `not_before`, and it is dead if none was by `expires_at` (without a zone: of this machine's). It
        comes to the `batch` with this id (`make_batch`). `then` are the steps that follow it (`submit_job`). The same
        bytes submitted twice with the same type and options are one job (`existing`).
        Raises ValueError (no suffix that tells the type), OSError, ChecksumMismatch (the file changed meanwhile) and
        what all calls raise.
        """
        return self._run(
            partial(
                self._client.submit,
                file,
                type,
                name=name,
                priority=priority,
                max_attempts=max_attempts,
                tags=tags,
                metadata=metadata,
                options=options,
                requires=requires,
                not_before=not_before,
                group=group,
                expires_at=expires_at,
                batch=batch,
                then=then,
            )
        )

    def jobs(self, **filters: Unpack[JobFilters]) -> Iterator[Job]:
        """All jobs that match, by priority and then newest first, page after page as they are read."""
        return self._each(self._client.jobs(**filters))

    def wait(self, job: AJob, *, timeout: float | None = None) -> Job:
        """The job when it has ended: completed, dead or cancelled. Raises TimeoutError after `timeout` seconds."""
        return self._run(partial(self._client.wait, job, timeout=timeout))

    def wait_batch(self, batch_id: int, *, timeout: float | None = None) -> BatchInfo:
        """The batch when it has ended; it does once it is closed. Raises TimeoutError after `timeout` seconds."""
        return self._run(partial(self._client.wait_batch, batch_id, timeout=timeout))

    def wait_each(self, jobs: Iterable[AJob], *, timeout: float | None = None) -> Iterator[Job]:
        """Each of these jobs when it has ended, in the order in which they are seen to end.

        Raises TimeoutError when some have not after `timeout` seconds in all, and ApiError for one that was deleted.
        """
        return self._each(self._client.wait_each(jobs, timeout=timeout))

    def results(self, **filters: Unpack[JobFilters]) -> Iterator[JobResult]:
        """The results of all jobs that match, of completed ones unless `status` says otherwise; `fetch` and `save`
        take them. Of several outputs it is the main one; `outputs` has all."""
        return self._each(self._client.results(**filters))

    def follow(self, *, types: Sequence[str] = (), job: int | None = None) -> Iterator[ServerEvent]:
        """The live events as they come, of these types (all), about this job (all), without end. After `resync`, some
        may have been missed."""
        return self._each(self._client.follow(types=types, job=job))

    def result_of(self, job: AJob) -> JobResult:
        """The result of one job. ApiError `no-such-object` (404): it has none."""
        return self._run(partial(self._client.result_of, job))

    def outputs(self, job: AJob) -> Iterator[JobResult]:
        """All outputs of one job's result: the main one first, then by name; the only one of most jobs. `fetch` and
        `save` take them.

        ApiError `no-such-object` (404): it has none. `replaced` (409): the job was converted again meanwhile, so that
        the others would be another result's.
        """
        return self._each(self._client.outputs(job))

    def fetch(self, result: JobResult | AJob) -> bytes:
        """The bytes of a result, verified: for small ones."""
        return self._run(partial(self._client.fetch, result))

    def save(self, result: JobResult | AJob, to: str | os.PathLike[str] = ".") -> Path:
        """Write a result to the file `to`, or into the folder `to` under the worker's name for it; returns the path.

        It appears there whole and verified, or not at all, and replaces what was there. One of `outputs` keeps the
        folders of its name. Of a job with several outputs it is the main one.
        """
        return self._run(partial(self._client.save, result, to))

    def manifest(self, *, completed_since: str | None = None, **filters: Unpack[JobFilters]) -> Iterator[bytes]:
        """The manifest of all jobs that match, piece by piece, to be written to a file as it comes.

        Raises ServerUnreachable where it ends without its last line, which signs it.
        """
        return self._each(self._client.manifest(completed_since=completed_since, **filters))

    def export_jobs(
        self, *, format: Literal["csv", "ndjson"] = "csv", columns: Sequence[str] = (), **filters: Unpack[JobFilters]
    ) -> Iterator[bytes]:
        """All jobs that match as a table, by id, piece by piece: `csv`, or `ndjson` (a JSON object a line).

        `columns`: those of `GET /api/jobs/export`, the id before them; none: all. Raises ServerUnreachable where the
        server had to end it early.
        """
        return self._each(self._client.export_jobs(format=format, columns=columns, **filters))

    def save_manifest(
        self, to: str | os.PathLike[str], *, completed_since: str | None = None, **filters: Unpack[JobFilters]
    ) -> Path:
        """Write the manifest of all jobs that match to the file `to`, whole or not at all, and return its path.

        `blobforge results verify` says whether a folder holds what it lists.
        """
        return self._run(partial(self._client.save_manifest, to, completed_since=completed_since, **filters))

    def save_export(
        self,
        to: str | os.PathLike[str],
        *,
        format: Literal["csv", "ndjson"] = "csv",
        columns: Sequence[str] = (),
        **filters: Unpack[JobFilters],
    ) -> Path:
        """Write all jobs that match as a table to the file `to`, whole or not at all, and return its path."""
        return self._run(partial(self._client.save_export, to, format=format, columns=columns, **filters))

    def submit_job(
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
        return self._run(
            partial(
                self._client.submit_job,
                type,
                source_hash,
                source_path=source_path,
                source_size=source_size,
                priority=priority,
                max_attempts=max_attempts,
                tags=tags,
                metadata=metadata,
                options=options,
                requires=requires,
                not_before=not_before,
                group=group,
                expires_at=expires_at,
                batch=batch,
                then=then,
            )
        )

    def submit_jobs(self, jobs: Sequence[Mapping[str, Any]]) -> BatchAnswer:
        """Submit up to 1,000 jobs in one round trip, each with the fields of `submit_job`; answered item by item.

        A repetition finds the jobs that the lost answer was about.
        """
        return self._run(partial(self._client.submit_jobs, jobs))

    def source_uploaded(self, job_id: int) -> StatusAnswer:
        """Tell the server that the source has arrived."""
        return self._run(partial(self._client.source_uploaded, job_id))

    def list_jobs(
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
        return self._run(
            partial(self._client.list_jobs, limit=limit, offset=offset, cursor=cursor, sort=sort, **filters)
        )

    def get_job(self, job_id: int) -> Job:
        """One job, with the record of its attempts."""
        return self._run(partial(self._client.get_job, job_id))

    def job_result(self, job_id: int, *, former: bool = False) -> bytes:
        """The JSON that the worker sent as its `result`, as it came, whatever its size; `former`: that of the result
        that is kept to be compared.

        ApiError `no-such-object` (404): it sent none.
        """
        return self._run(partial(self._client.job_result, job_id, former=former))

    def job_log(self, job_id: int, *, attempt: int | None = None, start: int = 0) -> JobLog:
        """What the latest attempt has printed: while it runs, from that place (characters) on, if `attempt` is its
        number; afterwards the end that was kept, if any."""
        return self._run(partial(self._client.job_log, job_id, attempt=attempt, start=start))

    def compare_job(self, job_id: int, *, cursor: str = "", limit: int = 100) -> Comparison:
        """What has changed between a job's result and the former one that is kept beside it, page by page.

        ApiError `no-such-object` (404): no former result is kept; see `retry_job`.
        """
        return self._run(partial(self._client.compare_job, job_id, cursor=cursor, limit=limit))

    def comparison_page(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Unpack[JobFilters]
    ) -> ComparisonPage:
        """What became of the results of jobs whose former result is kept, in counts: one page, at most 100 jobs."""
        return self._run(partial(self._client.comparison_page, limit=limit, cursor=cursor, **filters))

    def retry_job(
        self, job_id: int, *, reset_attempts: bool = False, priority: int | None = None, compare: bool = False
    ) -> StatusAnswer:
        """Put a failed, dead, cancelled or completed job back in the queue. `compare`: its result is kept for a while
        beside the next one (`compare_job`)."""
        return self._run(
            partial(self._client.retry_job, job_id, reset_attempts=reset_attempts, priority=priority, compare=compare)
        )

    def cancel_job(
        self, job_id: int, *, reason: str | None = None, children: bool = False, dry_run: bool = False
    ) -> Cancelled:
        """Cancel a job at once, a running one too. The job shows the reason. `children`: with all that came of it by
        its chain, also where it has ended itself. `dry_run`: say how many these are, and cancel nothing."""
        return self._run(partial(self._client.cancel_job, job_id, reason=reason, children=children, dry_run=dry_run))

    def delete_job(self, job_id: int) -> None:
        """Delete a job for good; one's own that waits for its source needs the scope `submit`, any other `admin`."""
        return self._run(partial(self._client.delete_job, job_id))

    def set_priority(self, job_id: int, priority: int) -> StatusAnswer:
        """Change a job's priority: 1 (critical) to 5 (background)."""
        return self._run(partial(self._client.set_priority, job_id, priority))

    def job_waiting(self, job_id: int) -> JobWaiting:
        """Why a job does not run: the rule that holds it, and what would change it."""
        return self._run(partial(self._client.job_waiting, job_id))

    def retype_job(self, job_id: int, type: str) -> StatusAnswer:
        """Give a job that waits another type. One that runs or has ended refuses it, and so does one whose source has
        a job of that type (`job-exists`)."""
        return self._run(partial(self._client.retype_job, job_id, type))

    def set_requirements(self, job_id: int, requires: Sequence[str]) -> StatusAnswer:
        """Change what a job requires of its worker: all of it; nothing, where it is empty."""
        return self._run(partial(self._client.set_requirements, job_id, requires))

    def change_many(
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
        return self._run(
            partial(self._client.change_many, verb, ids=ids, dry_run=dry_run, filters=filters, **options)
        )

    def change_tags(self, job_id: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> StatusAnswer:
        """Add tags to a job, and remove some."""
        return self._run(partial(self._client.change_tags, job_id, add=add, remove=remove))

    def list_children(self, job_id: int, *, limit: int | None = None, cursor: str | None = None) -> ChildPage:
        """One page of what came of a job's outputs, by its chain."""
        return self._run(partial(self._client.list_children, job_id, limit=limit, cursor=cursor))

    def check_chain(
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
        return self._run(
            partial(
                self._client.check_chain,
                job_id,
                type=type,
                options=options,
                then=then,
                source_path=source_path,
                outputs=outputs,
            )
        )

    def list_paths(self, job_id: int, *, limit: int | None = None, cursor: int | None = None) -> PathPage:
        """One page of the paths under which a job's source was submitted."""
        return self._run(partial(self._client.list_paths, job_id, limit=limit, cursor=cursor))

    def list_attempts(self, job_id: int, *, limit: int | None = None, cursor: int | None = None) -> AttemptPage:
        """One page of a job's attempts with all that is known of them, newest first, those before `cursor`."""
        return self._run(partial(self._client.list_attempts, job_id, limit=limit, cursor=cursor))

    def begin_operation(
        self, verb: str, *, ids: Sequence[int] | None = None, filters: Mapping[str, Any] | None = None, **options: Any
    ) -> int:
        """The same as `change_many`, without waiting for it: the id of an operation, which goes on by itself."""
        return self._run(partial(self._client.begin_operation, verb, ids=ids, filters=filters, **options))

    def get_operation(self, operation_id: int) -> Operation:
        """How far an operation is, and what it has come to."""
        return self._run(partial(self._client.get_operation, operation_id))

    def list_operations(self, *, limit: int | None = None, cursor: int | None = None) -> OperationPage:
        """One page of the operations, newest first."""
        return self._run(partial(self._client.list_operations, limit=limit, cursor=cursor))

    def cancel_operation(self, operation_id: int) -> Operation:
        """Stop an operation; what it has changed stays."""
        return self._run(partial(self._client.cancel_operation, operation_id))

    def undo_operation(self, operation_id: int) -> int:
        """Take back what an operation has changed, by another one, whose id this is."""
        return self._run(partial(self._client.undo_operation, operation_id))

    def stats(self) -> Stats:
        """The queue in numbers."""
        return self._run(partial(self._client.stats))

    def tag_sizes(self, *, limit: int = 50, cursor: str | None = None) -> TagSizes:
        """What the jobs of each tag take, those with most first."""
        return self._run(partial(self._client.tag_sizes, limit=limit, cursor=cursor))

    def scale(self, *, type: str | None = None, drain_seconds: float | None = None) -> Scale:
        """How many workers would be done with what waits of this type (of all) in `drain_seconds` (an hour)."""
        return self._run(partial(self._client.scale, type=type, drain_seconds=drain_seconds))

    def history(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> History:
        """What happened in a `window` (`1h`, `24h`, `7d`, `30d`), or since then (and until then), to jobs of this
        type (of all)."""
        return self._run(partial(self._client.history, window=window, since=since, until=until, type=type))

    def times(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Times:
        """How long jobs stood in the queue and ran, in a range of time as with `history`."""
        return self._run(partial(self._client.times, window=window, since=since, until=until, type=type))

    def causes(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Causes:
        """Why attempts failed, in a range of time as with `history`."""
        return self._run(partial(self._client.causes, window=window, since=since, until=until, type=type))

    def marks(
        self,
        *,
        window: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        type: str | None = None,
    ) -> Marks:
        """When types were paused and resumed, and servers started and stopped, in a range as with `history`."""
        return self._run(partial(self._client.marks, window=window, since=since, until=until, type=type))

    def outlook(self) -> QueueEta:
        """When the queue will be empty."""
        return self._run(partial(self._client.outlook))

    def attention(self) -> Attention:
        """What a person should look at."""
        return self._run(partial(self._client.attention))

    def installation(self) -> Installation:
        """Which installation this is, and the public key that its manifests are signed with."""
        return self._run(partial(self._client.installation))

    def servers(self) -> Servers:
        """The servers that share the database."""
        return self._run(partial(self._client.servers))

    def database(self) -> Database:
        """The database itself, for administrators."""
        return self._run(partial(self._client.database))

    def health(self) -> Health:
        """How the server's parts are; `unhealthy` is an answer, too."""
        return self._run(partial(self._client.health))

    def whoami(self) -> WhoAmI:
        """The caller as the server sees us. ApiError 401: the server does not know the credential."""
        return self._run(partial(self._client.whoami))

    def glance(self, url: str, *, headers: Mapping[str, str] | None = None) -> Glance:
        """GET a URL (a path: one of the server's) once, without credential, and only look at the answer's head.

        Raises ServerUnreachable.
        """
        return self._run(partial(self._client.glance, url, headers=headers))

    def preflight(self, url: str, *, origin: str, method: str, names: Sequence[str]) -> Preflight:
        """Whether a browser may send this to the URL from a page of `origin`, with headers of these names.

        Raises ServerUnreachable.
        """
        return self._run(partial(self._client.preflight, url, origin=origin, method=method, names=names))

    def clock(self) -> datetime | None:
        """The time that the server's answers carry. None: they carry none."""
        return self._run(partial(self._client.clock))

    def source_upload_url(self, sha256: str) -> UploadUrl:
        """A signed URL to PUT the source with this hash to."""
        return self._run(partial(self._client.source_upload_url, sha256))

    def ready(self) -> bool:
        """Whether the server answers that it is ready. Never raises for one that is not."""
        return self._run(partial(self._client.ready))

    def download_url(self, job_id: int, which: Literal["source", "output"]) -> DownloadUrl:
        """A signed URL to GET a job's source or accepted output."""
        return self._run(partial(self._client.download_url, job_id, which))

    def download_urls(self, job_ids: Sequence[int], which: Literal["source", "output"] = "output") -> list[FileLink]:
        """Signed URLs to GET the sources or outputs of up to 500 jobs, in one request; answered item by item."""
        return self._run(partial(self._client.download_urls, job_ids, which))

    def output_urls(self, outputs: Sequence[tuple[int, str]]) -> list[FileLink]:
        """Signed URLs to GET up to 500 of several outputs, by job and name, in one request; answered item by item."""
        return self._run(partial(self._client.output_urls, outputs))

    def output_page(self, job_id: int, *, cursor: str = "", limit: int = 500) -> OutputPage:
        """The outputs of a job's accepted attempt, by name, from `cursor` on; up to 1000. None of a job without."""
        return self._run(partial(self._client.output_page, job_id, cursor=cursor, limit=limit))

    def output_url(self, job_id: int, name: str | None = None, *, former: bool = False) -> DownloadUrl:
        """A signed URL to GET one of a job's several outputs, or, without a name, the main one. `former`: of the
        result that is kept to be compared. ApiError `no-such-object` (404): none is so called."""
        return self._run(partial(self._client.output_url, job_id, name, former=former))

    def named_upload_urls(
        self, job_id: int, lease: str, outputs: Sequence[Mapping[str, Any]]
    ) -> list[NamedUploadUrl]:
        """Signed URLs for up to 500 outputs of the attempt that holds `lease`: `name`, and, where they are known,
        `checksum`, `size` and `media_type` of each. What was told of counts for `complete(outputs="all")`.

        ApiError `invalid` (422): one cannot be called so. `wrong-store` (409): an attempt has one output here.
        """
        return self._run(partial(self._client.named_upload_urls, job_id, lease, outputs))

    def download(
        self,
        url: str,
        target: Path,
        *,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
        beginning: Path | None = None,
    ) -> FileFacts:
        """GET a signed URL into `target`, which appears whole and verified or not at all.

        `beginning`: what came before it broke off is kept there, and a later call goes on from it.
        Raises TransferRefused, ServerUnreachable, ChecksumMismatch and OSError.
        """
        return self._run(
            partial(self._client.download, url, target, sha256=sha256, on_bytes=on_bytes, beginning=beginning)
        )

    def read(self, url: str, *, sha256: str | None = None, on_bytes: OnBytes | None = None) -> bytes:
        """GET a signed URL into memory: for small objects. Raises TransferRefused, ServerUnreachable and
        ChecksumMismatch."""
        return self._run(partial(self._client.read, url, sha256=sha256, on_bytes=on_bytes))

    def upload(
        self, url: str, source: Path, *, headers: Mapping[str, str] | None = None, on_bytes: OnBytes | None = None
    ) -> FileFacts:
        """PUT a file to a signed URL and return the size and hash of what was sent.

        Raises TransferRefused, ServerUnreachable and OSError.
        """
        return self._run(partial(self._client.upload, url, source, headers=headers, on_bytes=on_bytes))

    def store_sources(self, sources: Sequence[tuple[str, bytes]]) -> list[BatchItem]:
        """Upload small sources, (SHA-256, bytes) each, in one request; answered item by item.

        ApiError `wrong-store` (409): this server's object store has no such thing.
        """
        return self._run(partial(self._client.store_sources, sources))

    def make_batch(
        self,
        name: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        closed: bool | None = None,
        callback_url: str | None = None,
        callback_secret: str | None = None,
    ) -> BatchMade:
        """Make a batch, to submit jobs for by its id. ApiError `batch-exists` (409): one of that name is open.

        `callback_url`, at a host that the server's operator has named, is told each time that the batch ends, signed
        by `callback_secret` (`whsec_...`)."""
        return self._run(
            partial(
                self._client.make_batch,
                name,
                metadata=metadata,
                closed=closed,
                callback_url=callback_url,
                callback_secret=callback_secret,
            )
        )

    def get_batch(self, batch_id: int) -> BatchInfo:
        """How many of its jobs have come to what, and when all will have ended."""
        return self._run(partial(self._client.get_batch, batch_id))

    def list_batches(
        self,
        *,
        name: str | None = None,
        going: bool | None = None,
        limit: int | None = None,
        cursor: int | None = None,
    ) -> BatchInfoPage:
        """One page of the batches, newest first: those of one name, or those that are `going` on, or all."""
        return self._run(partial(self._client.list_batches, name=name, going=going, limit=limit, cursor=cursor))

    def close_batch(self, batch_id: int) -> BatchInfo:
        """No further jobs come to it: it ends when all that it has do."""
        return self._run(partial(self._client.close_batch, batch_id))

    def cancel_batch(self, batch_id: int, *, reason: str | None = None) -> int:
        """Close it, and cancel its jobs that have not ended: the id of the operation that does it."""
        return self._run(partial(self._client.cancel_batch, batch_id, reason=reason))

    def retry_batch(self, batch_id: int, *, cancelled: bool | None = None, reset_attempts: bool | None = None) -> int:
        """Bring its dead jobs back, and those that were `cancelled`, too: the id of the operation that does it."""
        return self._run(
            partial(self._client.retry_batch, batch_id, cancelled=cancelled, reset_attempts=reset_attempts)
        )

    def delete_batch(self, batch_id: int, *, results: bool | None = None) -> int:
        """Forget it; with `results` its jobs go for good, but for those of other batches: the id of the operation."""
        return self._run(partial(self._client.delete_batch, batch_id, results=results))

    def begin_canary(
        self,
        *,
        types: Sequence[str],
        made_by: str,
        against: str | None = None,
        sample: int | None = None,
        slower: float | None = None,
        priority: int | None = None,
        need_worker: bool = False,
    ) -> Canary:
        """Have documents converted once more by workers of the converter `made_by`, to compare the results.

        ApiError `nothing-to-compare` (409): no job of these types was converted; `no-worker-of-version` (409): with
        `need_worker`, where no such worker is online.
        """
        return self._run(
            partial(
                self._client.begin_canary,
                types=types,
                made_by=made_by,
                against=against,
                sample=sample,
                slower=slower,
                priority=priority,
                need_worker=need_worker,
            )
        )

    def list_canaries(self, *, limit: int | None = None, cursor: int | None = None) -> CanaryPage:
        """One page of the canaries, newest first."""
        return self._run(partial(self._client.list_canaries, limit=limit, cursor=cursor))

    def get_canary(self, canary_id: int) -> Canary:
        """How far a canary is."""
        return self._run(partial(self._client.get_canary, canary_id))

    def canary_report(self, canary_id: int, *, worst: int | None = None) -> CanaryReport:
        """What a canary has come to, with so many of the worst comparisons."""
        return self._run(partial(self._client.canary_report, canary_id, worst=worst))

    def canary_jobs(
        self, canary_id: int, *, outcome: str | None = None, limit: int | None = None, cursor: int | None = None
    ) -> CanaryJobPage:
        """One page of the comparisons of a canary, or of those of one outcome."""
        return self._run(partial(self._client.canary_jobs, canary_id, outcome=outcome, limit=limit, cursor=cursor))

    def cancel_canary(self, canary_id: int) -> Canary:
        """Stop a canary; what it has come to stays."""
        return self._run(partial(self._client.cancel_canary, canary_id))

    def list_workers(
        self, *, status: str | None = None, type: str | None = None, q: str | None = None, enabled: bool | None = None
    ) -> list[WorkerInfo]:
        """All workers that the server knows, or those that match; `q` is a part of the id or the name."""
        return self._run(partial(self._client.list_workers, status=status, type=type, q=q, enabled=enabled))

    def get_worker(self, worker_id: str) -> WorkerInfo:
        """One worker."""
        return self._run(partial(self._client.get_worker, worker_id))

    def worker_attempts(
        self, worker_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> WorkerAttempts:
        """A page of a worker's attempts, whatever became of them, the newest first."""
        return self._run(partial(self._client.worker_attempts, worker_id, limit=limit, cursor=cursor))

    def drain_worker(self, worker_id: str) -> StatusAnswer:
        """Let a worker end what it has and give it nothing new."""
        return self._run(partial(self._client.drain_worker, worker_id))

    def quarantine_worker(self, worker_id: str, reason: str | None = None) -> StatusAnswer:
        """Give a worker no jobs, and no trials either, until it is readmitted; what it runs, it may end."""
        return self._run(partial(self._client.quarantine_worker, worker_id, reason))

    def readmit_worker(self, worker_id: str) -> StatusAnswer:
        """End a worker's quarantine; what it has failed so far does not count any more."""
        return self._run(partial(self._client.readmit_worker, worker_id))

    def remove_worker(self, worker_id: str) -> StatusAnswer:
        """Forget a worker; its running jobs go back at once."""
        return self._run(partial(self._client.remove_worker, worker_id))

    def remove_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        dry_run: bool = False,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> BulkDone:
        """Forget many workers, by their ids or a filter; by a filter, the offline ones unless `status` is named."""
        return self._run(
            partial(
                self._client.remove_workers,
                ids=ids,
                dry_run=dry_run,
                status=status,
                type=type,
                q=q,
                silent_since=silent_since,
            )
        )

    def drain_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        drain: bool = True,
        dry_run: bool = False,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> BulkDone:
        """Let many workers end what they have and give them nothing new, by their ids or a filter; with `drain` false
        that is over."""
        return self._run(
            partial(
                self._client.drain_workers,
                ids=ids,
                drain=drain,
                dry_run=dry_run,
                status=status,
                type=type,
                q=q,
                silent_since=silent_since,
            )
        )

    def begin_removing_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> int:
        """Have the server forget many workers by itself, as an operation; returns its number."""
        return self._run(
            partial(
                self._client.begin_removing_workers, ids=ids, status=status, type=type, q=q, silent_since=silent_since
            )
        )

    def create_worker(self, worker_id: str, type: str, name: str | None = None) -> WorkerSecret:
        """Make a worker credential; its secret is in this answer and nowhere else."""
        return self._run(partial(self._client.create_worker, worker_id, type, name))

    def rotate_worker(self, worker_id: str) -> WorkerSecret:
        """Give a worker a new secret; the old one is void."""
        return self._run(partial(self._client.rotate_worker, worker_id))

    def enable_worker(self, worker_id: str, enabled: bool) -> StatusAnswer:
        """Enable or disable a worker's credential."""
        return self._run(partial(self._client.enable_worker, worker_id, enabled))

    def list_types(self, *, limit: int | None = None, cursor: str | None = None) -> TypesPage:
        """A page of the types of jobs, by name, with what is set for each."""
        return self._run(partial(self._client.list_types, limit=limit, cursor=cursor))

    def get_type(self, type: str) -> TypeInfo:
        """One type, with what is set for it."""
        return self._run(partial(self._client.get_type, type))

    def change_type(
        self,
        type: str,
        *,
        max_attempts: int | None = None,
        retry_backoff: float | None = None,
        max_running: int | None = None,
        rate: tuple[int, float] | None = None,
        worker_timeout: float | None = None,
        weights: Mapping[str, int] | None = None,
        breaker: int | None = None,
        urgent_after: float | None = None,
        own_fault: bool | None = None,
        quarantine: bool | None = None,
        then: Sequence[Mapping[str, Any]] | None = None,
        unset: Sequence[str] = (),
    ) -> TypeInfo:
        """Set something for a type; what is named in `unset` is as the server's settings say again. `rate`: so many
        jobs may be started in so many seconds; `worker_timeout`: how many a lease lasts that no heartbeat renews;
        `weights`: how much of the turns these groups get, where others have 1 ("": jobs without a group); `breaker`:
        so many failures in a row pause the type (0: none do); `own_fault`: a document that two sound workers have
        failed the same way is dead at once; `quarantine`: whether machines are for what they fail of the type;
        `urgent_after`: a job that has been ready for so many seconds is urgent; `then`: the steps that follow its
        jobs (`submit_job`), where a submission says nothing of it."""
        return self._run(
            partial(
                self._client.change_type,
                type,
                max_attempts=max_attempts,
                retry_backoff=retry_backoff,
                max_running=max_running,
                rate=rate,
                worker_timeout=worker_timeout,
                weights=weights,
                breaker=breaker,
                urgent_after=urgent_after,
                own_fault=own_fault,
                quarantine=quarantine,
                then=then,
                unset=unset,
            )
        )

    def pause_type(self, type: str, reason: str | None = None) -> StatusAnswer:
        """Have no job of the type given out; what runs goes on."""
        return self._run(partial(self._client.pause_type, type, reason))

    def resume_type(self, type: str) -> StatusAnswer:
        """Have the jobs of a paused type given out again."""
        return self._run(partial(self._client.resume_type, type))

    def backup(self) -> BackupReport:
        """How the backup is, with the last drills."""
        return self._run(partial(self._client.backup))

    def begin_drill(self) -> StatusAnswer:
        """Have the server restore its backup to the side and compare it; `backup` tells when it is over."""
        return self._run(partial(self._client.begin_drill))

    def drills(self, *, limit: int | None = None, cursor: int | None = None, ok: bool | None = None) -> DrillsPage:
        """A page of the drills on record, newest first, at most 100."""
        return self._run(partial(self._client.drills, limit=limit, cursor=cursor, ok=ok))

    def list_tokens(
        self, *, q: str | None = None, scope: str | None = None, expired: bool | None = None
    ) -> list[TokenInfo]:
        """All API tokens, or those that match, without their secrets; `q` is a part of the name."""
        return self._run(partial(self._client.list_tokens, q=q, scope=scope, expired=expired))

    def create_token(self, name: str, *, scopes: Sequence[str] = (), expires_in_days: int | None = None) -> NewToken:
        """Make an API token; without scopes it may `read` and `submit`."""
        return self._run(partial(self._client.create_token, name, scopes=scopes, expires_in_days=expires_in_days))

    def delete_token(self, token_id: str) -> StatusAnswer:
        """Delete an API token; it is void at once."""
        return self._run(partial(self._client.delete_token, token_id))

    def find_orphans(self, *, delete: bool = False) -> StatusAnswer:
        """Begin to look for objects that no job needs; with `delete`, they are deleted. See `orphan_search`."""
        return self._run(partial(self._client.find_orphans, delete=delete))

    def orphan_search(self, *, limit: int | None = None, cursor: int | None = None) -> OrphanSearch:
        """How that search goes, or what the last one found, with a page of the names."""
        return self._run(partial(self._client.orphan_search, limit=limit, cursor=cursor))

    def superseded(self, *, older_than: float | None = None, keep: int | None = None) -> SupersededAnswer:
        """How many results others have replaced, and how many would go by this rule (seconds; of each job); without
        one, by the server's settings. Nothing is deleted."""
        return self._run(partial(self._client.superseded, older_than=older_than, keep=keep))

    def list_users(self, *, q: str | None = None, admin: bool | None = None) -> list[UserInfo]:
        """The users that have signed in through the identity provider, or those that match."""
        return self._run(partial(self._client.list_users, q=q, admin=admin))

    def audit(
        self,
        *,
        limit: int | None = None,
        cursor: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AuditPage:
        """One page of the audit log, newest first, at most 1,000 entries; times are RFC 3339."""
        return self._run(
            partial(
                self._client.audit,
                limit=limit,
                cursor=cursor,
                actor=actor,
                action=action,
                subject=subject,
                since=since,
                until=until,
            )
        )

    def list_webhooks(self) -> list[WebhookInfo]:
        """All webhooks, without their secrets."""
        return self._run(partial(self._client.list_webhooks))

    def get_webhook(self, webhook_id: int) -> WebhookInfo:
        """One webhook."""
        return self._run(partial(self._client.get_webhook, webhook_id))

    def create_webhook(
        self,
        url: str,
        events: Sequence[str],
        *,
        types: Sequence[str] = (),
        tags: Sequence[str] = (),
        group: str | None = None,
        batch: int | None = None,
        results: bool = False,
    ) -> WebhookSecret:
        """Have an endpoint be told of these events, where they are about one of these types, one of these tags, this
        group and this batch, as far as those are given. `results`: with URLs to download what a job came to."""
        return self._run(
            partial(
                self._client.create_webhook,
                url,
                events,
                types=types,
                tags=tags,
                group=group,
                batch=batch,
                results=results,
            )
        )

    def change_webhook(
        self,
        webhook_id: int,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        group: str | None = None,
        batch: int | None = None,
        results: bool | None = None,
        enabled: bool | None = None,
        unset: Sequence[str] = (),
    ) -> WebhookInfo:
        """Change what it is sent, disable or enable it. `unset` names the filters that it is to have no longer."""
        return self._run(
            partial(
                self._client.change_webhook,
                webhook_id,
                url=url,
                events=events,
                types=types,
                tags=tags,
                group=group,
                batch=batch,
                results=results,
                enabled=enabled,
                unset=unset,
            )
        )

    def delete_webhook(self, webhook_id: int) -> StatusAnswer:
        """Tell an endpoint nothing more."""
        return self._run(partial(self._client.delete_webhook, webhook_id))

    def rotate_webhook_secret(self, webhook_id: int, *, overlap: float | None = None) -> WebhookSecret:
        """Give it another secret, and sign with both for `overlap` seconds (a day, if absent)."""
        return self._run(partial(self._client.rotate_webhook_secret, webhook_id, overlap=overlap))

    def test_webhook(self, webhook_id: int) -> DeliveryBegun:
        """Send it something, to try it; `webhook_deliveries` has what came of it."""
        return self._run(partial(self._client.test_webhook, webhook_id))

    def webhook_deliveries(
        self, webhook_id: int, *, state: str | None = None, limit: int | None = None, cursor: int | None = None
    ) -> Deliveries:
        """A page of what it was sent, the newest first. `state`: only what waits (`waiting`), was `delivered` or was
        given up (`failed`); such a page may have fewer than `limit`, or none, and more behind its `next_cursor`."""
        return self._run(
            partial(self._client.webhook_deliveries, webhook_id, state=state, limit=limit, cursor=cursor)
        )

    def redeliver(self, webhook_id: int, delivery_id: int) -> DeliveryBegun:
        """Send something once more, with the id that it had."""
        return self._run(partial(self._client.redeliver, webhook_id, delivery_id))

    def redeliver_range(
        self, webhook_id: int, *, since: datetime, until: datetime, all: bool = False, cursor: int | None = None
    ) -> Redelivered:
        """Send once more what happened within this time and was given up; with `all`, what was delivered, too. Where
        the answer has a `next_cursor`, there is more."""
        return self._run(
            partial(self._client.redeliver_range, webhook_id, since=since, until=until, all=all, cursor=cursor)
        )
