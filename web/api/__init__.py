"""The API: all its routes, in the order in which the documentation shows them."""

from __future__ import annotations

from web.api import bulk, claims, files, jobs, people, status, tokens, workers
from web.routing import Route

ROUTES: list[Route] = [
    *jobs.ROUTES,
    *bulk.ROUTES,
    *claims.ROUTES,
    *workers.ROUTES,
    *files.ROUTES,
    *tokens.ROUTES,
    *people.ROUTES,
    *status.ROUTES,
]
