"""The endpoints of files: signed URLs, what is sent to and fetched from them, uploads in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from blobforge.client import transfer
from blobforge.client.connection import IN_BULK, ClientConnection, without_none
from blobforge.client.errors import ApiError
from blobforge.client.transfer import FileFacts, OnBytes
from blobforge.client.types import (
    BatchAnswer,
    BatchItem,
    DownloadUrl,
    FileLink,
    FileLinks,
    MultipartUpload,
    NamedUploadUrl,
    NamedUploadUrls,
    OutputPage,
    PartsDestination,
    PartUrl,
    StatusAnswer,
    UploadUrl,
)


class FileEndpoints(ClientConnection):
    """Where sources and outputs are, and their bytes."""

    async def download_url(self, job_id: int, which: Literal["source", "output"]) -> DownloadUrl:
        """A signed URL to GET a job's source or accepted output."""
        return await self._call("GET", f"/api/files/{job_id}/{which}/url", DownloadUrl)

    async def download_urls(
        self, job_ids: Sequence[int], which: Literal["source", "output"] = "output"
    ) -> list[FileLink]:
        """Signed URLs to GET the sources or outputs of up to 500 jobs, in one request; answered item by item."""
        body = {"items": [{"job_id": job_id, "kind": which} for job_id in job_ids]}
        return (await self._post("/api/files/urls", FileLinks, body)).items

    async def output_urls(self, outputs: Sequence[tuple[int, str]]) -> list[FileLink]:
        """Signed URLs to GET up to 500 of several outputs, by job and name, in one request; answered item by item."""
        body = {"items": [{"job_id": job_id, "kind": "output", "name": name} for job_id, name in outputs]}
        return (await self._post("/api/files/urls", FileLinks, body)).items

    async def output_page(self, job_id: int, *, cursor: str = "", limit: int = 500) -> OutputPage:
        """The outputs of a job's accepted attempt, by name, from `cursor` on; up to 1000. None of a job without."""
        return await self._call(
            "GET", f"/api/jobs/{job_id}/outputs", OutputPage, params={"cursor": cursor, "limit": limit}
        )

    async def output_url(self, job_id: int, name: str | None = None, *, former: bool = False) -> DownloadUrl:
        """A signed URL to GET one of a job's several outputs, or, without a name, the main one. `former`: of the
        result that is kept to be compared. ApiError `no-such-object` (404): none is so called."""
        params = without_none(name=name, former="true" if former else None)
        return await self._call("GET", f"/api/files/{job_id}/output/url", DownloadUrl, params=params)

    async def named_upload_urls(
        self, job_id: int, lease: str, outputs: Sequence[Mapping[str, Any]]
    ) -> list[NamedUploadUrl]:
        """Signed URLs for up to 500 outputs of the attempt that holds `lease`: `name`, and, where they are known,
        `checksum`, `size` and `media_type` of each. What was told of counts for `complete(outputs="all")`.

        ApiError `invalid` (422): one cannot be called so. `wrong-store` (409): an attempt has one output here.
        """
        body = {
            "job_id": job_id,
            "lease": lease,
            "names": [dict(each) for each in outputs],
            "instance": self._instance,
        }
        answer = await self._post("/api/files/upload-url", NamedUploadUrls, without_none(**body))
        if answer.urls is None:
            raise ApiError(409, "wrong-store", "This server's release knows one output of an attempt.")
        return answer.urls

    async def fresh_source_url(self, job_id: int, lease: str) -> DownloadUrl:
        """A fresh signed URL to GET the source of the attempt that holds `lease`. ApiError `lease-lost` (409)."""
        return await self._post("/api/files/source-url", DownloadUrl, {"job_id": job_id, "lease": lease})

    async def fresh_upload_url(self, job_id: int, lease: str) -> UploadUrl:
        """A fresh signed URL for the output of the attempt that holds `lease`; its headers go along with the PUT."""
        body = {"job_id": job_id, "lease": lease, "write_once": True}
        return await self._post("/api/files/upload-url", UploadUrl, body)

    async def download(
        self,
        url: str,
        target: Path,
        *,
        sha256: str | None = None,
        on_bytes: OnBytes | None = None,
        beginning: Path | None = None,
    ) -> FileFacts:
        """GET a signed URL into `target`, which appears whole and verified or not at all.

        `beginning`: what came before it broke off is kept there, and a later call goes on from it.
        Raises TransferRefused, ServerUnreachable, ChecksumMismatch and OSError.
        """
        return await transfer.download(
            self._transport,
            url,
            target,
            patience=self._patience,
            sha256=sha256,
            on_bytes=on_bytes,
            beginning=beginning,
        )

    async def read(self, url: str, *, sha256: str | None = None, on_bytes: OnBytes | None = None) -> bytes:
        """GET a signed URL into memory: for small objects. Raises TransferRefused, ServerUnreachable and
        ChecksumMismatch."""
        return await transfer.read(self._transport, url, patience=self._patience, sha256=sha256, on_bytes=on_bytes)

    async def upload(
        self,
        url: str,
        source: Path,
        *,
        headers: Mapping[str, str] | None = None,
        on_bytes: OnBytes | None = None,
    ) -> FileFacts:
        """PUT a file to a signed URL and return the size and hash of what was sent.

        Raises TransferRefused, ServerUnreachable and OSError.
        """
        return await transfer.upload(
            self._transport, url, source, patience=self._patience, headers=headers, on_bytes=on_bytes
        )

    async def store_sources(self, sources: Sequence[tuple[str, bytes]]) -> list[BatchItem]:
        """Upload small sources, (SHA-256, bytes) each, in one request; answered item by item.

        ApiError `wrong-store` (409): this server's object store has no such thing.
        """
        body = {"sources": [{"source_hash": sha256, "data": data} for sha256, data in sources]}
        return (await self._post("/api/files/sources", BatchAnswer, body, answer_timeout=IN_BULK)).items

    async def begin_multipart(self, to: PartsDestination, size: int) -> MultipartUpload:
        """Start the upload of a large file in parts, or take up one that broke off.

        ApiError `wrong-store` (409): one PUT takes it all. `object-too-large` (413): nothing does.
        """
        return await self._post("/api/files/multipart", MultipartUpload, _parts_of(to) | {"size": size})

    async def upload_part(
        self,
        to: PartsDestination,
        upload_id: str,
        number: int,
        source: Path,
        span: tuple[int, int],
        md5: str,
        *,
        on_bytes: OnBytes | None = None,
    ) -> str:
        """PUT one part, `span` (start, length) of the file whose MD5 is `md5` (base64); return its ETag.

        Every try has a URL of its own. Raises TransferRefused, ServerUnreachable, ApiError and OSError.
        """
        body = _parts_of(to) | {"upload_id": upload_id, "number": number, "md5": md5}

        async def once() -> str:
            signed = await self.with_patience(0)._post("/api/files/multipart/part", PartUrl, body)
            return await transfer.upload_part(
                self._transport, signed.url, source, span, headers=signed.headers, on_bytes=on_bytes
            )

        etag: str = await self._transport.patiently(once, self._patience)
        return etag

    async def complete_multipart(
        self, to: PartsDestination, upload_id: str, parts: Sequence[tuple[int, str]]
    ) -> None:
        """Make the object out of its parts, (number, ETag) each.

        ApiError `upload-gone` (409): they are not there, or others are. `object-too-large` (413): together they are.
        """
        listed = [{"number": number, "etag": etag} for number, etag in parts]
        body = _parts_of(to) | {"upload_id": upload_id, "parts": listed}
        await self._post("/api/files/multipart/complete", StatusAnswer, body, answer_timeout=IN_BULK)

    async def abort_multipart(self, to: PartsDestination, upload_id: str) -> None:
        """Throw away what has been uploaded in parts."""
        await self._post("/api/files/multipart/abort", StatusAnswer, _parts_of(to) | {"upload_id": upload_id})


def _parts_of(to: PartsDestination) -> dict[str, Any]:
    """The members of a request by which the server knows whose parts they are."""
    known: dict[str, Any] = msgspec.to_builtins(to)
    return known
