"""What workers do with jobs: claim, complete, fail, release."""

from __future__ import annotations

import trio
from msgspec.structs import replace

from actors.messages import (
    AttemptFailed,
    Batch,
    Claim,
    Complete,
    Completed,
    Fail,
    Granted,
    Item,
    ObjectSeen,
    Release,
)
from blobforge.job import ReleaseCause
from blobforge.refusals import Refusal, RefusalCode
from web.api import encode, outputs, wire_attempts, wire_common
from web.api.grants import check_there, claim_answer
from web.api.held import worker_of
from web.api.seen import look
from web.problems import item_problem
from web.routing import Access, Call, Route

LONGEST_ERROR = 8_192  # characters that are kept of each
LONGEST_TRACE = 65_536
LOOKS_AT_ONCE = 16  # outputs of one batch that are looked for side by side


async def claim(
    call: Call, body: wire_attempts.ClaimBody
) -> wire_attempts.GrantWire | wire_attempts.GrantsWire | Refusal:
    worker_id = worker_of(call, body.worker_id)
    if isinstance(worker_id, Refusal):
        return worker_id
    if (body.job_type is None) == (body.job_types is None):
        return Refusal(RefusalCode.INVALID, "Send job_type or job_types, one of them.", field="job_type")
    types = (body.job_type,) if body.job_type is not None else tuple(dict.fromkeys(body.job_types or ()))
    message = Claim(
        call.caller,
        worker_id,
        types,
        body.limit or 1,
        body.wait,
        body.claim_key,
        call.good_for(),
        body.instance,
        write_once=body.write_once and call.services.objects.write_once,
        accepts=encode.accepted(body.accepts),
        converter=encode.converter_text(body.converter),
    )
    if body.wait == 0:
        # The writer may be slow, and a client that has gone is to get no job.
        outcome = await call.ask_while_there(call.services.scheduler, message)
    else:
        with call.services.long_polls.room(call.services.site.address(call.request)) as room:
            if not room:
                return TOO_MANY_WAIT
            outcome = await call.ask_while_there(call.services.scheduler, message)
    if isinstance(outcome, Refusal):
        return outcome
    await check_there(call, (message, outcome))
    return await claim_answer(call, outcome, many=body.limit is not None)


async def complete(call: Call, body: wire_attempts.CompleteBody) -> dict[str, object] | Refusal:
    message = _completion(call, call.params["job_id"], body)
    if isinstance(message, Refusal):
        return message
    message = await _looked(call, message, body)
    if isinstance(message, Refusal):
        return message
    outcome = await call.ask(_for_one_that_is_there(call, message))
    if isinstance(outcome, Refusal):
        return outcome
    if outcome.next is not None:
        await check_there(call, (message, outcome.next))
    return await _completed(call, outcome)


def _completion(call: Call, job_id: int, body: wire_attempts.CompleteBody) -> Complete | Refusal:
    """The message; its output has not been looked for yet."""
    worker_id = worker_of(call, body.worker_id)
    if isinstance(worker_id, Refusal):
        return worker_id
    return Complete(
        call.caller,
        worker_id,
        job_id,
        body.lease,
        body.output_key or None,
        ObjectSeen(),
        body.checksum,
        encode.text_of(body.result),
        claim_next=body.claim_next,
        instance=body.instance,
        accepts=encode.accepted(body.accepts),
        converter=encode.converter_text(body.converter),
    )


def _for_one_that_is_there(call: Call, message: Complete) -> Complete:
    """A client that went while its output was looked for gets no next job: it may have come again for it already,
    and what this request is given would be given back over the head of that one."""
    return replace(message, claim_next=False) if message.claim_next and call.peer.has_gone() else message


async def _looked(call: Call, message: Complete, body: wire_attempts.CompleteBody) -> Complete | Refusal:
    if body.outputs is not None:
        if message.output_key is not None and body.outputs != "all":
            return Refusal(RefusalCode.INVALID, "Send outputs or output_key, not both.", field="outputs")
        return await outputs.gathered(call, message, body.outputs)
    if message.output_key is None:
        return message
    seen = await look(call.services.objects, message.output_key, expected_sha256=message.checksum)
    return replace(message, output=seen)


async def _completed(call: Call, outcome: Completed) -> dict[str, object]:
    answer: dict[str, object] = {"status": "completed"}
    if outcome.next is not None:
        answer["next"] = await claim_answer(call, outcome.next, many=False)
    return answer


async def fail(call: Call, body: wire_attempts.FailBody) -> wire_attempts.FailAnswer | Refusal:
    message = _failure(call, call.params["job_id"], body)
    if isinstance(message, Refusal):
        return message
    outcome = await call.ask(message)
    return outcome if isinstance(outcome, Refusal) else wire_attempts.FailAnswer(outcome.will_retry)


def _failure(call: Call, job_id: int, body: wire_attempts.FailBody) -> Fail | Refusal:
    worker_id = worker_of(call, body.worker_id)
    if isinstance(worker_id, Refusal):
        return worker_id
    return Fail(
        call.caller,
        worker_id,
        job_id,
        encode.clipped(body.error, LONGEST_ERROR),
        body.lease,
        encode.clipped(body.kind, 200) if body.kind is not None else None,
        encode.clipped_tail(body.traceback, LONGEST_TRACE),
        encode.clipped_tail(body.log_tail, LONGEST_TRACE),
        body.retryable,
        body.instance,
    )


async def release(call: Call, body: wire_attempts.ReleaseBody) -> wire_common.Status | Refusal:
    worker_id = worker_of(call, body.worker_id)
    if isinstance(worker_id, Refusal):
        return worker_id
    message = Release(
        call.caller,
        worker_id,
        call.params["job_id"],
        body.lease,
        body.reason,
        ReleaseCause(body.cause),
        body.instance,
    )
    outcome = await call.ask(message)
    return outcome if isinstance(outcome, Refusal) else wire_common.Status("released")


async def complete_many(call: Call, body: wire_attempts.CompleteMany) -> wire_common.Items | Refusal:
    messages = [_completion(call, item.job_id, item) for item in body.jobs]
    to_look = [
        (at, each)
        for at, each in enumerate(messages)
        if isinstance(each, Complete) and (each.output_key or body.jobs[at].outputs is not None)
    ]
    waiting = iter(to_look)

    async def look_for() -> None:
        for at, message in waiting:
            messages[at] = await _looked(call, message, body.jobs[at])

    async with trio.open_nursery() as nursery:
        for _ in to_look[:LOOKS_AT_ONCE]:
            nursery.start_soon(look_for)
    there = [_for_one_that_is_there(call, each) if isinstance(each, Complete) else each for each in messages]
    return await _in_one(call, [item.job_id for item in body.jobs], there)


async def fail_many(call: Call, body: wire_attempts.FailMany) -> wire_common.Items | Refusal:
    messages = [_failure(call, item.job_id, item) for item in body.jobs]
    return await _in_one(call, [item.job_id for item in body.jobs], messages)


async def _in_one(
    call: Call, job_ids: list[int], messages: list[Complete | Refusal] | list[Fail | Refusal]
) -> wire_common.Items | Refusal:
    """Send all that can be sent as one message; answer item by item."""
    good: list[Item] = [message for message in messages if not isinstance(message, Refusal)]
    done = await call.ask(Batch(tuple(good)))
    if isinstance(done, Refusal):
        return done
    claims: list[tuple[Claim | Complete, Granted]] = [
        (item, outcome.next)
        for item, outcome in zip(good, done.items, strict=True)
        if isinstance(item, Complete) and isinstance(outcome, Completed) and outcome.next is not None
    ]
    await check_there(call, *claims)
    outcomes = iter(done.items)
    items: list[dict[str, object]] = []
    for job_id, message in zip(job_ids, messages, strict=True):
        outcome = message if isinstance(message, Refusal) else next(outcomes)
        items.append({"job_id": job_id} | await _item(call, outcome))
    return wire_common.Items(items)


async def _item(call: Call, outcome: object) -> dict[str, object]:
    match outcome:
        case Refusal():
            return item_problem(outcome)
        case Completed():
            return await _completed(call, outcome)
        case AttemptFailed():
            return {"status": "failed", "will_retry": outcome.will_retry}
        case _:
            raise TypeError(f"no item of this batch is answered by {outcome!r}")


TOO_MANY_WAIT = Refusal(
    RefusalCode.SLOW_DOWN,
    "Too many claims wait already, in total or from your address (BLOBFORGE_MAX_LONG_POLLS). Claim again later.",
    retry_after=5,
)

ROUTES = [
    Route("POST", "/api/jobs/claim", Access.WORK, claim,
          "Claim the next jobs; with `wait`, held open until there is one",
          body=wire_attempts.ClaimBody, gives=(wire_attempts.GrantWire, wire_attempts.GrantsWire), hot=True),
    Route("POST", "/api/jobs/<id:job_id>/complete", Access.WORK, complete,
          "Report success; the output must be in the store",
          body=wire_attempts.CompleteBody, gives=wire_attempts.CompleteAnswer, hot=True, large=True),
    Route("POST", "/api/jobs/<id:job_id>/fail", Access.WORK, fail,
          "Report failure; the job is tried again after its back-off, or is dead",
          body=wire_attempts.FailBody, gives=wire_attempts.FailAnswer, hot=True, large=True),
    Route("POST", "/api/jobs/<id:job_id>/release", Access.WORK, release,
          "Give a job back: free and at once at a shutdown, with a back-off for trouble",
          body=wire_attempts.ReleaseBody, gives=wire_common.Status, hot=True),
    Route("POST", "/api/jobs/complete", Access.WORK, complete_many, "Complete many, answered item by item",
          body=wire_attempts.CompleteMany, gives=wire_common.Items, hot=True, large=True),
    Route("POST", "/api/jobs/fail", Access.WORK, fail_many, "Fail many, answered item by item",
          body=wire_attempts.FailMany, gives=wire_common.Items, hot=True, large=True),
]  # fmt: skip
