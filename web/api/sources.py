"""Many small sources in one request, for the embedded store, where each PUT is a request to this server.

What comes in is checked here at once, before a worker is given it, as after a PUT.
"""

from __future__ import annotations

from msgspec.structs import replace

from actors.arrival import tell_waiting
from actors.messages import Batch, SourceArrived, SourceSettledFor
from blobforge.objects import ObjectStoreError
from blobforge.objects.incoming import UploadRefusedError
from blobforge.objects.local import LocalStore
from blobforge.refusals import Refusal, RefusalCode
from web.api import wire_common, wire_files
from web.api.multipart import store_failed
from web.problems import item_problem
from web.routing import Access, Call, Route

_NO_BUNDLES = Refusal(RefusalCode.WRONG_STORE, "This object store takes each source by a PUT to its upload_url.")


async def store_many(call: Call, body: wire_files.SmallSources) -> wire_common.Items | Refusal:
    """Durable, checked, and their jobs pending when this is answered, item by item."""
    store = call.services.objects
    if not isinstance(store, LocalStore):
        return _NO_BUNDLES
    epoch = call.services.janitor.epoch
    try:
        stored = await store.receive_many([(each.source_hash, each.data) for each in body.sources])
    except ObjectStoreError as error:
        return store_failed(error)
    arrived = [
        SourceArrived(each.source_hash, info.size, verified=True, epoch=epoch)
        for each, info in zip(body.sources, stored, strict=True)
        if not isinstance(info, UploadRefusedError)
    ]
    done = await call.ask(Batch(tuple(arrived)))
    if isinstance(done, Refusal):
        return done
    for source, told in zip(arrived, done.items, strict=True):
        if isinstance(told, SourceSettledFor) and told.following is not None:
            await tell_waiting(call.services.writer, replace(source, after=told.following))
    answers = iter(done.items)
    items: list[dict[str, object]] = []
    for each, info in zip(body.sources, stored, strict=True):
        if isinstance(info, UploadRefusedError):
            outcome: object = Refusal(RefusalCode.INVALID, str(info), field="data")
        else:
            outcome = next(answers)  # refused where the object is being deleted just now
        answer: dict[str, object] = item_problem(outcome) if isinstance(outcome, Refusal) else {"status": "stored"}
        items.append({"source_hash": each.source_hash} | answer)
    return wire_common.Items(items)


ROUTES = [
    Route("POST", "/api/files/sources", Access.SUBMIT, store_many,
          "Upload many small sources in one request (embedded store only)",
          body=wire_files.SmallSources, gives=wire_common.Items),
]  # fmt: skip
