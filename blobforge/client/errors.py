"""What can go wrong between a client and the server, as exceptions whose text a person can act on."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all that this package raises for the server, the network or an object store."""


class ServerUnreachable(ClientError):
    """No answer came: refused, timed out, cut off. `url` is what was called, without its query."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot reach {url}: {reason}")
        self.url = url
        self.reason = reason


class ApiError(ClientError):
    """The server said no. The text is the problem's `detail`.

    `status` is the HTTP status; `type` is the stable suffix of the problem's URI (`lease-lost`), empty for an
    answer that is no problem+json; `retry_after` is in seconds, None when the server named no time.
    """

    def __init__(
        self,
        status: int,
        type: str,
        detail: str,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after


class ServerTooOld(ClientError):
    """The server took a request, and not what was asked for in it: it is of a release that does not know it."""


class UnexpectedAnswer(ServerUnreachable):
    """Something else answered in the server's place, or the store's: a proxy, a captive portal, another program."""

    def __init__(self, url: str, reason: str) -> None:
        Exception.__init__(self, f"{url} {reason}")
        self.url = url
        self.reason = reason


class TransferRefused(ClientError):
    """The object store refused a signed URL, for instance because it has expired.

    `status` is its HTTP status, `code` S3's own word for it (`EntityTooLarge`), empty where there is none.
    """

    def __init__(self, status: int, url: str, detail: str, code: str = "") -> None:
        super().__init__(f"{url} answered {status}{': ' + detail if detail else ''}")
        self.status = status
        self.url = url
        self.code = code


class SourceChanged(ClientError):
    """A file was written to while it was read."""


class ChecksumMismatch(ClientError):
    """The bytes are not those that were promised. Both are SHA-256 in hex."""

    def __init__(self, what: str, expected: str, got: str) -> None:
        super().__init__(f"{what} has SHA-256 {got}, expected {expected}")
        self.expected = expected
        self.got = got
