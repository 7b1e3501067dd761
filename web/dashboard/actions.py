"""The forms of the pages. Each is one route of the API with a form for a body and a page for an answer.

A form at `/do/...` is the API's route `/api/...`: the same handler, the same access, the same record in the audit
log. So nothing can be done on a page that the API does not know, and no rule stands twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
from quart import Response

from blobforge.refusals import Refusal, RefusalCode
from web.api import wire_access, wire_bulk, wire_webhooks
from web.dashboard.forms import ActionAnswer, back, body_of, fields_of, names_none, read_form
from web.dashboard.machines import machine_of, machine_page
from web.dashboard.page import THEMES, Notice, leave, page, refused_notice, watch
from web.dashboard.questions import BULK, SEEN, as_it_was_shown, questioned
from web.dashboard.webhookform import webhook_fields
from web.html import redirect
from web.routing import Access, Call, Route

MOST_PAGES = 40  # of deliveries, 500 each, that one form sends again
NO_SCOPE = "Nothing was ticked of what the token may do, and none was made."
NONE_TICKED = "Nothing was ticked, and nothing was done: tick those that you mean, or take all that a filter has."
NO_REQUIREMENT = "No label was named, and nothing was done: write those that workers must have, or: nothing."
READMIT = "POST /api/workers/<worker:worker_id>/readmit"
LONGEST_EVIDENCE = 200  # characters: a notice is in a cookie
NO_TAG = "No tag was named, and nothing was done: write one to add, or one to remove."

_DELIVERY = "/api/admin/webhooks/<id:webhook_id>/deliveries/<id:delivery_id>"
# What stands in the notice, by the API's route; `{...}` are the path's parameters and the answer's fields.
SAID = {
    "POST /api/jobs/<id:job_id>/retry": "Job {job_id} goes again.",
    "POST /api/jobs/<id:job_id>/cancel": "Job {job_id} is cancelled.",
    "POST /api/jobs/<id:job_id>/priority": "The priority of job {job_id} is changed.",
    "POST /api/jobs/<id:job_id>/requires": "What job {job_id} requires of its worker is changed.",
    "DELETE /api/jobs/<id:job_id>": "Job {job_id} is deleted.",
    "POST /api/workers/<worker:worker_id>/drain": "{worker_id} drains: it ends what it runs and gets nothing new.",
    "POST /api/workers/<worker:worker_id>/quarantine": "{worker_id} gets no jobs until it is readmitted.",
    READMIT: "{worker_id} gets jobs again.",
    "DELETE /api/workers/<worker:worker_id>": "{worker_id} is removed; what it ran has gone back.",
    "POST /api/admin/workers/<worker:worker_id>/enable": "{worker_id} may work again.",
    "POST /api/admin/workers/<worker:worker_id>/disable": "{worker_id} is disabled; what it ran has gone back.",
    "DELETE /api/admin/tokens/<id:token_id>": "The token is deleted; whoever used it is out.",
    "DELETE /api/admin/users/<id:user_id>/sessions": "The sessions of this person are ended: {ended}.",
    "POST /api/admin/backup/drill": "The drill runs; its outcome will stand here.",
    "POST /api/types/<type:type>/pause": "Type {type} is paused: no job of it is given out.",
    "POST /api/types/<type:type>/resume": "Jobs of type {type} are given out again.",
    "POST /api/jobs/<id:job_id>/tags": "The tags of job {job_id} are changed.",
    "POST /api/operations/<id:operation_id>/cancel": "Operation {operation_id} was stopped.",
    "POST /api/operations/<id:operation_id>/undo": "Operation {operation_id} is taken back by operation {operation}.",
    "POST /api/batches/<id:batch_id>/close": "Batch {batch_id} takes no further jobs.",
    "POST /api/batches/<id:batch_id>/cancel": "Batch {batch_id} is closed; operation {operation} cancels its jobs.",
    "POST /api/batches/<id:batch_id>/retry": "Operation {operation} brings jobs of batch {batch_id} back.",
    "DELETE /api/batches/<id:batch_id>": "Operation {operation} deletes batch {batch_id}.",
    "POST /api/canaries": "Canary {id} has begun. Documents that are converted once more: {taken}.",
    "POST /api/canaries/<id:canary_id>/cancel": "Canary {canary_id} is stopped; what it has come to stays.",
    "PATCH /api/admin/webhooks/<id:webhook_id>": "Webhook {webhook_id} is changed.",
    "DELETE /api/admin/webhooks/<id:webhook_id>": "Webhook {webhook_id} is deleted: it is told nothing more.",
    "POST /api/admin/webhooks/<id:webhook_id>/test": "Delivery {delivery} is sent, to try it: see below.",
    f"POST {_DELIVERY}/redeliver": "Delivery {delivery} is sent again.",
    "POST /api/jobs/undo": "Undone: {changed} of {matched} jobs are as before.",
}
# These answer with a secret, which is shown once, on a page of its own.
MADE = {
    "POST /api/admin/tokens": "made_token.html",
    "POST /api/admin/webhooks": "made_webhook.html",
    "POST /api/admin/webhooks/<id:webhook_id>/rotate": "made_webhook.html",
    "POST /api/admin/workers": "made_worker.html",
    "POST /api/admin/workers/<worker:worker_id>/regenerate": "made_worker.html",
}
RANGE_AGAIN = "POST /api/admin/webhooks/<id:webhook_id>/redeliver"
OF_WEBHOOKS = (wire_webhooks.WebhookBody, wire_webhooks.WebhookPatch, wire_webhooks.RangeBody)
# Where the forms stand, by the beginnings of their addresses below `/do/`.
PAGES_OF = {"jobs": "/jobs", "types": "/types", "batches": "/batches", "workers": "/workers",
            "admin/workers": "/workers", "admin/webhooks": "/admin/webhooks", "operations": "/operations",
            "canaries": "/canaries", "admin": "/admin"}  # fmt: skip
# Where to go when the thing that the page was about is gone, or there is a new one.
ELSEWHERE = {
    "POST /api/canaries": "/canaries/{id}",
    "DELETE /api/admin/webhooks/<id:webhook_id>": "/admin/webhooks",
    "DELETE /api/batches/<id:batch_id>": "/batches",
    "DELETE /api/jobs/<id:job_id>": "/jobs",
    "DELETE /api/workers/<worker:worker_id>": "/workers",
}


def action_routes(api: Iterable[Route]) -> list[Route]:
    """A form route for each of the API's routes that the pages use."""
    rows = {route.name: route for route in api}
    routes = [
        *(_form(rows[name], _noticing(name)) for name in SAID if name in rows),
        *(_form(rows[name], _shown(template)) for name, template in MADE.items() if name in rows),
        *(_form(row, questioned(row)) for name in BULK if (row := rows.get(name)) is not None),
        *(_form(row, _sent_again(row)) for name in (RANGE_AGAIN,) if (row := rows.get(name)) is not None),
    ]
    return [
        *routes,
        Route(
            "GET",
            "/do/<path:rest>",
            Access.READ,
            was_there,
            "Leads to the page of what was shown once",
            gives=str,
            page=True,
            hidden=True,
        ),
        Route(
            "POST",
            "/do/theme",
            Access.ANYONE_KNOWN,
            set_theme,
            "Choose light or dark",
            gives=str,
            page=True,
            hidden=True,
        ),
    ]


def _form(row: Route, answered: ActionAnswer) -> Route:
    """The route of the API as a form. A DELETE is a POST here, at a path that says so."""
    path = "/do" + row.path.removeprefix("/api") + ("/delete" if row.method == "DELETE" else "")

    async def act(call: Call) -> Any:
        form = read_form(call)
        if isinstance(form, Refusal):
            return form
        arguments: tuple[Any, ...] = ()
        if row.body is not None:
            if names_none(row.body, form):
                return leave(call, back(call), Notice(NONE_TICKED, bad=True))
            if issubclass(row.body, wire_access.TokenBody) and not {"scopes", "is_admin"} & form.keys():
                return leave(call, back(call), Notice(NO_SCOPE, bad=True))
            if issubclass(row.body, wire_bulk.BulkRequires) and "requires" not in form:
                return leave(call, back(call), Notice(NO_REQUIREMENT, bad=True))
            fields = fields_of(form, row.body)
            if issubclass(row.body, OF_WEBHOOKS):
                fields = webhook_fields(form, row.body, now=call.services.now())
            body = body_of(fields, row.body)
            if isinstance(body, Refusal):
                return leave(call, back(call), refused_notice(body))
            if isinstance(body, wire_bulk.BulkTags) and not body.add and not body.remove:
                return leave(call, back(call), Notice(NO_TAG, bad=True))
            if SEEN in form and isinstance(body, wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
                body = await as_it_was_shown(call, row, form, body)
            arguments = (body,)
        outcome = await row.handler(call, *arguments)
        if isinstance(outcome, Refusal):
            return leave(call, back(call), refused_notice(outcome))
        return await answered(call, form, outcome)

    return replace(
        row, method="POST", path=path, handler=act, body=None, gives=str, status=200, page=True, hidden=True
    )


def _noticing(name: str) -> ActionAnswer:
    async def answered(call: Call, form: dict[str, list[str]], outcome: Any) -> Response:
        given = outcome[1] if isinstance(outcome, tuple) else outcome
        facts = msgspec.json.decode(msgspec.json.encode(given)) if isinstance(given, msgspec.Struct) else {}
        known = call.params | (facts if isinstance(facts, dict) else {})
        said = _with_children(SAID[name], facts).format_map(known)
        readmitted, evidence = _readmitted(name, call, form)
        response = leave(
            call,
            ELSEWHERE[name].format_map(known) if name in ELSEWHERE else back(call),
            Notice(said, undo=str(facts.get("undo") or ""), readmitted=readmitted, evidence=evidence),
        )
        return watch(call, response, facts["operation"]) if isinstance(given, wire_bulk.OperationBegun) else response

    return answered


def _readmitted(name: str, call: Call, form: dict[str, list[str]]) -> tuple[str, str]:
    """The worker that may be quarantined again, by hand, and why; nothing where none was readmitted for something."""
    evidence = form.get("evidence", [""])[-1][:LONGEST_EVIDENCE]
    return (call.params["worker_id"], evidence) if name == READMIT and evidence else ("", "")


def _with_children(said: str, facts: dict[str, Any]) -> str:
    """A job that is cancelled with what came of it may have ended itself."""
    if "children" not in facts:
        return said
    told = "Job {job_id} is {status}. Cancelled of what came of it: {children}."
    return f"{told} Operation {{operation}} goes on with the others." if "operation" in facts else told


def _shown(template: str) -> ActionAnswer:
    async def answered(call: Call, form: dict[str, list[str]], outcome: Any) -> Response:
        made = outcome[1] if isinstance(outcome, tuple) else outcome
        place = "/workers" if template == "made_worker.html" else "/admin"
        base = call.services.site.base(call.request)
        if template == "made_token.html" and "machine" in form:
            said = {name: values[-1] for name, values in form.items()}
            machine = machine_of(call, said, made.token)
            if not isinstance(machine, Refusal):
                return await machine_page(call, machine, made)
        return await page(call, template, title="Shown once", place=place, made=made, base=base)

    return answered


def _sent_again(row: Route) -> ActionAnswer:
    """What happened within some time is sent again, a page after another; where it is very much, a person says
    whether to go on."""

    async def answered(call: Call, form: dict[str, list[str]], outcome: wire_webhooks.RangeDone) -> Any:
        kind = wire_webhooks.RangeBody
        body = body_of(webhook_fields(form, kind, now=call.services.now()), kind)
        before = form.get("sent", ["0"])[-1]
        sent = outcome.redelivered + (int(before) if before.isascii() and before.isdigit() else 0)
        following, pages = outcome.next_cursor, 0
        while following is not None and pages < MOST_PAGES:
            # Of one thing that a person has done there is one record.
            further = msgspec.structs.replace(body, cursor=following)
            found = await row.handler(replace(call, audit=None), further)
            if isinstance(found, Refusal):
                return leave(call, back(call), refused_notice(found))
            assert isinstance(found, wire_webhooks.RangeDone)
            following, sent, pages = found.next_cursor, sent + found.redelivered, pages + 1
        if following is None:
            text = f"{sent:,} deliver{'y is' if sent == 1 else 'ies are'} sent again."
            return leave(call, f"/admin/webhooks/{call.params['webhook_id']}", Notice(text))
        return await page(
            call, "webhook_again.html", title="There is more", place="/admin", sent=sent, asked=body,
            cursor=following, webhook_id=call.params["webhook_id"],
        )  # fmt: skip

    return answered


async def was_there(call: Call) -> Response:
    """The answer of a form, loaded anew: what was shown once is gone, and nothing is done twice."""
    rest = call.params["rest"]
    if rest.startswith("types/"):
        return redirect(f"/types/{quote(rest.split('/')[1], safe='')}")
    for beginning, place in PAGES_OF.items():
        if rest.startswith(beginning):
            return redirect(place)
    return redirect("/")


async def set_theme(call: Call) -> Response | Refusal:
    form = read_form(call)
    if isinstance(form, Refusal):
        return form
    chosen = form.get("theme", [""])[0]
    if chosen not in THEMES:
        return Refusal(RefusalCode.INVALID, f"There is no theme {chosen!r}; there are {', '.join(THEMES)}.")
    response = redirect(back(call))
    response.set_cookie("theme", chosen, max_age=365 * 86_400, path="/", samesite="Strict")
    return response
