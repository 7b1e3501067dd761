"""The endpoints that a worker calls: it registers, claims jobs, keeps its leases, and ends its attempts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from blobforge.client.connection import ClientConnection, path_part, without_none
from blobforge.client.transport import ANSWER_TIMEOUT
from blobforge.client.types import (
    ClaimAnswer,
    ClaimedJob,
    FailAnswer,
    HeartbeatAnswer,
    LogTaken,
    Registration,
    ReleaseCause,
    StatusAnswer,
)

LARGEST_CLAIM = 500  # jobs
LONGEST_WAIT = 60  # seconds that the server holds a claim open at most


class AttemptEndpoints(ClientConnection):
    """What a worker says of itself and of its attempts."""

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
        body = without_none(
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
        body = without_none(instance=self._instance)
        return await self._post(f"/api/workers/{path_part(worker_id)}/unregister", StatusAnswer, body)

    async def heartbeat(
        self, worker_id: str, jobs: Sequence[Mapping[str, Any]] = (), *, load: Mapping[str, Any] | None = None
    ) -> HeartbeatAnswer:
        """Sign of life; renews the leases of `jobs`, each `{"job_id", "lease", "progress"}`. `load` says how busy the
        machine is: the members of LoadSeen, but for `at`."""
        body = without_none(jobs=list(jobs) or None, instance=self._instance, load=load or None)
        return await self._post(f"/api/workers/{path_part(worker_id)}/heartbeat", HeartbeatAnswer, body)

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
        given to a worker that accepts `options`; leases that are shorter than the server's own to one that accepts
        `heartbeat_interval`, and beats at the one that comes with each job and each heartbeat's answer. One that
        accepts `comparisons-only` is given the jobs of canaries, and no others.

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
            **without_none(instance=self._instance, accepts=list(accepts) or None),
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
        body = without_none(
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
        body = without_none(
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

    async def send_log(self, job_id: int, worker_id: str, lease: str, start: int, text: str) -> LogTaken:
        """Send a piece of what an attempt prints while it runs; `start` is its place (characters) in all that was
        sent. A piece that is sent twice counts once. The answer says after how long the next one is wanted.

        ApiError `lease-lost` (409): the job is no longer this worker's.
        """
        body = without_none(worker_id=worker_id, lease=lease, start=start, text=text, instance=self._instance)
        return await self._post(f"/api/jobs/{job_id}/log", LogTaken, body)

    async def release(
        self, job_id: int, worker_id: str, lease: str, reason: str, *, cause: ReleaseCause = "trouble"
    ) -> StatusAnswer:
        """Give a job back; it costs no attempt.

        With the cause `shutdown` or `preempted` it is ready again at once. For `trouble` it waits out a back-off, and
        when that happens too often in a row, each time counts as a lost worker.
        """
        body = without_none(
            worker_id=worker_id, lease=lease, reason=reason[:1000], cause=cause, instance=self._instance
        )
        return await self._post(f"/api/jobs/{job_id}/release", StatusAnswer, body, once_only=True)
