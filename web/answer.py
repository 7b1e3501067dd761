"""An answer as plain data, before it is Quart's or goes out as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from quart import Response

# In the extensions of a request's scope, where our server has brought it: takes a function that is called when the
# client goes, or at once if it has. To wait for that message would cost each request a task of its own.
WHEN_GONE = "blobforge.when_gone"


@dataclass
class Answer:
    """`headers` are those besides Content-Type and Content-Length."""

    status_code: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The same as Quart's."""
        return Response(self.body, self.status_code, self.headers, content_type=self.content_type)


class GoneError(Exception):
    """The client went away: nobody is there to be answered."""
