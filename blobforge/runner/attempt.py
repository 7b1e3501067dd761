"""One attempt from its claim to its end: download, verify, convert, upload, hand in.

The end is one of four: `completed`, `failed` (the document's fault, costs a try), `released` (ours, costs nothing),
`dropped` (the job is no longer ours: nothing is said about it).
"""

from __future__ import annotations

import inspect
import logging
import math
import mimetypes
import re
import shutil
import tempfile
import time
import traceback
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import trio

from blobforge.client import (
    ApiError,
    ChecksumMismatch,
    Client,
    ClientError,
    FileFacts,
    TransferRefused,
)
from blobforge.runner.context import Handler, JobContext, JobFailed, WorkerTrouble
from blobforge.runner.holdings import Held

log = logging.getLogger("blobforge.runner")

DOWNLOAD_PATIENCE = 600.0  # seconds without an answer from the store, after which the job goes back
RELEASE_DEADLINE = 5.0
_URL_IS_OLD = 600.0  # seconds after which a fresh upload URL is asked for without trying the old one
_LOST = frozenset({"lease-lost", "job-not-running", "no-such-job"})  # the job is no longer this attempt's
_SAFE_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    DROPPED = "dropped"


class Attempt:
    """One held job on its way. `run` never raises for what can be foreseen; it says how the attempt ended."""

    def __init__(
        self,
        client: Client,
        worker_id: str,
        handler: Handler,
        held: Held,
        *,
        workdir: Path | None,
        output_suffix: str,
    ) -> None:
        self._client = client
        self._worker_id = worker_id
        self._handler = handler
        self._held = held
        self._base = workdir
        self._output_suffix = output_suffix
        self._started = time.monotonic()

    async def run(self) -> Outcome:
        job, held = self._held.claim.job, self._held
        log.info("job %d: started (%s)", job.id, job.source_path or job.source_hash[:12])
        outcome = Outcome.RELEASED
        reason = "the worker is stopping"
        with held.scope:
            try:
                outcome = await self._work()
            except WorkerTrouble as trouble:
                reason = str(trouble)
            except Exception:
                # A bug of ours must neither cost the document a try nor take the other jobs down.
                log.exception("job %d: unexpected error", job.id)
                reason = "unexpected error in the worker"
        if held.abandoned:
            log.info("job %d: dropped, the server took it back", job.id)
            return Outcome.DROPPED
        if outcome is Outcome.RELEASED:
            await self._release(reason)
        return outcome

    async def _work(self) -> Outcome:
        try:
            workdir = Path(await trio.to_thread.run_sync(self._make_workdir))
        except OSError as error:
            raise WorkerTrouble(f"no working folder: {error}") from error
        try:
            return await self._work_in(workdir)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(lambda: shutil.rmtree(workdir, ignore_errors=True))

    def _make_workdir(self) -> str:
        return tempfile.mkdtemp(prefix=f"blobforge-{self._held.job_id}-", dir=self._base)

    async def _work_in(self, workdir: Path) -> Outcome:
        job = self._held.claim.job
        ctx = JobContext(
            job, workdir, workdir / f"source{_suffix(job.source_path)}", workdir / "output", self._held.report
        )
        try:
            ctx.progress("downloading")
            await self._download(ctx.source)
            ctx.progress("converting")
            await self._convert(ctx)
            ctx.progress("uploading")
            facts = await self._upload(ctx.output)
        except JobFailed as failure:
            return await self._fail(failure)
        return await self._complete(facts)

    async def _download(self, target: Path) -> None:
        claim = self._held.claim
        patient = self._client.with_patience(DOWNLOAD_PATIENCE)
        try:
            await patient.download(claim.source_url, target, sha256=claim.job.source_hash)
        except ChecksumMismatch as error:
            raise JobFailed(f"the source is damaged: {error}", kind="ChecksumMismatch") from error
        except TransferRefused as error:
            if error.status in {404, 410}:
                raise JobFailed(f"the source is not in the store: {error}", kind="SourceMissing") from error
            raise WorkerTrouble(f"the source cannot be downloaded: {error}") from error
        except (ClientError, OSError) as error:
            raise WorkerTrouble(f"the source cannot be downloaded: {error}") from error

    async def _convert(self, ctx: JobContext) -> None:
        try:
            if _is_async(self._handler):
                result: Any = self._handler(ctx)
                await result
            else:
                await trio.to_thread.run_sync(self._handler, ctx, abandon_on_cancel=True)
        except (JobFailed, WorkerTrouble):
            raise
        except Exception as error:
            raise JobFailed(
                str(error) or type(error).__name__,
                kind=type(error).__name__,
                traceback="".join(traceback.format_exception(error))[-16_384:],
            ) from error
        if not ctx.output.is_file():
            raise JobFailed("the converter ended well but left no output file", kind="OutputMissing")

    async def _upload(self, output: Path) -> FileFacts:
        """Upload with the claim's own URL while it is young and taken, else with a fresh one.

        A store that is away is waited for as long as the lease holds: the work is done, and doing it anew costs more.
        """
        claim, held = self._held.claim, self._held
        patient = self._client.with_patience(math.inf)
        try:
            if trio.current_time() - held.claimed_at < _URL_IS_OLD:
                try:
                    return await patient.upload(claim.upload_url, output, headers=claim.upload_headers)
                except TransferRefused as error:
                    log.info("job %d: %s; asking for a fresh upload URL", claim.job.id, error)
            fresh = await patient.fresh_upload_url(claim.job.id, claim.lease)
            return await patient.upload(fresh.url, output, headers=fresh.headers)
        except ApiError as error:
            if error.type in _LOST:
                held.abandon()
                await trio.lowlevel.checkpoint()
            raise WorkerTrouble(f"the output cannot be uploaded: {error}") from error
        except (ClientError, OSError) as error:
            raise WorkerTrouble(f"the output cannot be uploaded: {error}") from error

    async def _complete(self, facts: FileFacts) -> Outcome:
        claim, seconds = self._held.claim, time.monotonic() - self._started
        self._held.settling = True
        try:
            await self._client.with_patience(math.inf).complete(
                claim.job.id,
                self._worker_id,
                claim.lease,
                output_key=claim.output_key,
                checksum=facts.sha256,
                result=self._result(facts, seconds),
            )
        except ApiError as error:
            if error.type not in _LOST and error.status < 500 and error.status not in {401, 403, 404}:
                # The job is still ours, and the same result would be refused again.
                return await self._fail(JobFailed(f"the result was refused: {error}", kind="ResultRefused"))
            return self._not_settled("completion", error)
        log.info("job %d: completed in %.1f s (%d bytes)", claim.job.id, seconds, facts.size)
        return Outcome.COMPLETED

    def _result(self, facts: FileFacts, seconds: float) -> dict[str, Any]:
        result: dict[str, Any] = {"size": facts.size, "seconds": round(seconds, 3)}
        if self._output_suffix:
            name = PurePosixPath(self._held.claim.job.source_path or f"job-{self._held.job_id}").name
            result["filename"] = PurePosixPath(name).stem + self._output_suffix
            content_type = mimetypes.guess_type(result["filename"])[0]
            if content_type is not None:
                result["content_type"] = content_type
        return result

    async def _fail(self, failure: JobFailed) -> Outcome:
        claim = self._held.claim
        self._held.settling = True
        try:
            answer = await self._client.with_patience(math.inf).fail(
                claim.job.id,
                self._worker_id,
                claim.lease,
                str(failure),
                kind=failure.kind,
                traceback=failure.traceback,
                log_tail=failure.log_tail,
                retryable=failure.retryable,
            )
        except ApiError as error:
            return self._not_settled("failure", error)
        after = "it will be tried again" if answer.will_retry else "its tries are spent"
        log.warning("job %d: failed, %s: %s", claim.job.id, after, failure)
        return Outcome.FAILED

    def _not_settled(self, what: str, error: ApiError) -> Outcome:
        """The server refused the result. Nothing is left to do: the attempt's lease decides, not we."""
        log.warning("job %d: dropped, its %s was refused: %s", self._held.job_id, what, error)
        return Outcome.DROPPED

    async def _release(self, reason: str) -> None:
        """Give the job back; when that does not get through, its lease ends by itself."""
        claim = self._held.claim
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_DEADLINE):
            try:
                await self._client.release(claim.job.id, self._worker_id, claim.lease, reason)
            except ClientError as error:
                log.warning("job %d: could not be released: %s", claim.job.id, error)
            else:
                log.info("job %d: released: %s", claim.job.id, reason)
            return
        log.warning("job %d: could not be released in time; its lease will end by itself", claim.job.id)


def _is_async(handler: Handler) -> bool:
    """Whether calling it gives an awaitable: an async function, or an object whose __call__ is one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _suffix(source_path: str | None) -> str:
    """The source's own suffix, for commands that go by it, if it is harmless in a file name."""
    suffix = PurePosixPath(source_path or "").suffix
    return suffix if _SAFE_SUFFIX.fullmatch(suffix) else ""
