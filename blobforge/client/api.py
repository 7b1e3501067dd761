"""`Endpoints`: the endpoints as typed methods. Each does one exchange and says nothing on any stream.

    async with AsyncClient("http://localhost:8080", token="bf_...") as client:
        page = await client.list_jobs(status="dead")

Every method raises ApiError (the server said no), ServerUnreachable (no answer) or UnexpectedAnswer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from blobforge.client import transfer
from blobforge.client.errors import ApiError, ClientError
from blobforge.client.events import EventStream
from blobforge.client.transfer import FileFacts, OnBytes
from blobforge.client.transport import ANSWER_TIMEOUT, Glance, OnRetry, Transport
from blobforge.client.types import (
    Attention,
    AuditPage,
    BackupReport,
    BatchAnswer,
    BatchItem,
    BulkDone,
    ClaimAnswer,
    ClaimedJob,
    Comparison,
    ComparisonPage,
    Database,
    DownloadUrl,
    DrillsPage,
    FailAnswer,
    FileLink,
    FileLinks,
    Health,
    HeartbeatAnswer,
    Installation,
    Job,
    JobFilters,
    JobPage,
    MultipartUpload,
    NamedUploadUrl,
    NamedUploadUrls,
    NewToken,
    Operation,
    OperationBegun,
    OperationPage,
    OrphanSearch,
    OutputPage,
    PartsDestination,
    PartUrl,
    PathPage,
    Registration,
    ReleaseCause,
    Servers,
    Stats,
    StatusAnswer,
    Submission,
    SupersededAnswer,
    TokenInfo,
    UploadUrl,
    UserInfo,
    WhoAmI,
    WorkerAttempts,
    WorkerInfo,
    WorkerSecret,
)
from blobforge.login.credentials import DEFAULT_URL

T = TypeVar("T")

DEFAULT_PATIENCE = 3.0
LARGEST_CLAIM = 500  # jobs
LONGEST_WAIT = 60  # seconds that the server holds a claim open at most
_BULK = 600.0  # seconds: the server changes jobs by the thousand, and answers once at the end


def is_credential(word: str) -> bool:
    """Whether an HTTP header can carry it. Of a file with Windows' line ends, \\r is left over."""
    return word.isascii() and word.isprintable() and " " not in word


class Endpoints:
    """What the server can be asked, with one credential.

    `token` is an API token; `worker` is a pair of worker id and secret. `patience` is how many seconds a call is
    repeated for while the server does not answer or says "later"; see `with_patience`.
    Raises ValueError for a base URL or a credential that is none.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        worker: tuple[str, str] | None = None,
        patience: float = DEFAULT_PATIENCE,
        on_retry: OnRetry | None = None,
    ) -> None:
        if not all(is_credential(word) for word in (token, *(worker or ())) if word is not None):
            raise ValueError("a credential is printable ASCII without spaces and line ends")
        auth: dict[str, str] = {}
        if token is not None:
            auth["Authorization"] = f"Bearer {token}"
        if worker is not None:
            auth["X-Worker-ID"], auth["X-Worker-Secret"] = worker
        self._transport = Transport(base_url, auth, user_agent="blobforge", on_retry=on_retry)
        self._patience = patience
        self._instance: str | None = None

    @property
    def base_url(self) -> str:
        """The server's URL, without a slash at its end."""
        return self._transport.base_url

    def with_patience(self, seconds: float) -> Self:
        """The same client, on the same connections, whose calls are repeated for `seconds` (`math.inf`: for ever)."""
        other = copy.copy(self)
        other._patience = seconds
        return other

    def with_instance(self, instance: str) -> Self:
        """The same client, on the same connections, whose calls as a worker say that this process makes them."""
        other = copy.copy(self)
        other._instance = instance
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    # Jobs

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
    ) -> Submission:
        """Submit a job; one of the same source, type and options that is there already is answered instead. `options`
        are what the converter is to do."""
        body = _without_none(
            type=type,
            source_hash=source_hash,
            source_path=source_path,
            source_size=source_size,
            priority=priority,
            max_attempts=max_attempts,
            tags=list(tags) if tags else None,
            metadata=dict(metadata) if metadata else None,
            options=dict(options) if options else None,
            # The store then checks the bytes as they come in, so that the server need not read them again to verify
            # them.
            bind_checksum=True,
        )
        return await self._post("/api/jobs", Submission, body, once_only=True)

    async def submit_jobs(self, jobs: Sequence[Mapping[str, Any]]) -> BatchAnswer:
        """Submit up to 1,000 jobs in one round trip, each with the fields of `submit_job`; answered item by item.

        A repetition finds the jobs that the lost answer was about.
        """
        body = {"jobs": [{**job, "bind_checksum": True} for job in jobs]}
        return await self._post("/api/jobs/batch", BatchAnswer, body, answer_timeout=_BULK)

    async def source_uploaded(self, job_id: int) -> StatusAnswer:
        """Tell the server that the source has arrived."""
        return await self._post(f"/api/jobs/{job_id}/uploaded", StatusAnswer)

    async def list_jobs(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> JobPage:
        """One page of jobs, at most 100, by priority and then newest first."""
        params = _without_none(**filters, limit=limit, offset=offset, cursor=cursor)
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
        params = _without_none(**filters, limit=limit, cursor=cursor)
        return await self._call("GET", "/api/results/comparisons", ComparisonPage, params=params)

    async def retry_job(
        self, job_id: int, *, reset_attempts: bool = False, priority: int | None = None, compare: bool = False
    ) -> StatusAnswer:
        """Put a failed, dead, cancelled or completed job back in the queue. `compare`: its result is kept for a while
        beside the next one (`compare_job`)."""
        body = _without_none(reset_attempts=reset_attempts or None, priority=priority, compare=compare or None)
        return await self._post(f"/api/jobs/{job_id}/retry", StatusAnswer, body, once_only=True)

    async def cancel_job(self, job_id: int) -> StatusAnswer:
        """Cancel a job at once, a running one too."""
        return await self._post(f"/api/jobs/{job_id}/cancel", StatusAnswer, {}, once_only=True)

    async def delete_job(self, job_id: int) -> None:
        """Delete a job for good; one's own that waits for its source needs the scope `submit`, any other `admin`."""
        await self._call("DELETE", f"/api/jobs/{job_id}", type(None))

    async def set_priority(self, job_id: int, priority: int) -> StatusAnswer:
        """Change a job's priority: 1 (critical) to 5 (background)."""
        return await self._call("PATCH", f"/api/jobs/{job_id}/priority", StatusAnswer, body={"priority": priority})

    async def change_many(
        self,
        verb: str,
        *,
        ids: Sequence[int] | None = None,
        dry_run: bool = False,
        filters: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> BulkDone:
        """`retry`, `cancel`, `delete` or reprioritise (`priority`) many jobs, by their ids or by a filter.

        `filters` are JobFilters, as for `list_jobs` (the priority that jobs have may be called `only_priority`, as
        it is in the body); `options` are those of the verb: `reset_attempts`, `priority`, `compare`, `objects`,
        `add`, `remove`.
        """
        wanted = {"only_priority" if name == "priority" else name: value for name, value in (filters or {}).items()}
        body = _without_none(ids=list(ids) if ids else None, dry_run=dry_run or None, **wanted, **options)
        return await self._post(f"/api/jobs/{verb}", BulkDone, body, once_only=not dry_run, answer_timeout=_BULK)

    async def change_tags(self, job_id: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> StatusAnswer:
        """Add tags to a job, and remove some."""
        body = {"add": list(add), "remove": list(remove)}
        return await self._call("PATCH", f"/api/jobs/{job_id}/tags", StatusAnswer, body=body)

    async def list_paths(self, job_id: int, *, limit: int | None = None, cursor: int | None = None) -> PathPage:
        """One page of the paths under which a job's source was submitted."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/paths", PathPage, params=_without_none(limit=limit, cursor=cursor)
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
        wanted = {"only_priority" if name == "priority" else name: value for name, value in (filters or {}).items()}
        body = _without_none(ids=list(ids) if ids else None, background=True, **wanted, **options)
        return (await self._post(f"/api/jobs/{verb}", OperationBegun, body, once_only=True)).operation

    async def get_operation(self, operation_id: int) -> Operation:
        """How far an operation is, and what it has come to."""
        return await self._call("GET", f"/api/operations/{operation_id}", Operation)

    async def list_operations(self, *, limit: int | None = None, cursor: int | None = None) -> OperationPage:
        """One page of the operations, newest first."""
        return await self._call(
            "GET", "/api/operations", OperationPage, params=_without_none(limit=limit, cursor=cursor)
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

    # Files

    async def download_url(self, job_id: int, which: Literal["source", "output"]) -> DownloadUrl:
        """A signed URL to GET a job's source or accepted output."""
        return await self._call("GET", f"/api/files/{job_id}/{which}/url", DownloadUrl)

    async def download_urls(
        self, job_ids: Sequence[int], which: Literal["source", "output"] = "output"
    ) -> list[FileLink]:
        """Signed URLs to GET the sources or outputs of up to 500 jobs, in one request; answered item by item."""
        body = {"items": [{"job_id": job_id, "kind": which} for job_id in job_ids]}
        return (await self._post("/api/files/urls", FileLinks, body)).items

    async def output_urls(self, outputs: Sequence[tuple[int, str]]) -> list[FileLink]:
        """Signed URLs to GET up to 500 of several outputs, by job and name, in one request; answered item by item."""
        body = {"items": [{"job_id": job_id, "kind": "output", "name": name} for job_id, name in outputs]}
        return (await self._post("/api/files/urls", FileLinks, body)).items

    async def output_page(self, job_id: int, *, cursor: str = "", limit: int = 500) -> OutputPage:
        """The outputs of a job's accepted attempt, by name, from `cursor` on; up to 1000. None of a job without."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/outputs", OutputPage, params={"cursor": cursor, "limit": limit}
        )

    async def output_url(self, job_id: int, name: str | None = None, *, former: bool = False) -> DownloadUrl:
        """A signed URL to GET one of a job's several outputs, or, without a name, the main one. `former`: of the
        result that is kept to be compared. ApiError `no-such-object` (404): none is so called."""
        params = _without_none(name=name, former="true" if former else None)
        return await self._call("GET", f"/api/files/{job_id}/output/url", DownloadUrl, params=params)

    async def named_upload_urls(
        self, job_id: int, lease: str, outputs: Sequence[Mapping[str, Any]]
    ) -> list[NamedUploadUrl]:
        """Signed URLs for up to 500 outputs of the attempt that holds `lease`: `name`, and, where they are known,
        `checksum`, `size` and `media_type` of each. What was told of counts for `complete(outputs="all")`.

        ApiError `invalid` (422): one cannot be called so. `wrong-store` (409): an attempt has one output here.
        """
        body = {
            "job_id": job_id,
            "lease": lease,
            "names": [dict(each) for each in outputs],
            "instance": self._instance,
        }
        answer = await self._post("/api/files/upload-url", NamedUploadUrls, _without_none(**body))
        if answer.urls is None:
            raise ApiError(409, "wrong-store", "This server's release knows one output of an attempt.")
        return answer.urls

    async def fresh_upload_url(self, job_id: int, lease: str) -> UploadUrl:
        """A fresh signed URL for the output of the attempt that holds `lease`; its headers go along with the PUT."""
        body = {"job_id": job_id, "lease": lease, "write_once": True}
        return await self._post("/api/files/upload-url", UploadUrl, body)

    async def download(
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
        return await transfer.download(
            self._transport,
            url,
            target,
            patience=self._patience,
            sha256=sha256,
            on_bytes=on_bytes,
            beginning=beginning,
        )

    async def read(self, url: str, *, sha256: str | None = None, on_bytes: OnBytes | None = None) -> bytes:
        """GET a signed URL into memory: for small objects. Raises TransferRefused, ServerUnreachable and
        ChecksumMismatch."""
        return await transfer.read(self._transport, url, patience=self._patience, sha256=sha256, on_bytes=on_bytes)

    async def upload(
        self,
        url: str,
        source: Path,
        *,
        headers: Mapping[str, str] | None = None,
        on_bytes: OnBytes | None = None,
    ) -> FileFacts:
        """PUT a file to a signed URL and return the size and hash of what was sent.

        Raises TransferRefused, ServerUnreachable and OSError.
        """
        return await transfer.upload(
            self._transport, url, source, patience=self._patience, headers=headers, on_bytes=on_bytes
        )

    async def store_sources(self, sources: Sequence[tuple[str, bytes]]) -> list[BatchItem]:
        """Upload small sources, (SHA-256, bytes) each, in one request; answered item by item.

        ApiError `wrong-store` (409): this server's object store has no such thing.
        """
        body = {"sources": [{"source_hash": sha256, "data": data} for sha256, data in sources]}
        return (await self._post("/api/files/sources", BatchAnswer, body, answer_timeout=_BULK)).items

    async def begin_multipart(self, to: PartsDestination, size: int) -> MultipartUpload:
        """Start the upload of a large file in parts, or take up one that broke off.

        ApiError `wrong-store` (409): one PUT takes it all. `object-too-large` (413): nothing does.
        """
        return await self._post("/api/files/multipart", MultipartUpload, _parts_of(to) | {"size": size})

    async def upload_part(
        self,
        to: PartsDestination,
        upload_id: str,
        number: int,
        source: Path,
        span: tuple[int, int],
        md5: str,
        *,
        on_bytes: OnBytes | None = None,
    ) -> str:
        """PUT one part, `span` (start, length) of the file whose MD5 is `md5` (base64); return its ETag.

        Every try has a URL of its own. Raises TransferRefused, ServerUnreachable, ApiError and OSError.
        """
        body = _parts_of(to) | {"upload_id": upload_id, "number": number, "md5": md5}

        async def once() -> str:
            signed = await self.with_patience(0)._post("/api/files/multipart/part", PartUrl, body)
            return await transfer.upload_part(
                self._transport, signed.url, source, span, headers=signed.headers, on_bytes=on_bytes
            )

        etag: str = await self._transport.patiently(once, self._patience)
        return etag

    async def complete_multipart(
        self, to: PartsDestination, upload_id: str, parts: Sequence[tuple[int, str]]
    ) -> None:
        """Make the object out of its parts, (number, ETag) each.

        ApiError `upload-gone` (409): they are not there, or others are. `object-too-large` (413): together they are.
        """
        listed = [{"number": number, "etag": etag} for number, etag in parts]
        body = _parts_of(to) | {"upload_id": upload_id, "parts": listed}
        await self._post("/api/files/multipart/complete", StatusAnswer, body, answer_timeout=_BULK)

    async def abort_multipart(self, to: PartsDestination, upload_id: str) -> None:
        """Throw away what has been uploaded in parts."""
        await self._post("/api/files/multipart/abort", StatusAnswer, _parts_of(to) | {"upload_id": upload_id})

    # A worker's own calls

    async def register(
        self,
        worker_id: str,
        type: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        labels: Sequence[str] | None = None,
        version: str | None = None,
        replaces: str | None = None,
        converter: str | None = None,
    ) -> Registration:
        """Make this worker known; it counts as a sign of life. `converter` is what it works with: a name and a
        version, as "marker 1.3.2".

        ApiError `instance-alive` (409): another process is this worker. `replaces` is the instance of one that ended.
        """
        body = _without_none(
            instance=self._instance,
            replaces=replaces,
            id=worker_id,
            type=type,
            metadata=dict(metadata) if metadata else None,
            labels=list(labels) if labels else None,
            version=version,
            converter=converter,
        )
        return await self._post("/api/workers/register", Registration, body)

    async def unregister(self, worker_id: str) -> StatusAnswer:
        """Leave; jobs that still run here go back without costing an attempt."""
        body = _without_none(instance=self._instance)
        return await self._post(f"/api/workers/{_part(worker_id)}/unregister", StatusAnswer, body)

    async def heartbeat(self, worker_id: str, jobs: Sequence[Mapping[str, Any]] = ()) -> HeartbeatAnswer:
        """Sign of life; renews the leases of `jobs`, each `{"job_id", "lease", "progress"}`."""
        body = _without_none(jobs=list(jobs) or None, instance=self._instance)
        return await self._post(f"/api/workers/{_part(worker_id)}/heartbeat", HeartbeatAnswer, body)

    async def claim(
        self,
        worker_id: str,
        job_types: Sequence[str],
        *,
        claim_key: str,
        wait: float = 0,
        limit: int = 1,
        accepts: Sequence[str] = (),
    ) -> list[ClaimedJob]:
        """Take up to `limit` jobs, waiting up to `wait` seconds (60 at most) for the first. Jobs with options are
        given to a worker that accepts `options`.

        `claim_key` names this claim: repeated with the same key, after an answer was lost, it gets the same jobs.
        An upload carries the `upload_headers` of the claim along, which keep its URL from writing over anything.
        """
        wait = min(max(wait, 0), LONGEST_WAIT)
        body = {
            "worker_id": worker_id,
            "job_types": list(job_types),
            "wait": math.ceil(wait),
            "limit": limit,
            "claim_key": claim_key,
            "write_once": True,  # older servers do not know it, and give no headers
            **_without_none(instance=self._instance, accepts=list(accepts) or None),
        }
        answer = await self._post("/api/jobs/claim", ClaimAnswer, body, answer_timeout=ANSWER_TIMEOUT + wait)
        return answer.jobs

    async def complete(
        self,
        job_id: int,
        worker_id: str,
        lease: str,
        *,
        output_key: str | None = None,
        checksum: str | None = None,
        result: Mapping[str, Any] | None = None,
        outputs: Sequence[Mapping[str, Any]] | Literal["all"] | None = None,
        converter: str | None = None,
    ) -> StatusAnswer:
        """Report success, with one output (`output_key`) or several: `outputs`, the main one first, or "all", and
        `output_key` is that of the main one. `converter` is what has made it, as "marker 1.3.2".

        ApiError `lease-lost` (409): the job is no longer this worker's, its output is not used.
        """
        body = _without_none(
            worker_id=worker_id,
            lease=lease,
            outputs=outputs,
            output_key=output_key,
            checksum=checksum,
            result=dict(result) if result else None,
            converter=converter,
            instance=self._instance,
        )
        return await self._post(f"/api/jobs/{job_id}/complete", StatusAnswer, body, once_only=True)

    async def fail(
        self,
        job_id: int,
        worker_id: str,
        lease: str,
        error: str,
        *,
        kind: str | None = None,
        traceback: str | None = None,
        log_tail: str | None = None,
        retryable: bool = True,
    ) -> FailAnswer:
        """Report a failure of the document; `retryable=False` sends it to `dead` at once."""
        body = _without_none(
            worker_id=worker_id,
            lease=lease,
            error=error,
            kind=kind,
            traceback=traceback,
            log_tail=log_tail,
            retryable=None if retryable else False,
            instance=self._instance,
        )
        return await self._post(f"/api/jobs/{job_id}/fail", FailAnswer, body, once_only=True)

    async def release(
        self, job_id: int, worker_id: str, lease: str, reason: str, *, cause: ReleaseCause = "trouble"
    ) -> StatusAnswer:
        """Give a job back; it costs no attempt.

        With the cause `shutdown` or `preempted` it is ready again at once. For `trouble` it waits out a back-off, and
        when that happens too often in a row, each time counts as a lost worker.
        """
        body = _without_none(
            worker_id=worker_id, lease=lease, reason=reason[:1000], cause=cause, instance=self._instance
        )
        return await self._post(f"/api/jobs/{job_id}/release", StatusAnswer, body, once_only=True)

    # Workers, as an administrator sees them

    async def list_workers(
        self,
        *,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        enabled: bool | None = None,
    ) -> list[WorkerInfo]:
        """All workers that the server knows, or those that match; `q` is a part of the id or the name."""
        filters = {"status": status, "type": type, "q": q, "enabled": _flag(enabled)}
        return await self._every_page("/api/workers", WorkerInfo, **filters)

    async def get_worker(self, worker_id: str) -> WorkerInfo:
        """One worker."""
        return await self._call("GET", f"/api/workers/{_part(worker_id)}", WorkerInfo)

    async def worker_attempts(
        self, worker_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> WorkerAttempts:
        """A page of a worker's attempts, whatever became of them, the newest first."""
        params = _without_none(limit=limit, cursor=cursor)
        return await self._call("GET", f"/api/workers/{_part(worker_id)}/attempts", WorkerAttempts, params=params)

    async def drain_worker(self, worker_id: str) -> StatusAnswer:
        """Let a worker end what it has and give it nothing new."""
        return await self._post(f"/api/workers/{_part(worker_id)}/drain", StatusAnswer)

    async def remove_worker(self, worker_id: str) -> StatusAnswer:
        """Forget a worker; its running jobs go back at once."""
        return await self._call("DELETE", f"/api/workers/{_part(worker_id)}", StatusAnswer)

    async def remove_workers(
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
        body = _without_none(
            ids=list(ids) if ids else None,
            dry_run=dry_run or None,
            status=status,
            type=type,
            q=q,
            silent_since=silent_since,
        )
        return await self._post("/api/workers/remove", BulkDone, body, once_only=not dry_run, answer_timeout=_BULK)

    async def create_worker(self, worker_id: str, type: str, name: str | None = None) -> WorkerSecret:
        """Make a worker credential; its secret is in this answer and nowhere else."""
        body = _without_none(id=worker_id, type=type, name=name)
        return await self._post("/api/admin/workers", WorkerSecret, body, once_only=True)

    async def rotate_worker(self, worker_id: str) -> WorkerSecret:
        """Give a worker a new secret; the old one is void."""
        path = f"/api/admin/workers/{_part(worker_id)}/regenerate"
        return await self._post(path, WorkerSecret, {}, once_only=True)

    async def enable_worker(self, worker_id: str, enabled: bool) -> StatusAnswer:
        """Enable or disable a worker's credential."""
        action = "enable" if enabled else "disable"
        return await self._post(f"/api/admin/workers/{_part(worker_id)}/{action}", StatusAnswer)

    # The backup

    async def backup(self) -> BackupReport:
        """How the backup is, with the last drills."""
        return await self._call("GET", "/api/admin/backup", BackupReport)

    async def begin_drill(self) -> StatusAnswer:
        """Have the server restore its backup to the side and compare it; `backup` tells when it is over."""
        return await self._post("/api/admin/backup/drill", StatusAnswer, {}, once_only=True)

    async def drills(
        self, *, limit: int | None = None, cursor: int | None = None, ok: bool | None = None
    ) -> DrillsPage:
        """A page of the drills on record, newest first, at most 100."""
        params = _without_none(limit=limit, cursor=cursor, ok=_flag(ok))
        return await self._call("GET", "/api/admin/backup/drills", DrillsPage, params=params)

    # Tokens

    async def list_tokens(
        self, *, q: str | None = None, scope: str | None = None, expired: bool | None = None
    ) -> list[TokenInfo]:
        """All API tokens, or those that match, without their secrets; `q` is a part of the name."""
        return await self._every_page("/api/admin/tokens", TokenInfo, q=q, scope=scope, expired=_flag(expired))

    async def create_token(
        self, name: str, *, scopes: Sequence[str] = (), expires_in_days: int | None = None
    ) -> NewToken:
        """Make an API token; without scopes it may `read` and `submit`."""
        body = _without_none(name=name, scopes=list(scopes) or None, expires_in=expires_in_days)
        return await self._post("/api/admin/tokens", NewToken, body, once_only=True)

    async def delete_token(self, token_id: str) -> StatusAnswer:
        """Delete an API token; it is void at once."""
        return await self._call("DELETE", f"/api/admin/tokens/{_part(token_id)}", StatusAnswer)

    # Housekeeping

    async def find_orphans(self, *, delete: bool = False) -> StatusAnswer:
        """Begin to look for objects that no job needs; with `delete`, they are deleted. See `orphan_search`."""
        return await self._post("/api/admin/orphans", StatusAnswer, {"dry_run": not delete})

    async def orphan_search(self, *, limit: int | None = None, cursor: int | None = None) -> OrphanSearch:
        """How that search goes, or what the last one found, with a page of the names."""
        params = _without_none(limit=limit, cursor=cursor)
        return await self._call("GET", "/api/admin/orphans", OrphanSearch, params=params)

    async def superseded(self, *, older_than: float | None = None, keep: int | None = None) -> SupersededAnswer:
        """How many results others have replaced, and how many would go by this rule (seconds; of each job); without
        one, by the server's settings. Nothing is deleted."""
        params = _without_none(older_than=older_than, keep=keep)
        return await self._call("GET", "/api/admin/superseded", SupersededAnswer, params=params)

    # People

    async def list_users(self, *, q: str | None = None, admin: bool | None = None) -> list[UserInfo]:
        """The users that have signed in through the identity provider, or those that match."""
        return await self._every_page("/api/admin/users", UserInfo, q=q, admin=_flag(admin))

    async def audit(
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
        params = _without_none(
            limit=limit, cursor=cursor, actor=actor, action=action, subject=subject, since=since, until=until
        )
        return await self._call("GET", "/api/admin/audit", AuditPage, params=params)

    # How

    async def _call(self, method: str, path: str, answer: type[T], **how: Any) -> T:
        return await self._transport.call(method, path, answer, patience=self._patience, **how)

    async def _every_page(self, path: str, item: type[T], **params: Any) -> list[T]:
        return await self._transport.every_page(path, item, patience=self._patience, params=_without_none(**params))

    async def _post(self, path: str, answer: type[T], body: Mapping[str, Any] | None = None, **how: Any) -> T:
        return await self._call("POST", path, answer, body=body, **how)


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _flag(flag: bool | None) -> str | None:
    """The flag as a query's text."""
    return None if flag is None else str(flag).lower()


def _parts_of(to: PartsDestination) -> dict[str, Any]:
    """The members of a request by which the server knows whose parts they are."""
    known: dict[str, Any] = msgspec.to_builtins(to)
    return known


def _part(name: str) -> str:
    """An id as one part of a path: no character of it keeps a meaning there."""
    return quote(name, safe="")
