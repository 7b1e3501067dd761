"""The HTTP client that the command line, the worker runner and the bench share (async, on trio).

The only place that knows httpx: see `transport.py` for what is repeated and when, `api.py` for the endpoints.
"""

from __future__ import annotations

from blobforge.client.api import DEFAULT_URL, LARGEST_CLAIM, LONGEST_WAIT, Client
from blobforge.client.errors import (
    ApiError,
    ChecksumMismatch,
    ClientError,
    ServerUnreachable,
    TransferRefused,
    UnexpectedAnswer,
)
from blobforge.client.submission import Submitted, submit_file
from blobforge.client.transfer import FileFacts, hash_file
from blobforge.client.transport import OnRetry
from blobforge.client.types import (
    FINAL_STATUSES,
    Attempt,
    Claim,
    Done,
    FailAnswer,
    HeartbeatAnswer,
    Job,
    JobPage,
    NewToken,
    Registration,
    Stats,
    Submission,
    TokenInfo,
    UploadUrl,
    WorkerInfo,
    WorkerSecret,
)

__all__ = [
    "DEFAULT_URL",
    "FINAL_STATUSES",
    "LARGEST_CLAIM",
    "LONGEST_WAIT",
    "ApiError",
    "Attempt",
    "ChecksumMismatch",
    "Claim",
    "Client",
    "ClientError",
    "Done",
    "FailAnswer",
    "FileFacts",
    "HeartbeatAnswer",
    "Job",
    "JobPage",
    "NewToken",
    "OnRetry",
    "Registration",
    "ServerUnreachable",
    "Stats",
    "Submission",
    "Submitted",
    "TokenInfo",
    "TransferRefused",
    "UnexpectedAnswer",
    "UploadUrl",
    "WorkerInfo",
    "WorkerSecret",
    "hash_file",
    "submit_file",
]
