"""The HTTP client that the command line, the worker runner and the bench share (async, on trio).

The only place that knows httpx: see `transport.py` for what is repeated and when, `api.py` for the endpoints.
"""

from __future__ import annotations

from blobforge.client.api import LARGEST_CLAIM, LONGEST_WAIT, Client, is_credential
from blobforge.client.errors import (
    ApiError,
    ChecksumMismatch,
    ClientError,
    ServerUnreachable,
    SourceChanged,
    TransferRefused,
    UnexpectedAnswer,
)
from blobforge.client.events import EventStream, ServerEvent
from blobforge.client.submission import SubmittedFile, submit_file, upload_source
from blobforge.client.transfer import FileFacts, hash_file
from blobforge.client.transport import Glance, OnRetry
from blobforge.client.types import (
    FINAL_STATUSES,
    Attempt,
    AuditEntry,
    AuditPage,
    BackupReport,
    BatchAnswer,
    BatchItem,
    BulkDone,
    ClaimedJob,
    Drill,
    FailAnswer,
    Health,
    HeartbeatAnswer,
    Job,
    JobPage,
    NewToken,
    OrphanSearch,
    Registration,
    ReleaseCause,
    Stats,
    StatusAnswer,
    Submission,
    TokenInfo,
    UploadUrl,
    UserInfo,
    WhoAmI,
    WorkerInfo,
    WorkerSecret,
)
from blobforge.login.credentials import DEFAULT_URL

__all__ = [
    "DEFAULT_URL",
    "FINAL_STATUSES",
    "LARGEST_CLAIM",
    "LONGEST_WAIT",
    "ApiError",
    "Attempt",
    "AuditEntry",
    "AuditPage",
    "BackupReport",
    "BatchAnswer",
    "BatchItem",
    "BulkDone",
    "ChecksumMismatch",
    "ClaimedJob",
    "Client",
    "ClientError",
    "Drill",
    "EventStream",
    "FailAnswer",
    "FileFacts",
    "Glance",
    "Health",
    "HeartbeatAnswer",
    "Job",
    "JobPage",
    "NewToken",
    "OnRetry",
    "OrphanSearch",
    "Registration",
    "ReleaseCause",
    "ServerEvent",
    "ServerUnreachable",
    "SourceChanged",
    "Stats",
    "StatusAnswer",
    "Submission",
    "SubmittedFile",
    "TokenInfo",
    "TransferRefused",
    "UnexpectedAnswer",
    "UploadUrl",
    "UserInfo",
    "WhoAmI",
    "WorkerInfo",
    "WorkerSecret",
    "hash_file",
    "is_credential",
    "submit_file",
    "upload_source",
]
