"""The links in the description of the API: which of an answer's values the next request takes.

An operation is named as its route is. Values are OpenAPI's runtime expressions.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

Expressions = dict[str, Any]


class Link(msgspec.Struct, frozen=True):
    """Where one may go, with which parameters in the path and which members in the body."""

    to: str
    path: Expressions
    body: Expressions | None = None


def _all(to: tuple[str, ...], **path: str) -> list[Link]:
    return [Link(each, path) for each in to]


_JOB: Final = (
    "GET /api/jobs/<id:job_id>",
    "GET /api/jobs/<id:job_id>/events",
    "GET /api/jobs/<id:job_id>/preview",
    "GET /api/files/<id:job_id>/<any(source,output):kind>/url",
    "POST /api/jobs/<id:job_id>/uploaded",
    "POST /api/jobs/<id:job_id>/retry",
    "POST /api/jobs/<id:job_id>/cancel",
    "PATCH /api/jobs/<id:job_id>/priority",
    "POST /api/jobs/<id:job_id>/priority",
    "DELETE /api/jobs/<id:job_id>",
)
_ENDED: Final = ("GET /api/jobs/<id:job_id>", "POST /api/jobs/<id:job_id>/retry")
_WORKER: Final = (
    "GET /api/workers/<worker:worker_id>",
    "POST /api/workers/<worker:worker_id>/drain",
    "POST /api/workers/<worker:worker_id>/quarantine",
    "POST /api/workers/<worker:worker_id>/readmit",
    "DELETE /api/workers/<worker:worker_id>",
    "POST /api/admin/workers/<worker:worker_id>/regenerate",
    "POST /api/admin/workers/<worker:worker_id>/enable",
    "POST /api/admin/workers/<worker:worker_id>/disable",
)
_USER: Final = ("GET /api/admin/users/<id:user_id>/sessions", "DELETE /api/admin/users/<id:user_id>/sessions")

_CLAIMED: Final = {"job_id": "$response.body#/job/id"}
_HELD: Final = {"worker_id": "$request.body#/worker_id", "lease": "$response.body#/lease"}
_UPLOAD: Final = {"source_hash": "$request.body#/source_hash", "upload_id": "$response.body#/upload_id"}
_UNDO: Final = [Link("POST /api/jobs/undo", {}, {"undo": "$response.body#/undo"})]

LINKS: Final[dict[str, list[Link]]] = {
    "POST /api/jobs": _all(_JOB, job_id="$response.body#/job_id"),
    "GET /api/jobs": _all(_JOB, job_id="$response.body#/jobs/0/id"),
    "POST /api/workers/register": [
        *_all(_WORKER, worker_id="$request.body#/id"),
        Link("POST /api/workers/<worker:worker_id>/heartbeat", {"worker_id": "$request.body#/id"}),
        Link("POST /api/workers/<worker:worker_id>/unregister", {"worker_id": "$request.body#/id"}),
        Link("POST /api/jobs/claim", {}, {"worker_id": "$request.body#/id", "job_type": "$request.body#/type"}),
    ],
    "POST /api/admin/workers": _all(_WORKER, worker_id="$response.body#/id"),
    "GET /api/workers": _all(_WORKER, worker_id="$response.body#/0/id"),
    "POST /api/jobs/claim": [
        Link(
            "POST /api/jobs/<id:job_id>/complete",
            _CLAIMED,
            _HELD | {"output_key": "$response.body#/output_key"},
        ),
        Link("POST /api/jobs/<id:job_id>/fail", _CLAIMED, _HELD),
        Link("POST /api/jobs/<id:job_id>/release", _CLAIMED, _HELD),
        Link(
            "POST /api/workers/<worker:worker_id>/heartbeat",
            {"worker_id": "$request.body#/worker_id"},
            _CLAIMED | {"lease": "$response.body#/lease"},
        ),
        Link("POST /api/files/source-url", {}, _CLAIMED | {"lease": "$response.body#/lease"}),
        Link("POST /api/files/upload-url", {}, _CLAIMED | {"lease": "$response.body#/lease"}),
        Link("POST /api/files/multipart", {}, _CLAIMED | {"lease": "$response.body#/lease"}),
        *_all(("GET /api/jobs/<id:job_id>", "POST /api/jobs/<id:job_id>/cancel"), **_CLAIMED),
    ],
    "POST /api/jobs/<id:job_id>/complete": _all(_ENDED, job_id="$request.path.job_id"),
    "POST /api/jobs/<id:job_id>/fail": _all(_ENDED, job_id="$request.path.job_id"),
    "POST /api/jobs/<id:job_id>/cancel": [*_all(_ENDED, job_id="$request.path.job_id"), *_UNDO],
    "POST /api/jobs/<id:job_id>/priority": _UNDO,
    "POST /api/jobs/<id:job_id>/retype": _UNDO,
    "POST /api/jobs/cancel": _UNDO,
    "POST /api/jobs/priority": _UNDO,
    "POST /api/jobs/retype": _UNDO,
    "GET /api/admin/users": _all(_USER, user_id="$response.body#/0/id"),
    "POST /api/admin/tokens": _all(("DELETE /api/admin/tokens/<id:token_id>",), token_id="$response.body#/id"),
    "POST /api/files/multipart": [
        Link(f"POST /api/files/multipart/{verb}", {}, _UPLOAD) for verb in ("part", "complete", "abort")
    ],
}
