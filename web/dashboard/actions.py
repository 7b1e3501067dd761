"""The forms of the pages. Each is one route of the API with a form for a body and a page for an answer.

A form at `/do/...` is the API's route `/api/...`: the same handler, the same access, the same record in the audit
log. So nothing can be done on a page that the API does not know, and no rule stands twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, get_args, get_origin
from urllib.parse import parse_qs, quote

import msgspec
from quart import Response

from blobforge.chain import known_hash
from blobforge.operation import MANY
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from blobforge.worker import WorkerStatus
from web.api import bulk, removal, wire_access, wire_bulk, wire_jobs, wire_webhooks
from web.dashboard.machines import machine_of, machine_page
from web.dashboard.page import THEMES, Notice, framed, leave, page, refused_notice, watch
from web.dashboard.webhookform import listed, webhook_fields
from web.decode import invalid
from web.html import came_from, redirect, safe_next
from web.routing import Access, Call, Route

SEEN = "seen"  # a field of a question: what it was about when it was put
ManyBody = wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain
SAMPLES = 5  # that a question names
MOST_PAGES = 40  # of deliveries, 500 each, that one form sends again
MOST_FIELDS = 2000  # of one form: a page of jobs with all of them selected, and room
LONGEST_FORM = 256 * 1024  # bytes
NO_SCOPE = "Nothing was ticked of what the token may do, and none was made."
NONE_TICKED = "Nothing was ticked, and nothing was done: tick those that you mean, or take all that a filter has."
NO_REQUIREMENT = "No label was named, and nothing was done: write those that workers must have, or: nothing."
NOTHING = "nothing"  # what a person writes where many jobs are to require it
READMIT = "POST /api/workers/<worker:worker_id>/readmit"
LONGEST_EVIDENCE = 200  # characters: a notice is in a cookie
DRAIN = "POST /api/workers/drain"
NO_TAG = "No tag was named, and nothing was done: write one to add, or one to remove."
_STATE = "their state forbids it"
_SO_ALREADY = "they are so already"
_DRAINED = "they are so already, or disabled"
ENABLE = ("let {} work again", "get jobs again", _DRAINED)  # instead of a drain, where that is ended
_NOT_RETYPED = "they do not wait, are so already, or there is a job of that type for their source"
# What is done to many: what a person is asked (`{}`: how many) and, after the numbers, told; and why some are left as
# they are.
BULK = {
    "POST /api/jobs/retry": ("bring {} back", "go again", _STATE),
    "POST /api/jobs/cancel": ("cancel {}", "are cancelled", _STATE),
    "POST /api/jobs/priority": ("change the priority of {}", "have the new priority", _SO_ALREADY),
    "POST /api/jobs/tags": ("change the tags of {}", "have their tags changed", _SO_ALREADY),
    "POST /api/jobs/retype": ("give another type to {}", "have the new type", _NOT_RETYPED),
    "POST /api/jobs/requires": ("change the requirements of {}", "have the new requirements", _SO_ALREADY),
    "POST /api/jobs/delete": ("delete {} for good", "are deleted", _STATE),
    "POST /api/workers/remove": ("remove {}", "are removed", _STATE),
    DRAIN: ("drain {}", "end what they run, and get nothing new", _DRAINED),
}
# What else a person has chosen of it: the words for the fields of the API's body.
CHOSEN = {
    "POST /api/jobs/priority": {"priority": "New priority"},
    "POST /api/jobs/retype": {"to": "New type"},
    "POST /api/jobs/requires": {"requires": "New requirements"},
    "POST /api/jobs/tags": {"add": "Tag to add", "remove": "Tag to remove"},
}
FILTERED = {"q": "text"}  # where a filter's name is no word

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
        *(_form(row, _bulk(row)) for name in BULK if (row := rows.get(name)) is not None),
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


ActionAnswer = Callable[[Call, dict[str, list[str]], Any], Any]


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
            fields = bulk_fields(form, row.body) if issubclass(row.body, wire_bulk.BulkBody) else form
            if issubclass(row.body, wire_bulk.BulkRequires | wire_jobs.RequiresBody):
                fields = fields | {"requires": _labels(form)}
            if issubclass(row.body, OF_WEBHOOKS):
                fields = webhook_fields(form, row.body, now=call.services.now())
            body = body_of(fields, row.body)
            if isinstance(body, Refusal):
                return leave(call, back(call), refused_notice(body))
            if isinstance(body, wire_bulk.BulkTags) and not body.add and not body.remove:
                return leave(call, back(call), Notice(NO_TAG, bad=True))
            if SEEN in form and isinstance(body, wire_bulk.BulkBody | wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
                body = await _as_it_was_shown(call, row, form, body)
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


def _noun(row: Route) -> str:
    return "worker" if row.body in (wire_bulk.BulkWorkers, wire_bulk.BulkDrain) else "job"


def _bulk(row: Route) -> ActionAnswer:
    """First a dry run and a question with the number in it; the answer to that does it."""

    noun = _noun(row)
    to = "/do" + row.path.removeprefix("/api")

    async def answered(
        call: Call, form: dict[str, list[str]], outcome: wire_bulk.BulkAnswer | tuple[int, wire_bulk.OperationBegun]
    ) -> Response:
        question, said, left = ENABLE if row.name == DRAIN and form.get("drain") == ["false"] else BULK[row.name]
        if isinstance(outcome, tuple):
            number = outcome[1].operation
            response = leave(call, f"/operations/{number}", Notice(f"Operation {number} goes on by itself."))
            return watch(call, response, number)
        if outcome.dry_run:
            left_out = ("dry_run", "background", SEEN)
            kept = [(name, value) for name, values in form.items() for value in values if name not in left_out]
            before, _, after = question.partition("{}")
            many_of = f"{outcome.changed:,} {noun}{'' if outcome.changed == 1 else 's'}"
            totals, (samples, state) = await framed(
                call, lambda reader: (_samples(row, form, reader), _state(noun, form, reader))
            )
            kept.append((SEEN, state or str(outcome.changed)))
            return await page(
                call, "confirm.html", title="Are you sure?", place=f"/{noun}s", totals=totals, to=to, before=before,
                after=after, noun=noun, does=question.format(many_of), samples=samples,
                danger=row.name in ("POST /api/jobs/delete", "POST /api/workers/remove"), found=outcome, kept=kept,
                return_to=back(call), left=left, chosen=_chosen(form, row), wanted=_wanted(form, noun),
                many=outcome.changed > MANY and row.name != DRAIN, alone=row.name == DRAIN,
                below=_below_in_words(outcome), again=SEEN in form,
            )  # fmt: skip
        text = f"{outcome.changed:,} of {outcome.matched:,} {noun}s {said}."
        if outcome.refused:
            reason = outcome.reason if isinstance(outcome.reason, str) else f"{left}."
            text += f" {outcome.refused:,} were left: {reason}"
        return leave(call, back(call), Notice(text, undo=outcome.undo if isinstance(outcome.undo, str) else ""))

    return answered


async def _as_it_was_shown(call: Call, row: Route, form: dict[str, list[str]], body: ManyBody) -> ManyBody:
    """The same, where it is about what its question has shown; else a dry run of it, for the question is to be put
    once more: of those that were ticked some have ended since, or begun anew, or more match than were counted."""
    seen, noun = form[SEEN][-1], _noun(row)
    asked: ManyBody = (
        msgspec.structs.replace(body, dry_run=True)
        if isinstance(body, wire_bulk.BulkDrain)
        else msgspec.structs.replace(body, dry_run=True, background=False)
    )
    if state := await call.services.reads.moment(partial(_state, noun, form)):
        return body if state == seen else asked
    if not (seen.isascii() and seen.isdigit() and len(seen) < 19) or int(seen) > MANY:
        return body  # very many are never quite as they were
    found = await row.handler(call, asked)
    return asked if isinstance(found, wire_bulk.BulkAnswer) and found.changed > int(seen) else body


def _state(noun: str, form: dict[str, list[str]], reader: Reader) -> str:
    """How those that were ticked are, as far as a person would decide otherwise: how they have ended, or which
    workers are there. Empty where it is about all that match."""
    if "everything" in form or not form.get("ids"):
        return ""
    state_of = _state_of_worker if noun == "worker" else _state_of_job
    states = sorted((each, state_of(reader, each)) for each in form["ids"])
    return hashlib.sha256(repr(states).encode()).hexdigest()


def _state_of_job(reader: Reader, said: str) -> str:
    job = reader.job(int(said)) if said.isascii() and said.isdigit() and len(said) < 19 else None
    if job is None:
        return "gone"
    return job.status if job.completed_at is not None else "open"


def _state_of_worker(reader: Reader, worker_id: str) -> str:
    found = reader.roster.worker(worker_id)
    if found is None:
        return "gone"
    return "away" if found[0].status is WorkerStatus.OFFLINE else "there"


def _below_in_words(found: wire_bulk.BulkAnswer) -> str:
    """What came of the jobs that are to be cancelled, and goes on; empty where nothing does."""
    if not isinstance(found.parents, int) or not isinstance(found.children, int):
        return ""
    least = "at least " if found.more is True else ""
    jobs = "job" if found.children == 1 else "jobs"
    return f"{least}{found.children:,} {jobs} that came of {least}{found.parents:,} of them"


def _samples(row: Route, form: dict[str, list[str]], reader: Reader) -> list[tuple[str, str]]:
    """Some of the jobs, or workers, that it is about: where their pages are, and what they are called."""
    assert row.body is not None
    body = body_of(bulk_fields(form, row.body), row.body)
    if isinstance(body, wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
        workers = removal.sample(reader, body, most=SAMPLES)
        return [(f"/workers/{quote(each.id, safe='')}", each.id) for each in workers]
    if not isinstance(body, wire_bulk.BulkBody):
        return []
    jobs = bulk.sample(reader, body, most=SAMPLES)
    return [(f"/jobs/{job.id}", job.source_path or known_hash(job.source_hash)[:16]) for job in jobs]


def _chosen(form: dict[str, list[str]], row: Route) -> list[tuple[str, str]]:
    """What a person has chosen of the change itself, beside the jobs."""
    assert row.body is not None
    fields = bulk_fields(form, row.body)
    named = CHOSEN.get(row.name, {})
    return [(words, ", ".join(fields[name])) for name, words in named.items() if name in fields]


def _wanted(form: dict[str, list[str]], noun: str) -> list[tuple[str, str]]:
    """The filter by which they were chosen; empty where each was ticked."""
    given: dict[str, str] = {}
    if noun == "worker":
        given = {name: form[name][-1] for name in ("q", "type", "status") if name in form}
    elif "everything" in form:
        given = {name.removeprefix("filter_"): form[name][-1] for name in form if name.startswith("filter_")}
    return [(FILTERED.get(name, name.replace("_", " ")), value) for name, value in given.items()]


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


# ------------------------------------------------------------------ forms


def read_form(call: Call) -> dict[str, list[str]] | Refusal:
    """The fields of the form; empty ones count as absent."""
    if len(call.raw) > LONGEST_FORM:
        return Refusal(RefusalCode.TOO_LARGE, "That is more than a form of this page sends.")
    try:
        fields = parse_qs(call.raw.decode(), max_num_fields=MOST_FIELDS)
    except ValueError:
        return Refusal(RefusalCode.MALFORMED, "That is not what a form of this page sends.")
    if any("\0" in value for values in fields.values() for value in values):
        return Refusal(RefusalCode.INVALID, "The form holds a NUL character.")
    return fields


def bulk_fields(form: dict[str, list[str]], body: type[Any]) -> dict[str, list[str]]:
    """The fields of a bulk action: the jobs that were ticked, or with `everything` all that the list's filter holds.

    The list's filter comes as `filter_...`: a priority to look for is not the one to set.
    """
    fields = {name: values for name, values in form.items() if not name.startswith("filter_")}
    if "to_priority" in form and issubclass(body, wire_bulk.BulkPriority):  # and nothing else takes it from the form
        fields["priority"] = form["to_priority"]
    if "everything" not in form:
        return fields | {"ids": form.get("ids", [])}
    fields.pop("ids", None)
    for name, values in form.items():
        if name.startswith("filter_"):
            wanted = name.removeprefix("filter_")
            fields["only_priority" if wanted == "priority" else wanted] = values
    return fields


def _labels(form: dict[str, list[str]]) -> list[str]:
    """What a person wrote as requirements; NOTHING, or an empty field, is none."""
    return [each for each in listed(form, "requires") if each != NOTHING]


def names_none(body: type[Any], form: dict[str, list[str]]) -> bool:
    """Whether this is a change of jobs, or workers, that were to be ticked, and none was."""
    if issubclass(body, wire_bulk.BulkWorkers | wire_bulk.BulkDrain):
        return not any(form.get(name) for name in ("ids", "q", "type", "status"))
    return issubclass(body, wire_bulk.BulkBody) and "everything" not in form and not form.get("ids")


def body_of(form: dict[str, list[str]], type_: type[Any]) -> Any | Refusal:
    """The form as the API's body: a list where that takes one, else the last value."""
    fields = {field.encode_name: _takes_list(field.type) for field in msgspec.structs.fields(type_)}
    # A form has fields of its own beside those of the API, and some bodies refuse what they do not know.
    given = {name: (values if fields[name] else values[-1]) for name, values in form.items() if name in fields}
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        return invalid(str(error))


def _takes_list(type_: Any) -> bool:
    if get_origin(type_) in (list, tuple, set, frozenset):
        return True
    return any(_takes_list(part) for part in get_args(type_))


def back(call: Call) -> str:
    """The page that the form stood on: named by the form, or by the browser (same origin only)."""
    named = parse_qs(call.raw.decode("utf-8", "replace")).get("return_to", [""])[0]
    if named:
        return safe_next(named)
    return came_from(call.request, call.services.site.base(call.request))
