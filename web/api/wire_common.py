"""The shapes of the API that several subjects have: the types of single members, and answers that say one thing.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from blobforge import converters, requirements
from blobforge.fairness import LONGEST_GROUP
from web.decode import LENIENT, NO_SLASH

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
WorkerId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=NO_SLASH,
        description="Chosen by the worker; no slash, no space at either end",
    ),
]
StepType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=NO_SLASH,
        description="No slash, no space at either end; with the same options, not that of a step above it",
        examples=["summary"],
    ),
]
JoinType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=NO_SLASH,
        description="No slash, no space at either end; with the same options, not that of a step above it",
        examples=["book"],
    ),
]
JobType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=NO_SLASH,
        description="No slash, no space at either end",
        examples=["pdf"],
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 lowercase hex digits")]
Priority = Annotated[int, Meta(ge=1, le=5, description="1 (critical) to 5 (background)")]
MaxAttempts = Annotated[int, Meta(ge=1, le=1000)]
Size = Annotated[int, Meta(ge=0, le=2**53, description="bytes")]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
GivenTag = Annotated[
    str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*\Z", description='"" and null are left out')
]
Group = Annotated[
    str,
    Meta(min_length=1, max_length=LONGEST_GROUP, pattern=r"^[^\x00-\x1f\x7f]+\Z", description="a customer, a batch"),
]
SourcePath = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*\Z")]
ShortText = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*\Z")]
Lease = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
ObjectKey = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[^\x00]*\Z")]
JobId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
ClaimKey = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\Z")]
Instance = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
BatchId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="`id` of a batch in `GET /api/batches`")]
FailureId = Annotated[int, Meta(ge=1, le=2**63 - 1, description="`id` of a cause in `GET /api/failures`")]
ConverterText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=converters.PATTERN,
        description="The converter: a name and a version (PEP 440)",
        examples=["marker 1.3.2"],
    ),
]
Required = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=requirements.LONGEST,
        pattern=requirements.PATTERN,
        description="A label that the worker must have: there, equal, or compared (numbers, or versions of PEP 440)",
        examples=["gpu", "zone=eu", "memory_gib>=32"],
    ),
]
Requiring = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=requirements.LONGEST,
        pattern=requirements.PATTERN,
        description="Jobs that require this: a label (`gpu`), however compared, or one comparison; `none`: nothing",
        examples=["gpu", "none"],
    ),
]
MadeBy = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=converters.WANTED_PATTERN,
        description="Of results: name and versions (PEP 440) of a converter; `none`: completed jobs, none was said",
        examples=["marker<1.3"],
    ),
]
Accepts = Annotated[list[ShortText], Meta(max_length=20, examples=[["options"]])]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its zone")]
Json = dict[str, Any]

# What is kept of each, in bytes of JSON: it is shown in lists and sent to every subscriber.
MOST_METADATA = 64 * 1024
MOST_PROGRESS = 16 * 1024


class Status(msgspec.Struct, frozen=True):
    status: str


class Changed(msgspec.Struct, frozen=True):
    """`undo`: a token for `POST /api/jobs/undo`, good for ten minutes; there where it was asked for."""

    status: str
    undo: str | msgspec.UnsetType = msgspec.UNSET


class Items(msgspec.Struct, frozen=True):
    """One answer an item, in their order; a refused one has `error`, `type` and `status_code`."""

    items: list[dict[str, Any]]


class ArrayQuery(msgspec.Struct, frozen=True):
    """`cursor` is the id of the last one of the page before; the `Link` header has the next page's address."""

    limit: Annotated[int, Meta(ge=1, le=1000, extra=LENIENT)] = 1000
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class PlaceQuery(msgspec.Struct, frozen=True):
    """`cursor` is where a page begins: the `Link` header has the next page's address."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: ShortText | None = None


_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
