"""What an answer of S3 means: the object is present, absent, or unknown. The one place where that is decided.

Between us and the store there may be proxies, captive portals and half-started servers, and they answer, too. So an
object is there only by an answer that has what S3 says of an object; absent only by S3's own 404, of a bucket that is
known to be there; and whatever else comes, in any form, is an ObjectStoreError: unknown. State owned here: how the
answers of this store look (`Handwriting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from blobforge.objects import ObjectStoreError
from blobforge.objects.breaker import NotAnsweringError

_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})  # and not NoSuchBucket, a 404 as well
_REQUEST_ID = "x-amz-request-id"


class StrangeAnswerError(ObjectStoreError):
    """An answer that is none of S3's; perhaps another program has answered."""


class Handwriting:
    """How this store's answers look. `known`: one was seen that was understood, and so is certainly its own."""

    def __init__(self) -> None:
        self.known = False
        self._numbers = False  # it gives each answer an id, as S3 does

    def learn(self, answer: Mapping[str, Any]) -> None:
        self.known = True
        self._numbers = _REQUEST_ID in _headers(answer)

    def check(self, answer: Mapping[str, Any]) -> None:
        """Raise StrangeAnswerError for an answer (or an error's response) that this store has not written."""
        headers = _headers(answer)
        if self._numbers and _REQUEST_ID not in headers:
            raise StrangeAnswerError("what answered is not the store: its answers have an id, and this one has none")


@contextmanager
def translated(where: str, what: str, timeout: float) -> Iterator[None]:
    """Turn whatever a call raises into an ObjectStoreError that says what to do. Keys and secrets are not in it."""
    try:
        yield
    except StrangeAnswerError as error:
        said = f"{error}; check the endpoint and what is in between"
        raise StrangeAnswerError(f"{where}: cannot {what}: {said}") from error
    except ObjectStoreError:
        raise
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        said = f"no answer within {timeout:g} s; check that it is up and reachable from here"
        raise NotAnsweringError(f"{where}: cannot {what}: {said}") from error
    except Exception as error:
        raise ObjectStoreError(f"{where}: cannot {what}: {reason(error)}") from error


def is_absent(error: ClientError, handwriting: Handwriting) -> bool:
    """Whether the store itself says that there is no such object. Raises StrangeAnswerError where another said so."""
    if status_of(error) != 404 or error.response.get("Error", {}).get("Code", "") not in _ABSENT:
        return False
    response: Any = error.response
    if _is_page(response):
        raise StrangeAnswerError("a 404 with a page for people")
    handwriting.check(response)
    return True


def check_object(answer: Mapping[str, Any], handwriting: Handwriting) -> None:
    """Raise StrangeAnswerError unless this describes an object."""
    if not (answer.get("ETag") or "").strip('"') or answer.get("LastModified") is None:
        raise StrangeAnswerError("an object without ETag or Last-Modified")
    if not isinstance(answer.get("ContentLength"), int) or answer["ContentLength"] < 0:
        raise StrangeAnswerError("an object without a length")
    handwriting.check(answer)


def check_list(answer: Mapping[str, Any], *, cursor: str | None, prefix: str) -> None:
    """Raise StrangeAnswerError unless this is the page of a list that `cursor` stands for; None: whatever is next is
    not asked for."""
    if not answer.get("Name") or "IsTruncated" not in answer:
        raise StrangeAnswerError("a list that is none of S3's")
    keys = [each["Key"] for each in answer.get("Contents", [])]
    if answer["IsTruncated"] and not keys:
        raise StrangeAnswerError("an empty page of a list that is said to go on")
    if answer["IsTruncated"] and cursor is not None and answer.get("NextContinuationToken") in (None, "", cursor):
        raise StrangeAnswerError("a list that does not say where it goes on")
    if any(not key.startswith(prefix) for key in keys):
        raise StrangeAnswerError("a list of other objects than those that were asked for")


def check_deleted(answer: Mapping[str, Any], handwriting: Handwriting) -> None:
    """Raise StrangeAnswerError unless this says that an object is gone."""
    if _is_page(answer):
        raise StrangeAnswerError("a page for people")
    handwriting.check(answer)


def check_stored(answer: Mapping[str, Any]) -> None:
    """Raise StrangeAnswerError unless this says that an object was stored, or copied."""
    if not (answer.get("CopyObjectResult", answer).get("ETag") or "").strip('"'):
        raise StrangeAnswerError("an object was stored without an ETag")


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def reason(error: Exception) -> str:
    """Why a call failed, and what to do, in words without keys or secrets."""
    if isinstance(error, (BotoCoreError, OSError)):
        return f"{error}; check the endpoint and the network"
    if not isinstance(error, ClientError):
        # botocore is not made for what is no S3: RecursionError for a 301, KeyError, ValueError, urllib3's own.
        return f"not understood ({type(error).__name__}); check the region, the endpoint and what is in between"
    status, code = status_of(error), error.response.get("Error", {}).get("Code", "")
    said = f"{status} {code}".strip()
    if status == 403:
        return f"refused ({said}); check the access key, its secret, its rights on the bucket, and this clock"
    if status == 404:
        return f"no such bucket ({said}); create it, or correct its name"
    if 300 <= status < 400 or status == 400:
        return f"not understood ({said}); check the region and the endpoint"
    return f"the store failed ({said}); it may recover by itself, else see its own log"


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


def _is_page(answer: Mapping[str, Any]) -> bool:
    return _headers(answer).get("content-type", "").startswith("text/html")
