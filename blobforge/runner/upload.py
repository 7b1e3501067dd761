"""An attempt's output on its way to the store: by one PUT, or in parts where it is large.

What may pass is tried again for as long as the job is ours: the work is done, and doing it anew costs more. What can
never succeed fails the attempt at once.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

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
from blobforge.client.transfer import OnBytes
from blobforge.client.types import PartsDestination
from blobforge.runner.events import say
from blobforge.runner.holdings import Held
from blobforge.runner.job import JobFailed, WorkerTrouble

LOST = frozenset(
    {"lease-lost", "job-not-running", "no-such-job", "instance-replaced"}
)  # the job is no longer this attempt's
_URL_IS_OLD = 600.0  # seconds after which a fresh upload URL is asked for without trying the old one
_UPLOAD_REFUSALS = 6  # fresh URLs that are refused one after the other, with growing pauses, before the job goes back
_THERE_ALREADY = 412


class UploadPlace(NamedTuple):
    """A URL to PUT to, and since when it has been there (monotonic seconds). `once`: the store writes it once."""

    url: str
    headers: Mapping[str, str] | None
    since: float
    once: bool


async def upload(client: AsyncClient, held: Held, output: Path, *, on_bytes: OnBytes | None = None) -> FileFacts:
    """Upload the one output of the job in hand. Raises JobFailed and WorkerTrouble; abandons a job that is lost."""
    patient = client.with_patience(math.inf)
    claim = held.claim

    async def fresh() -> UploadPlace:
        granted = await patient.fresh_upload_url(claim.job.id, claim.lease)
        return UploadPlace(
            granted.url, granted.headers, trio.current_time(), "If-None-Match" in (granted.headers or {})
        )

    async with told_as_outcome(held):
        if (await trio.Path(output).stat()).st_size > MULTIPART_ABOVE:
            facts = await hash_file(output)
            to = PartsDestination(job_id=claim.job.id, lease=claim.lease)
            if await in_parts(patient, held, to, output, facts, on_bytes=on_bytes):
                return facts
        headers = claim.upload_headers
        first = UploadPlace(claim.upload_url, headers, held.claimed_at, "If-None-Match" in (headers or {}))
        # Only this attempt writes to its key: what is there already is our own PUT, whose answer was lost.
        return await put(patient, held, output, first, fresh, on_bytes=on_bytes) or await hash_file(output)


@asynccontextmanager
async def told_as_outcome(held: Held) -> AsyncIterator[None]:
    """What an upload raises becomes the end of the attempt: JobFailed or WorkerTrouble."""
    try:
        yield
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


async def in_parts(
    patient: AsyncClient,
    held: Held,
    to: PartsDestination,
    output: Path,
    facts: FileFacts,
    *,
    on_bytes: OnBytes | None,
) -> bool:
    """Upload it in parts; False where the store takes none, and nothing was sent."""
    job_id = held.claim.job.id

    def refused(error: TransferRefused) -> None:
        say("upload-refused", f"job {job_id}: {error}; sending this part again with a fresh URL", job=job_id)

    return await upload_in_parts(patient, to, output, facts, on_bytes=on_bytes, on_refusal=refused)


async def put(
    patient: AsyncClient,
    held: Held,
    output: Path,
    place: UploadPlace,
    fresh: Callable[[], Awaitable[UploadPlace]],
    *,
    on_bytes: OnBytes | None,
) -> FileFacts | None:
    """PUT it there while the URL is young and taken, else to fresh ones. None: an earlier PUT has brought it."""
    refused: TransferRefused | None = None
    for refusals in range(_UPLOAD_REFUSALS):
        if refusals or trio.current_time() - place.since >= _URL_IS_OLD:
            place = await fresh()
        try:
            return await patient.upload(place.url, output, headers=place.headers, on_bytes=on_bytes)
        except TransferRefused as error:
            if error.status == _THERE_ALREADY and place.once:
                return None
            if is_too_large(error):
                raise
            refused = error
            say("upload-refused", f"job {held.job_id}: {error}; asking for a fresh upload URL")
        await trio.sleep(min(2.0**refusals - 1, 30.0))
    assert refused is not None
    raise refused


def _too_large(error: ClientError) -> JobFailed:
    return JobFailed(f"the output is too large: {error}", kind="OutputTooLarge", retryable=False)
