"""The running parts' own counts as metrics, read at each request for them. The parts keep their own counts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector

from actors.broadcaster import Broadcaster
from actors.courier import Courier
from actors.intake import Intake
from actors.janitor import Janitor
from actors.mailbox import Mailbox
from actors.operator import Operator
from actors.reaper import Reaper
from actors.scheduler import Scheduler
from actors.writer import Writer
from blobforge.machinery.release import version
from blobforge.machinery.tally import Spread
from blobforge.objects import ObjectStore
from web.metrics.counting import Counting
from web.metrics.families import counter, gauge, histogram
from web.metrics.servers import turns

CLAIMS = ("granted", "empty", "refused")


class Backup(Protocol):
    """The replicator's own numbers; None is "not known yet"."""

    @property
    def mailbox(self) -> Mailbox[Any]: ...
    @property
    def lag_seconds(self) -> float | None: ...
    @property
    def proven_until_ms(self) -> int | None: ...
    @property
    def last_drill_ok(self) -> bool | None: ...
    @property
    def restarts(self) -> int: ...
    @property
    def running(self) -> bool: ...


@dataclass
class PartsMetrics:
    """The parts. `backup` gives None where nothing is replicated: then there are no metrics of it."""

    writer: Writer
    scheduler: Scheduler
    reaper: Reaper
    intake: Intake
    janitor: Janitor
    operator: Operator
    courier: Courier
    broadcaster: Broadcaster
    mailboxes: Mapping[str, Mailbox[Any]]
    objects: ObjectStore
    backup: Callable[[], Backup | None]
    turn_seconds: Spread | None = None

    def families(self, counting: Counting) -> Iterable[Metric]:
        yield gauge(
            "blobforge_build_info",
            "Always 1; what runs here",
            {(version(), platform.python_version(), self.objects.name): 1},
            ("version", "python", "objects"),
        )
        yield from ProcessCollector(registry=None).collect()
        yield histogram(
            "blobforge_event_loop_lag_seconds", "How late the event loop woke a task", [((), counting.lag.seconds)]
        )
        yield from self._writes()
        yield from self._actors()
        yield counter("blobforge_events", "Events sent to subscribers", self.broadcaster.events)
        yield from self._backup()
        if counting.tracer is not None:
            sending = counting.tracer.sending
            yield counter(
                "blobforge_trace_spans",
                "Spans handed to the collector, or lost because it did not take them",
                {("sent",): sending.sent, ("lost",): sending.lost},
                ("result",),
            )

    def _writes(self) -> Iterable[Metric]:
        writer = self.writer
        yield counter("blobforge_writer_messages", "Messages committed", writer.committed_messages)
        yield counter(
            "blobforge_writer_failed_commits", "Transactions that could not be committed", writer.failed_commits
        )
        yield gauge(
            "blobforge_writer_failing",
            "1 while the last write could not be committed (disk full, I/O error)",
            float(writer.failing),
        )
        yield histogram(
            "blobforge_writer_batch_messages",
            "Messages in one transaction; its count is the number of commits",
            [((), writer.batch_sizes)],
        )
        yield histogram(
            "blobforge_writer_transaction_seconds",
            "One transaction with its hop into a thread and back: what a message waits once it is taken",
            [((), writer.transaction_seconds)],
        )
        yield histogram(
            "blobforge_writer_commit_seconds",
            "The COMMIT statement alone. With synchronous=FULL it waits for the disk: write and fsync of the WAL, "
            "now and then a checkpoint. A transaction that changed nothing does not wait, and counts as well",
            [((), writer.commit_seconds)],
        )

        if self.turn_seconds is not None:
            yield turns(self.turn_seconds)

    def _actors(self) -> Iterable[Metric]:
        backup = self.backup()
        mailboxes = dict(self.mailboxes) | ({"replicator": backup.mailbox} if backup is not None else {})
        yield gauge(
            "blobforge_mailbox_messages",
            "Messages that wait for an actor",
            {(name,): len(mailbox) for name, mailbox in mailboxes.items()},
            ("actor",),
        )
        yield gauge(
            "blobforge_mailbox_capacity",
            "How many may wait before senders do",
            {(name,): mailbox.capacity for name, mailbox in mailboxes.items()},
            ("actor",),
        )
        yield counter(
            "blobforge_claims",
            "Claims answered: with jobs, with none, or refused. What `claim_next` gave is not among them",
            {(name,): self.scheduler.answered[name] for name in CLAIMS},
            ("result",),
        )
        yield gauge("blobforge_long_polls", "Claims that wait for a job", self.scheduler.waiting)
        yield counter("blobforge_lease_expirations", "Leases that expired in silence", self.reaper.expired_leases)
        yield gauge("blobforge_sources_awaited", "Sources that jobs wait for", self.intake.awaited)
        yield counter("blobforge_sources_rejected", "Sources removed for their wrong bytes", self.intake.rejected)
        yield counter(
            "blobforge_jobs_pruned", "Jobs removed because they had been kept long enough", self.janitor.pruned
        )
        yield gauge(
            "blobforge_operations_running", "Operations carried out by this server now", len(self.operator.running)
        )
        yield counter("blobforge_operation_jobs", "Jobs that operations have treated", self.operator.treated)
        courier = self.courier
        yield counter(
            "blobforge_webhook_deliveries",
            "Tries to deliver to webhooks",
            {("delivered",): courier.delivered, ("failed",): courier.failed},
            ("result",),
        )
        yield gauge("blobforge_webhook_deliveries_running", "Deliveries under way", courier.in_hand)
        yield histogram("blobforge_webhook_delivery_seconds", "One try", [((), courier.seconds)])
        yield gauge(
            "blobforge_outputs_unchecked",
            "Outputs accepted while the object store was silent, and not seen yet",
            self.intake.unchecked,
        )

    def _backup(self) -> Iterable[Metric]:
        backup = self.backup()
        if backup is None:
            return
        yield gauge("blobforge_backup_running", "1 while Litestream runs", float(backup.running))
        yield counter("blobforge_backup_restarts", "Times that Litestream was started again", backup.restarts)
        if backup.lag_seconds is not None:
            yield gauge(
                "blobforge_backup_lag_seconds",
                "How much of the newest work a restore would lose now",
                backup.lag_seconds,
            )
        if backup.last_drill_ok is not None:
            yield gauge("blobforge_backup_drill_ok", "1 if the last drill passed", float(backup.last_drill_ok))
        if backup.proven_until_ms is not None:
            yield gauge(
                "blobforge_backup_proven_until_timestamp_seconds",
                "Up to when a drill has shown that the database can be restored",
                backup.proven_until_ms / 1000,
            )
