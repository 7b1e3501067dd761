"""One attempt from its claim to its end: download, verify, convert, upload, hand in.

The end is one of four: `completed`, `failed` (the document's fault, costs a try), `released` (ours, costs no try),
`dropped` (the job is no longer ours: nothing is said about it).
"""

from __future__ import annotations

import logging
import math
import mimetypes
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import trio

from blobforge.client import (
    ApiError,
    AsyncClient,
    ClientError,
    ReleaseCause,
)
from blobforge.runner.conversion import Conversion, shown_name
from blobforge.runner.events import log, say, warn
from blobforge.runner.fetch import fetch_inputs, fetch_source
from blobforge.runner.holdings import Held
from blobforge.runner.job import Job, JobFailed, NoRoom, WorkerTrouble
from blobforge.runner.livelog import LogSender
from blobforge.runner.outputs import OutputFile, originals, packed
from blobforge.runner.redacting import Redactor
from blobforge.runner.scratch import Scratch, remove
from blobforge.runner.several import upload_several
from blobforge.runner.upload import LOST, upload

RELEASE_DEADLINE = 5.0
REMOVE_DEADLINE = 60.0
_SAFE_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")


class RunEnd(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    DROPPED = "dropped"


class _Brought(NamedTuple):
    """What was uploaded, the main one first. Of one output the `checksum` is known, of several the main one's key."""

    files: list[OutputFile]
    size: int
    checksum: str | None = None
    output_key: str | None = None
    originals: dict[str, str] = {}  # noqa: RUF012 - never changed


class AttemptRun:
    """One held job on its way. `run` never raises for what can be foreseen; it says how the attempt ended.

    `reason` is why the document or this machine could not do it, None where neither is to blame.
    `leftover` waits for a handler's thread that could not be stopped, if there is one. `no_room` is set when the job
    went back because this disk has no room for it: the machine may well do others.
    """

    def __init__(
        self,
        client: AsyncClient,
        worker_id: str,
        conversion: Conversion,
        held: Held,
        *,
        scratch: Scratch,
        zip_outputs: bool = False,
        made_with: str | None = None,
        redactor: Redactor | None = None,
        logs: LogSender | None = None,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._logs = logs
        self._made_with = made_with
        self._client = client
        self._worker_id = worker_id
        self._conversion = conversion
        self._held = held
        self._scratch = scratch
        self._zip = zip_outputs
        self._started = time.monotonic()
        self._job: Job | None = None
        self.no_room = False
        self.reason: str | None = None

    async def run(self) -> RunEnd:
        job, held = self._held.claim.job, self._held
        what = job.source_path or job.source_hash[:12]
        say("job-started", f"job {job.id}: started ({what})", job=job.id, type=job.type, source=what)
        outcome = RunEnd.RELEASED
        reason = "the worker is stopping"
        with held.scope:
            try:
                outcome = await self._work()
            except WorkerTrouble as trouble:
                reason = self.reason = self._redactor.text(str(trouble))  # a converter's own words may be in it
                self.no_room = isinstance(trouble, NoRoom)
            except Exception:
                # A bug of ours must neither cost the document a try nor take the other jobs down.
                log.exception("job %d: unexpected error", job.id)
                reason = self.reason = "unexpected error in the worker"
        if held.abandoned or (held.lost and held.scope.cancelled_caught):
            say("job-dropped", f"job {job.id}: dropped, the server took it back", job=job.id)
            return RunEnd.DROPPED
        if outcome is RunEnd.RELEASED:
            # Nothing but the worker's own end cancels a job that was not abandoned.
            cause: ReleaseCause = held.stopped_by if held.scope.cancelled_caught else "trouble"
            if cause == "preempted":
                reason = "the worker's machine is taken away"
            await self._release(reason, cause)
        return outcome

    async def leftover(self) -> None:
        """Return when nothing of the attempt runs any more."""
        if self._job is not None and self._job.leftover is not None:
            warn(
                "thread-left",
                f"job {self._job.id}: its handler's thread goes on, and keeps its place until it ends",
                job=self._job.id,
            )
            await self._job.leftover()

    async def _work(self) -> RunEnd:
        workdir = await trio.to_thread.run_sync(self._scratch.attempt, self._held.claim.job)
        try:
            return await self._work_in(workdir)
        finally:
            # What is left behind then is removed with the scratch folder.
            with trio.move_on_after(REMOVE_DEADLINE, shield=True):
                await trio.to_thread.run_sync(remove, workdir)

    async def _work_in(self, workdir: Path) -> RunEnd:
        record, report = self._held.claim.job, self._held.report
        job = self._job = Job(record, workdir, workdir / f"source{source_suffix(record.source_path)}", report)
        try:
            report({"stage": "downloading"})
            await fetch_source(self._client, self._held, job.source)
            if self._held.claim.inputs:
                await fetch_inputs(self._client, self._held, job.inputs)
            report({"stage": "converting"})
            with self._log_of(job):
                outputs = await self._conversion.outputs(job, report)
            report({"stage": "uploading"})
            brought = await self._upload(job, outputs)
        except JobFailed as failure:
            return await self._fail(failure)
        return await self._complete(brought)

    @contextmanager
    def _log_of(self, job: Job) -> Iterator[None]:
        """What the handler prints within the block is sent to the server while it runs."""
        if self._logs is None:
            yield
            return
        claim = self._held.claim

        async def send(start: int, text: str) -> float:
            client = self._client.with_patience(0)  # the next piece is the repeat
            return (await client.send_log(claim.job.id, self._worker_id, claim.lease, start, text)).next_seconds

        log = self._logs.begin(send)
        job.hear = log.add
        try:
            yield
        finally:
            self._logs.end(log)

    async def _upload(self, job: Job, outputs: list[OutputFile]) -> _Brought:
        """Several go up one by one; packed as one file where that is asked for, or the server takes no others."""
        if len(outputs) > 1 and not self._zip:
            several = await upload_several(self._client, self._held, outputs)
            if several is not None:
                return _Brought(outputs, several.size, output_key=several.main_key, originals=originals(outputs))
        output = await trio.to_thread.run_sync(packed, job, outputs)
        done, total = 0, (await trio.Path(output.path).stat()).st_size

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._held.report({"stage": "uploading", "done": done, "total": total})

        facts = await upload(self._client, self._held, output.path, on_bytes=count)
        names = output._replace(original=None) if len(outputs) > 1 else output
        return _Brought([names], facts.size, checksum=facts.sha256, originals=originals(outputs))

    async def _complete(self, brought: _Brought) -> RunEnd:
        """Hand the result in, for as long as that takes: the lease is renewed meanwhile, and its end is the limit."""
        claim, seconds = self._held.claim, time.monotonic() - self._started
        many = len(brought.files)
        self._held.report({"stage": "handing in"})
        self._held.settle()
        try:
            await self._client.with_patience(math.inf).complete(
                claim.job.id,
                self._worker_id,
                claim.lease,
                output_key=brought.output_key or claim.output_key,
                checksum=brought.checksum,
                result=self._result(brought, seconds),
                outputs="all" if many > 1 else None,
                converter=self._made_with,
            )
        except ApiError as error:
            if error.type not in LOST and error.status < 500 and error.status not in {401, 403, 404}:
                # The job is still ours, and the same result would be refused again.
                return await self._fail(JobFailed(f"the result was refused: {error}", kind="ResultRefused"))
            return self._not_settled("completion", error)
        what = f"{brought.size} bytes" + (f" in {many} outputs" if many > 1 else "")
        say(
            "job-completed",
            f"job {claim.job.id}: completed in {seconds:.1f} s ({what})",
            job=claim.job.id,
            seconds=round(seconds, 3),
            bytes=brought.size,
            outputs=many if many > 1 else None,
        )
        return RunEnd.COMPLETED

    def _result(self, brought: _Brought, seconds: float) -> dict[str, Any]:
        result: dict[str, Any] = {"size": brought.size, "seconds": round(seconds, 3)}
        name = shown_name(self._held.claim.job, brought.files[0], self._conversion.output_suffix)
        if name is not None:
            result["filename"] = PurePosixPath(name).name
            content_type = mimetypes.guess_type(name)[0]
            if content_type is not None:
                result["content_type"] = content_type
        if len(brought.files) > 1:
            result["outputs"] = len(brought.files)
        if brought.originals:
            result["original_names"] = brought.originals
        return result

    async def _fail(self, failure: JobFailed) -> RunEnd:
        claim, without_secrets = self._held.claim, self._redactor.text
        text = self.reason = without_secrets(str(failure))
        self._held.settle()
        try:
            answer = await self._client.with_patience(math.inf).fail(
                claim.job.id,
                self._worker_id,
                claim.lease,
                text,
                kind=failure.kind,
                traceback=without_secrets(failure.traceback) if failure.traceback is not None else None,
                log_tail=without_secrets(failure.log_tail) if failure.log_tail is not None else None,
                retryable=failure.retryable,
            )
        except ApiError as error:
            return self._not_settled("failure", error)
        after = "it will be tried again" if answer.will_retry else "its tries are spent"
        warn(
            "job-failed",
            f"job {claim.job.id}: failed, {after}: {text}",
            job=claim.job.id,
            kind=failure.kind,
            will_retry=answer.will_retry,
        )
        return RunEnd.FAILED

    def _not_settled(self, what: str, error: ApiError) -> RunEnd:
        """The server refused the result. Nothing is left to do: the attempt's lease decides, not we."""
        job_id = self._held.job_id
        warn("job-dropped", f"job {job_id}: dropped, its {what} was refused: {error}", job=job_id)
        return RunEnd.DROPPED

    async def _release(self, reason: str, cause: ReleaseCause) -> None:
        """Give the job back; when that does not get through, its lease ends by itself."""
        claim, job_id = self._held.claim, self._held.job_id
        with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_DEADLINE):
            try:
                await self._client.release(claim.job.id, self._worker_id, claim.lease, reason, cause=cause)
            except ClientError as error:
                warn("job-not-released", f"job {job_id}: could not be released: {error}", job=job_id)
            else:
                level = logging.WARNING if cause == "trouble" else logging.INFO
                say("job-released", f"job {job_id}: released: {reason}", level=level, job=job_id, reason=reason)
            return
        warn("job-not-released", f"job {job_id}: could not be released in time; its lease will end", job=job_id)


def source_suffix(source_path: str | None) -> str:
    """The source's own suffix, for commands that go by it, if it is harmless in a file name."""
    suffix = PurePosixPath(source_path or "").suffix
    return suffix if _SAFE_SUFFIX.fullmatch(suffix) else ""
