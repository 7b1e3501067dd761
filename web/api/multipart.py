"""Large sources, and large outputs of attempts, in parts: for stores that have multipart uploads.

An upload writes one object: `sources/<hash>` for a submitter, for a worker the key of the attempt that it holds, and
nothing else. A caller that may not upload that object by a PUT may not do so in parts. The bytes of a source are
checked by the intake before a worker is given it, as after a PUT.
"""

from __future__ import annotations

import msgspec

from blobforge.access import Scope
from blobforge.objects import NotOfferedError, ObjectStoreError, ObjectTooLargeError
from blobforge.objects.incoming import StoreFullError
from blobforge.objects.keys import source_key
from blobforge.objects.multipart import Multipart
from blobforge.refusals import Refusal, RefusalCode
from web.api import outputs, wire_common, wire_files
from web.api.held import held_attempt
from web.api.seen import looked_at
from web.routing import Access, Call, Route

_NO_PARTS = Refusal(
    RefusalCode.WRONG_STORE, "This object store takes an object of any size by one PUT to upload_url."
)


class UploadTarget(msgspec.Struct, frozen=True):
    """The key that the upload writes. `is_final`: what is there already is not to be replaced; `write_once`: nor what
    comes there meanwhile. `source`: the hash, where it is one."""

    multipart: Multipart
    key: str
    is_final: bool
    write_once: bool = False
    source: str | None = None


async def begin(call: Call, body: wire_files.MultipartBody) -> wire_files.MultipartAnswer | Refusal:
    """Start a multipart upload, or take up the one that broke off."""
    place = await _place(call, body)
    if isinstance(place, Refusal):
        return place
    if place.is_final:
        return wire_files.MultipartAnswer(stored=True)
    try:
        upload = await place.multipart.begin(place.key, body.size)
    except NotOfferedError:
        return _NO_PARTS
    except ObjectStoreError as error:
        return store_failed(error)
    parts = [wire_files.PartStored(part.number, part.size, part.etag) for part in upload.parts]
    return wire_files.MultipartAnswer(stored=False, upload_id=upload.id, part_size=upload.part_size, parts=parts)


async def part(call: Call, body: wire_files.PartBody) -> wire_files.PartUrl | Refusal:
    """A URL for one part: asked for when it is needed, so that none expires in a long upload."""
    place = await _place(call, body)
    if isinstance(place, Refusal):
        return place
    lifetime = round(call.services.settings.url_lifetime)
    signed = place.multipart.sign_part(place.key, body.upload_id, body.number, expires_in=lifetime, md5=body.md5)
    return wire_files.PartUrl(signed.url, signed.headers)


async def complete(call: Call, body: wire_files.MultipartDone) -> wire_common.Status | Refusal:
    """Make the object out of its parts."""
    place = await _place(call, body)
    if isinstance(place, Refusal):
        return place
    try:
        if place.is_final:
            # Another upload came in meanwhile and was checked: it is not to be replaced by what was not.
            await place.multipart.abort(place.key, body.upload_id)
            return wire_common.Status("stored")
        parts = [(each.number, each.etag) for each in sorted(body.parts, key=lambda each: each.number)]
        made = await place.multipart.complete(place.key, body.upload_id, parts, write_once=place.write_once)
        if not made and place.source is not None and place.write_once:
            # What is there already may have the wrong bytes: it is looked at, and makes room where it has them. Where
            # that takes long the parts stay: they may be wanted.
            found = await looked_at(call, place.source)
            if found is None:
                return wire_common.Status("stored")
            if isinstance(found, Refusal) and found.code is not RefusalCode.SOURCE_MISSING:
                return found
            made = await place.multipart.complete(place.key, body.upload_id, parts, write_once=place.write_once)
        if made:
            return wire_common.Status("stored")
        if await call.services.objects.head(place.key) is not None:
            # By an earlier request, whose answer was lost. Parts that are not in it are of no use.
            await place.multipart.abort(place.key, body.upload_id)
            return wire_common.Status("stored")
    except ObjectStoreError as error:
        return store_failed(error)
    return Refusal(
        RefusalCode.UPLOAD_GONE,
        "There is no such multipart upload, or its parts are not these. Abort it and begin again.",
        field="upload_id",
    )


async def abort(call: Call, body: wire_files.MultipartGone) -> wire_common.Status | Refusal:
    """Throw away what has been uploaded of an object; no error if there is nothing."""
    place = await _place(call, body)
    if isinstance(place, Refusal):
        return place
    try:
        await place.multipart.abort(place.key, body.upload_id)
    except ObjectStoreError as error:
        return store_failed(error)
    return wire_common.Status("aborted")


async def _place(call: Call, body: wire_files.PartsDestination) -> UploadTarget | Refusal:
    """Where the caller may upload to. The store is the second question: rights do not depend on it."""
    if body.job_id is not None:
        return await _output(call, body)
    if not call.caller.may(Scope.SUBMIT):
        return Refusal(RefusalCode.KEY_NOT_ALLOWED, "A worker asks with job_id and lease, for its own output only.")
    if body.source_hash is None:
        said = "Send source_hash, or, for the output of an attempt, job_id and lease."
        return Refusal(RefusalCode.INVALID, said, field="source_hash")
    multipart = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    key = source_key(body.source_hash)
    # On record as there and checked; `submit` finds out about a bucket that was emptied.
    known = await call.services.reads.run(lambda reader: reader.file(key))
    final = known is not None and known.checked_at is not None
    # Between this look and the end of the upload another may come in, and be checked.
    return UploadTarget(
        multipart, key, is_final=final, write_once=call.services.objects.write_once, source=body.source_hash
    )


async def _output(call: Call, body: wire_files.PartsDestination) -> UploadTarget | Refusal:
    if body.source_hash is not None:
        said = "An upload is a source's (source_hash) or an attempt's (job_id, lease), not both."
        return Refusal(RefusalCode.INVALID, said, field="source_hash")
    held = await held_attempt(call, body)
    if isinstance(held, Refusal):
        return held
    job = held.job
    multipart = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    assert job.upload_key is not None, "it has been claimed"
    if body.name is None:
        return UploadTarget(multipart, job.upload_key, is_final=False, write_once=job.write_once)
    key = await outputs.told_key(call, job, body.name)
    if isinstance(key, Refusal):
        return key
    return UploadTarget(multipart, key, is_final=False, write_once=True)


def store_failed(error: ObjectStoreError) -> Refusal:
    """The refusal of an upload that the store could not take, now or ever."""
    if isinstance(error, ObjectTooLargeError):
        return Refusal(RefusalCode.OBJECT_TOO_LARGE, f"The object store cannot take it: {error}.")
    wait = 60 if isinstance(error, StoreFullError) else 5
    return Refusal(RefusalCode.UNAVAILABLE, f"The object store failed: {error}", retry_after=wait)


ROUTES = [
    Route("POST", "/api/files/multipart", Access.UPLOAD, begin,
          "Start or take up the upload of a large source, or of an attempt's output, in parts (S3 only)",
          body=wire_files.MultipartBody, gives=wire_files.MultipartAnswer, writes=False),
    Route("POST", "/api/files/multipart/part", Access.UPLOAD, part,
          "A signed URL to PUT one part to", body=wire_files.PartBody, gives=wire_files.PartUrl, writes=False),
    Route("POST", "/api/files/multipart/complete", Access.UPLOAD, complete,
          "Make an object out of its parts", body=wire_files.MultipartDone, gives=wire_common.Status, writes=False),
    Route("POST", "/api/files/multipart/abort", Access.UPLOAD, abort,
          "Throw away the parts of an upload", body=wire_files.MultipartGone, gives=wire_common.Status, writes=False),
]  # fmt: skip
