"""The object store that a server under test has: its own, or a real S3 server beside it (extra `test`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def store(folder: Path, *, s3: bool) -> Iterator[dict[str, str]]:
    """The variables to start the server with. `folder` must be there, and empty."""
    if not s3:
        yield {}
        return
    from tests.fixtures.seaweed import running_seaweed  # noqa: PLC0415 - needs an extra

    with running_seaweed(folder) as seaweed:
        yield {
            "BLOBFORGE_S3_ENDPOINT": seaweed.endpoint,
            "BLOBFORGE_S3_BUCKET": seaweed.bucket,
            "BLOBFORGE_S3_ACCESS_KEY": seaweed.access_key,
            "BLOBFORGE_S3_SECRET_KEY": seaweed.secret_key,
            "BLOBFORGE_LITESTREAM_DISABLED": "true",  # what backup costs is another question
        }
