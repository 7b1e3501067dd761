"""Other ways for sources to come in than one PUT each: many small ones in one request, a large one in parts.

The first is for the embedded store, where each PUT is a request to this server; the second for stores that have
multipart uploads. Both write `sources/<hash>` and nothing else, and what comes in by either is checked before a
worker is given it, as after a PUT: here at once, in the second case by the intake.
"""

from __future__ import annotations

from actors.messages import Batch, SourceArrived
from blobforge.objects import ObjectStoreError
from blobforge.objects.incoming import StoreFullError, UploadRefusedError
from blobforge.objects.keys import source_key
from blobforge.objects.local import LocalStore
from blobforge.objects.multipart import Multipart
from blobforge.refusals import Refusal, RefusalCode
from web.api import wire
from web.problems import item_problem
from web.routing import Access, Call, Route

_NO_BUNDLES = Refusal(RefusalCode.WRONG_STORE, "This object store takes each source by a PUT to its upload_url.")
_NO_PARTS = Refusal(RefusalCode.WRONG_STORE, "This object store takes a source of any size by one PUT to upload_url.")


async def store_many(call: Call, body: wire.SmallSources) -> wire.Items | Refusal:
    """Durable, checked, and their jobs pending when this is answered, item by item."""
    store = call.services.objects
    if not isinstance(store, LocalStore):
        return _NO_BUNDLES
    epoch = call.services.janitor.deletions
    try:
        stored = await store.receive_many([(each.source_hash, each.data) for each in body.sources])
    except ObjectStoreError as error:
        return _unavailable(error)
    arrived = [
        SourceArrived(each.source_hash, info.size, verified=True, epoch=epoch)
        for each, info in zip(body.sources, stored, strict=True)
        if not isinstance(info, UploadRefusedError)
    ]
    done = await call.ask(Batch(tuple(arrived)))
    if isinstance(done, Refusal):
        return done
    answers = iter(done.items)
    items: list[dict[str, object]] = []
    for each, info in zip(body.sources, stored, strict=True):
        if isinstance(info, UploadRefusedError):
            outcome: object = Refusal(RefusalCode.INVALID, str(info), field="data")
        else:
            outcome = next(answers)  # refused where the object is being deleted just now
        told: dict[str, object] = item_problem(outcome) if isinstance(outcome, Refusal) else {"status": "stored"}
        items.append({"source_hash": each.source_hash} | told)
    return wire.Items(items)


async def begin(call: Call, body: wire.MultipartBody) -> wire.MultipartAnswer | Refusal:
    """Start a multipart upload, or take up the one that broke off."""
    multipart = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    if await _is_verified(call, body.source_hash):
        return wire.MultipartAnswer(stored=True)
    try:
        upload = await multipart.begin(source_key(body.source_hash), body.size)
    except ObjectStoreError as error:
        return _unavailable(error)
    parts = [wire.PartStored(part.number, part.size, part.etag) for part in upload.parts]
    return wire.MultipartAnswer(stored=False, upload_id=upload.id, part_size=upload.part_size, parts=parts)


async def part(call: Call, body: wire.PartBody) -> wire.PartUrl | Refusal:
    """A URL for one part: asked for when it is needed, so that none expires in a long upload."""
    multipart = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    lifetime = round(call.services.settings.url_lifetime)
    key = source_key(body.source_hash)
    signed = multipart.sign_part(key, body.upload_id, body.number, expires_in=lifetime, md5=body.md5)
    return wire.PartUrl(signed.url, signed.headers)


async def complete(call: Call, body: wire.MultipartDone) -> wire.Status | Refusal:
    """Make the source out of its parts. Whether its bytes are right is checked afterwards, as after a PUT."""
    multipart = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    key = source_key(body.source_hash)
    try:
        if await _is_verified(call, body.source_hash):
            # Somebody else's upload came in meanwhile and was checked: it is not to be replaced by what was not.
            await multipart.abort(key, body.upload_id)
            return wire.Status("stored")
        parts = [(each.number, each.etag) for each in sorted(body.parts, key=lambda each: each.number)]
        if await multipart.complete(key, body.upload_id, parts) or await call.services.objects.head(key) is not None:
            return wire.Status("stored")
    except ObjectStoreError as error:
        return _unavailable(error)
    return Refusal(
        RefusalCode.UPLOAD_GONE,
        "There is no such multipart upload, or its parts are not these. Abort it and begin again.",
        field="upload_id",
    )


async def abort(call: Call, body: wire.MultipartGone) -> wire.Status | Refusal:
    """Throw away what has been uploaded of a source; no error if there is nothing."""
    multipart: Multipart | None = call.services.objects.multipart
    if multipart is None:
        return _NO_PARTS
    try:
        await multipart.abort(source_key(body.source_hash), body.upload_id)
    except ObjectStoreError as error:
        return _unavailable(error)
    return wire.Status("aborted")


async def _is_verified(call: Call, source_hash: str) -> bool:
    """Whether the source is on record as there and checked; `submit` finds out about a bucket that was emptied."""
    known = await call.services.reads.run(lambda reader: reader.file(source_key(source_hash)))
    return known is not None and known.checked_at is not None


def _unavailable(error: ObjectStoreError) -> Refusal:
    wait = 60 if isinstance(error, StoreFullError) else 5
    return Refusal(RefusalCode.UNAVAILABLE, f"The object store failed: {error}", retry_after=wait)


ROUTES = [
    Route("POST", "/api/files/sources", Access.SUBMIT, store_many,
          "Upload many small sources in one request (embedded store only)",
          body=wire.SmallSources, gives=wire.Items),
    Route("POST", "/api/files/multipart", Access.SUBMIT, begin,
          "Start or take up the upload of a large source in parts (S3 only)",
          body=wire.MultipartBody, gives=wire.MultipartAnswer, writes=False),
    Route("POST", "/api/files/multipart/part", Access.SUBMIT, part,
          "A signed URL to PUT one part to", body=wire.PartBody, gives=wire.PartUrl, writes=False),
    Route("POST", "/api/files/multipart/complete", Access.SUBMIT, complete,
          "Make a source out of its parts", body=wire.MultipartDone, gives=wire.Status, writes=False),
    Route("POST", "/api/files/multipart/abort", Access.SUBMIT, abort,
          "Throw away the parts of an upload", body=wire.MultipartGone, gives=wire.Status, writes=False),
]  # fmt: skip
