"""The endpoints of batches: jobs that are submitted for one thing, by a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blobforge.client.connection import ClientConnection, flag_text, without_none
from blobforge.client.types import BatchInfo, BatchInfoPage, BatchMade, OperationBegun


class BatchEndpoints(ClientConnection):
    """Batches as a whole; their jobs are listed by the filter `batch`."""

    async def make_batch(
        self,
        name: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        closed: bool | None = None,
        callback_url: str | None = None,
        callback_secret: str | None = None,
    ) -> BatchMade:
        """Make a batch, to submit jobs for by its id. ApiError `batch-exists` (409): one of that name is open.

        `callback_url`, at a host that the server's operator has named, is told each time that the batch ends, signed
        by `callback_secret` (`whsec_...`)."""
        callback = {"url": callback_url, "secret": callback_secret} if callback_url is not None else None
        body = without_none(
            name=name, metadata=dict(metadata) if metadata else None, closed=closed, callback=callback
        )
        return await self._post("/api/batches", BatchMade, body, once_only=True)

    async def get_batch(self, batch_id: int) -> BatchInfo:
        """How many of its jobs have come to what, and when all will have ended."""
        return await self._call("GET", f"/api/batches/{batch_id}", BatchInfo)

    async def list_batches(
        self,
        *,
        name: str | None = None,
        going: bool | None = None,
        limit: int | None = None,
        cursor: int | None = None,
    ) -> BatchInfoPage:
        """One page of the batches, newest first: those of one name, or those that are `going` on, or all."""
        params = without_none(name=name, going=flag_text(going), limit=limit, cursor=cursor)
        return await self._call("GET", "/api/batches", BatchInfoPage, params=params)

    async def close_batch(self, batch_id: int) -> BatchInfo:
        """No further jobs come to it: it ends when all that it has do."""
        return await self._post(f"/api/batches/{batch_id}/close", BatchInfo, {}, once_only=True)

    async def cancel_batch(self, batch_id: int, *, reason: str | None = None) -> int:
        """Close it, and cancel its jobs that have not ended: the id of the operation that does it."""
        body = without_none(reason=reason)
        return (await self._post(f"/api/batches/{batch_id}/cancel", OperationBegun, body, once_only=True)).operation

    async def retry_batch(
        self, batch_id: int, *, cancelled: bool | None = None, reset_attempts: bool | None = None
    ) -> int:
        """Bring its dead jobs back, and those that were `cancelled`, too: the id of the operation that does it."""
        body = without_none(cancelled=cancelled, reset_attempts=reset_attempts)
        return (await self._post(f"/api/batches/{batch_id}/retry", OperationBegun, body, once_only=True)).operation

    async def delete_batch(self, batch_id: int, *, results: bool | None = None) -> int:
        """Forget it; with `results` its jobs go for good, but for those of other batches: the id of the operation."""
        params = without_none(results=flag_text(results))
        begun = await self._call("DELETE", f"/api/batches/{batch_id}", OperationBegun, params=params)
        return begun.operation
