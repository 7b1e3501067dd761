"""The answer to a claim: the jobs with their signed URLs, in the old shape and in the new."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import msgspec
import trio
from msgspec.structs import replace

from actors.mailbox import Envelope, Reply
from actors.messages import Claim, Complete, Granted
from actors.scheduler import given_back
from blobforge import stage
from blobforge.canary import ordinary
from blobforge.chain import known_hash
from blobforge.job import Job
from blobforge.jobtype import Patience
from blobforge.objects.keys import copied_from
from blobforge.objects.sources import key_of_source, version_of_source
from blobforge.store.reading import Reader
from web.answer import GoneError
from web.api import encode, wire_attempts
from web.routing import Call

GIVING_BACK_SECONDS = 5.0  # for the writer to have room


async def check_there(call: Call, *claims: tuple[Claim | Complete, Granted]) -> None:
    """Give what was granted back, at no cost, when the client has gone. Raises GoneError then.

    Until a claim is committed the scheduler and the writer look for that; this is for a client that goes later.
    """
    for _, granted in claims:
        if granted.jobs:
            break
    else:
        return
    if not call.peer.has_gone():
        return
    releases = [each for message, granted in claims for each in given_back(message, call.repeat, granted)]
    if not releases:
        return
    with trio.move_on_after(GIVING_BACK_SECONDS, shield=True):
        for release in releases:
            await call.services.writer.put(Envelope(release, Reply(), caller=call.caller))
    await trio.lowlevel.checkpoint_if_cancelled()
    raise GoneError


async def claim_answer(
    call: Call, granted: Granted, *, many: bool
) -> wire_attempts.GrantWire | wire_attempts.GrantsWire:
    """`many`: the request had a `limit`, so the answer is a list even of one."""
    if many:
        grants = [_grant(call, job, granted.patience.get(job.type)) for job in granted.jobs]
        return wire_attempts.GrantsWire(
            [await _with_inputs(call, grant, job) for grant, job in zip(grants, granted.jobs, strict=True)]
        )
    if not granted.jobs:
        return wire_attempts.GrantWire(None)
    job = granted.jobs[0]
    return await _with_inputs(call, _grant(call, job, granted.patience.get(job.type)), job)


def _grant(call: Call, job: Job, patience: Patience | None) -> wire_attempts.GrantWire:
    """`patience`: with its lease, where it is not the one of all types."""
    settings = call.services.settings
    lifetime = round(settings.url_lifetime)
    objects = call.services.objects
    key = job.upload_key
    assert key is not None
    source = objects.sign_download(
        key_of_source(job), expires_in=lifetime, filename=source_name(job), version=version_of_source(job)
    )
    upload = objects.sign_upload(key, expires_in=lifetime, write_once=job.write_once)
    base = call.base_url if source.startswith("/") else ""
    assert job.lease is not None
    assert job.heartbeat_at is not None
    return wire_attempts.GrantWire(
        job=encode.job_wire(job),
        source_url=base + source,
        upload_url=base + upload.url,
        upload_headers=upload.headers or msgspec.UNSET,
        output_key=key,
        lease=job.lease,
        lease_expires_at=encode.rfc3339(job.heartbeat_at + encode.lease_ms(settings, patience)),
        heartbeat_interval=encode.interval(patience),
    )


async def _with_inputs(call: Call, grant: wire_attempts.GrantWire, job: Job) -> wire_attempts.GrantWire:
    """The grant, of a job that joins others with the URLs of what it joins."""
    if job.chain is None or not job.chain.joins:
        return grant
    found = await call.services.reads.run(lambda reader: inputs_of(reader, job))
    if found is None:
        return grant
    lifetime = round(call.services.settings.url_lifetime)
    sign = call.services.objects.sign_download
    inputs = [
        wire_attempts.InputWire(
            each.name,
            absolute(call, sign(each.key, expires_in=lifetime, filename=last_part(each.name), version=each.version)),
            each.size,
            each.sha256,
        )
        for each in found
    ]
    return replace(grant, inputs=inputs)


def inputs_of(reader: Reader, job: Job) -> list[stage.Input] | None:
    """What the job joins, by the keys at which it is now: the manifest has that of the copy before the copy is made,
    and of an output that was accepted unseen the one that it was uploaded to. None: there is no manifest."""
    text = reader.kin.manifest(job.source_hash)
    if text is None:
        return None
    inputs = stage.read(text).inputs
    uploaded = {each.key: copied_from(each.key) or each.key for each in inputs}
    moving = {uploaded[each.key] for each in inputs if uploaded[each.key] != each.key or each.size is None}
    records = reader.files(moving) if moving else {}
    found = []
    for each in inputs:
        key = uploaded[each.key]
        record = records.get(key)
        found.append(each if record is None else replace(each, key=record.kept or key, version=record.version))
    return found


def absolute(call: Call, url: str) -> str:
    """The URL with this server's base before it, where the server serves it itself: until then it is relative."""
    return call.base_url + url if url.startswith("/") else url


def source_name(job: Job) -> str:
    """The name that a browser saves the source under."""
    name = last_part(job.source_path or "")
    return name or f"{known_hash(job.source_hash) or job.id}.{ordinary(job.type)}"


def result_members(job: Job) -> dict[str, Any]:
    """The members of the result that the worker sent; none where it sent something else than an object."""
    try:
        result = msgspec.json.decode(job.result) if job.result is not None else None
    except msgspec.DecodeError:  # a number beyond all bounds
        return {}
    return result if isinstance(result, dict) else {}


def output_name(job: Job) -> str:
    """The name that a browser saves the output under: the worker's own for it, or one made of the source's."""
    claimed = result_members(job).get("filename")
    if isinstance(claimed, str) and (name := last_part(claimed)):
        return name
    stem = PurePosixPath(source_name(job)).stem
    return f"{stem}-output"


def last_part(path: str) -> str:
    """The last component of a path, however its own system writes it; empty where it has none."""
    path = path.replace("\\", "/")
    name = path.rpartition("/")[2]
    return name if name not in ("", ".") or not path else PurePosixPath(path).name
