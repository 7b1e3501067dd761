"""What is sent to both, and how the answer of the one is read for the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import astuple

from actors import messages as m
from actors.mailbox import Callback, Envelope
from blobforge.access import Caller
from blobforge.refusals import Refusal
from tests.model.world.things import No


class Asked(NamedTuple):
    """A message, and what the model says to it. It is told the answer, for the ids and leases that are in it."""

    message: Any
    expect: Callable[[Any], Any]


class Letter(NamedTuple):
    """Something asked, with what may go with it. `gone`: whoever asked does not wait any more."""

    asked: Asked
    repeat: m.Repeatable | None = None
    audit: m.Audit | None = None
    gone: bool = False

    @property
    def caller(self) -> Caller | None:
        return getattr(self.asked.message, "caller", None)

    def envelope(self) -> Envelope[Any]:
        reply: Callback[Any] = Callback(lambda _: None, lambda: self.gone)
        return Envelope(self.asked.message, reply, self.repeat, self.audit, caller=self.caller)


def fresh(answer: Any) -> list[tuple[int, str]]:
    """Attempts and leases that an answer gives away."""
    return [(job.attempt, job.lease) for job in answer.jobs] if isinstance(answer, m.Granted) else []


def plain(answer: Any) -> Any:
    """An answer as the model gives it."""
    match answer:
        case Refusal():
            return No(str(answer.code))
        case m.Submitted():
            return (
                "Submitted",
                answer.job_id,
                answer.existing,
                answer.status,
                answer.upload,
                answer.left_out,
                answer.requires,
                answer.ignored,
                answer.batches,
            )
        case m.BatchStands():
            return ("BatchStands", answer.batch.id, answer.batch.closed_at)
        case m.Granted():
            return (
                "Granted",
                tuple((job.id, job.attempt, job.lease) for job in answer.jobs),
                answer.idle,
                tuple(map(tuple, answer.withheld_lines)),
                tuple((each.type, each.room) for each in answer.rooms),
                tuple(sorted((type_, each.lease, each.beat) for type_, each in answer.patience.items())),
            )
        case m.HeartbeatSeen():
            own = (answer.patience.lease, answer.patience.beat) if answer.patience is not None else None
            return ("HeartbeatSeen", answer.drain, answer.abandon, answer.late, answer.renewed, own)
        case m.Completed():
            return ("Completed", answer.job_id, plain(answer.next) if answer.next is not None else None)
        case m.WorkerChanged():
            return ("WorkerChanged", answer.worker_id, answer.status, answer.returned)
        case m.JobChanged():
            assert (answer.children, answer.operation) == (0, None), "it was asked for this job alone"
            return ("JobChanged", answer.job_id, answer.status, answer.undo)
        case m.TypeChanged():
            *set_, _, _ = astuple(answer.settings)  # the last two: for canaries, and the steps as text
            return ("TypeChanged", answer.type, (*set_, answer.settings.then or None))
        case m.BatchDone():
            return ("BatchDone", tuple(plain(each) for each in answer.items))
        case m.ToDelete():
            return ("ToDelete", set(answer.keys))
        case m.SearchStands():
            return ("SearchStands", astuple(answer.search) if answer.search is not None else None)
        case m.WebhookStands():
            return ("WebhookStands", answer.webhook.id, answer.webhook.is_enabled)
        case m.DeliveriesTaken():
            return ("DeliveriesTaken", tuple(each.id for each in answer.deliveries))
        case m.Sampled() | m.PagesFreed() | m.TextsIndexed():  # as the clock, the file and the index have it
            return (type(answer).__name__,)
        case m.Success():
            return (type(answer).__name__, *(getattr(answer, name) for name in answer.__struct_fields__))
        case _:
            return answer
