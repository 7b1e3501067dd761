"""An answer as plain data, before it is Quart's or goes out as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from quart import Response


@dataclass
class PlainAnswer:
    """`headers` are those besides Content-Type and Content-Length."""

    status_code: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The same as Quart's."""
        return Response(self.body, self.status_code, self.headers, content_type=self.content_type)


class GoneError(Exception):
    """The client went away before its answer."""
