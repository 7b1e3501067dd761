"""All pages, and what their forms do."""

from __future__ import annotations

from collections.abc import Iterable

from web.dashboard import (
    admin,
    batches,
    canaries,
    comparison,
    family,
    find,
    jobs,
    machines,
    operations,
    overview,
    submit,
    suggestions,
    types,
    view,
    webhooks,
    workers,
)
from web.dashboard.actions import action_routes
from web.routing import Route


def page_routes(api: Iterable[Route]) -> list[Route]:
    """The pages, and a form route for each route of the API that they use."""
    return [
        *overview.ROUTES,
        *suggestions.ROUTES,
        *jobs.ROUTES,
        *comparison.ROUTES,
        *family.ROUTES,
        *view.ROUTES,
        *batches.ROUTES,
        *operations.ROUTES,
        *canaries.ROUTES,
        *types.type_routes(api),
        *workers.ROUTES,
        *machines.ROUTES,
        *admin.ROUTES,
        *webhooks.ROUTES,
        *submit.ROUTES,
        *find.ROUTES,
        *action_routes(api),
    ]
