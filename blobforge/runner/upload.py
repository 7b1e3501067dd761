"""The output on its way to the store: by one PUT, or in parts where it is large.

What may pass is tried again for as long as the job is ours: the work is done, and doing it anew costs more. What can
never succeed fails the attempt at once.
"""

from __future__ import annotations

import math
from pathlib import Path

import trio

from blobforge.client import (
    ApiError,
    AsyncClient,
    ChecksumMismatch,
    ClientError,
    FileFacts,
    SourceChanged,
    TransferRefused,
    hash_file,
)
from blobforge.client.multipart import MULTIPART_ABOVE, is_too_large, upload_in_parts
from blobforge.client.types import Destination
from blobforge.runner.events import say
from blobforge.runner.holdings import Held
from blobforge.runner.job import JobFailed, WorkerTrouble

LOST = frozenset(
    {"lease-lost", "job-not-running", "no-such-job", "instance-replaced"}
)  # the job is no longer this attempt's
_URL_IS_OLD = 600.0  # seconds after which a fresh upload URL is asked for without trying the old one
_UPLOAD_REFUSALS = 6  # fresh URLs that are refused one after the other, with growing pauses, before the job goes back
_THERE_ALREADY = 412


async def upload(client: AsyncClient, held: Held, output: Path) -> FileFacts:
    """Upload the output of the job in hand. Raises JobFailed and WorkerTrouble; abandons a job that is lost."""
    patient = client.with_patience(math.inf)
    try:
        if (await trio.Path(output).stat()).st_size > MULTIPART_ABOVE:
            facts = await hash_file(output)
            if await _in_parts(patient, held, output, facts):
                return facts
        return await _whole(patient, held, output)
    except (ChecksumMismatch, SourceChanged) as error:
        raise JobFailed(
            f"the output was written to after the converter had ended: {error}", kind="OutputChanged"
        ) from error
    except ApiError as error:
        if is_too_large(error):
            raise _too_large(error) from error
        if error.type in LOST:
            held.abandon()
            await trio.lowlevel.checkpoint()
        raise WorkerTrouble(f"the output cannot be uploaded: {error}") from error
    except TransferRefused as error:
        if is_too_large(error):
            raise _too_large(error) from error
        raise WorkerTrouble(f"the output cannot be uploaded: {error}") from error
    except (ClientError, OSError) as error:
        raise WorkerTrouble(f"the output cannot be uploaded: {error}") from error


async def _in_parts(patient: AsyncClient, held: Held, output: Path, facts: FileFacts) -> bool:
    job_id = held.claim.job.id

    def refused(error: TransferRefused) -> None:
        say("upload-refused", f"job {job_id}: {error}; sending this part again with a fresh URL", job=job_id)

    to = Destination(job_id=job_id, lease=held.claim.lease)
    return await upload_in_parts(patient, to, output, facts, on_refusal=refused)


async def _whole(patient: AsyncClient, held: Held, output: Path) -> FileFacts:
    """PUT it to the claim's own URL while that is young and taken, else to fresh ones."""
    claim = held.claim
    url, headers = claim.upload_url, claim.upload_headers
    young = trio.current_time() - held.claimed_at < _URL_IS_OLD
    refused: TransferRefused | None = None
    for refusals in range(_UPLOAD_REFUSALS):
        if refusals or not young:
            fresh = await patient.fresh_upload_url(claim.job.id, claim.lease)
            url, headers = fresh.url, fresh.headers
        try:
            return await patient.upload(url, output, headers=headers)
        except TransferRefused as error:
            if error.status == _THERE_ALREADY and "If-None-Match" in (headers or {}):
                # Only this attempt writes to its key: it is our own PUT, whose answer was lost.
                return await hash_file(output)
            if is_too_large(error):
                raise
            refused = error
            say("upload-refused", f"job {claim.job.id}: {error}; asking for a fresh upload URL")
        await trio.sleep(min(2.0**refusals - 1, 30.0))
    assert refused is not None
    raise refused


def _too_large(error: ClientError) -> JobFailed:
    return JobFailed(f"the output is too large: {error}", kind="OutputTooLarge", retryable=False)
