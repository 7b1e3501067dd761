"""The API: all its routes, in the order in which the documentation shows them."""

from __future__ import annotations

from web.api import (
    backups,
    bulk,
    claims,
    files,
    housekeeping,
    insights,
    jobs,
    manifest,
    multipart,
    operations,
    outputs,
    people,
    preview,
    removal,
    servers,
    sources,
    status,
    timeline,
    tokens,
    whoami,
    worker_attempts,
    workers,
)
from web.routing import Route

ROUTES: list[Route] = [
    *jobs.ROUTES,
    *bulk.ROUTES,
    *operations.ROUTES,
    *timeline.ROUTES,
    *preview.ROUTES,
    *claims.ROUTES,
    *outputs.ROUTES,
    *workers.ROUTES,
    *removal.ROUTES,
    *worker_attempts.ROUTES,
    *files.ROUTES,
    *manifest.ROUTES,
    *sources.ROUTES,
    *multipart.ROUTES,
    *tokens.ROUTES,
    *people.ROUTES,
    *housekeeping.ROUTES,
    *backups.ROUTES,
    *whoami.ROUTES,
    *status.ROUTES,
    *servers.ROUTES,
    *insights.ROUTES,
]
