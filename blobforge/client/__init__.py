"""The HTTP client: `Client` for scripts, and its twin `AsyncClient` on trio, for the command line and the worker

The only place that knows httpx: see `transport.py` for what is repeated and when, `api.py` for the endpoints.
"""

from __future__ import annotations

from blobforge.client.api import LARGEST_CLAIM, LONGEST_WAIT, is_credential
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
from blobforge.client.scripting import AsyncClient, JobResult
from blobforge.client.submission import SubmittedFile, submit_file, upload_source
from blobforge.client.sync import Client
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
    DrillsPage,
    FailAnswer,
    FileLink,
    Health,
    HeartbeatAnswer,
    Job,
    JobFilters,
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
    "AsyncClient",
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
    "DrillsPage",
    "EventStream",
    "FailAnswer",
    "FileFacts",
    "FileLink",
    "Glance",
    "Health",
    "HeartbeatAnswer",
    "Job",
    "JobFilters",
    "JobPage",
    "JobResult",
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
