"""Which jobs, tokens, users, or entries of the audit log are meant: by a list, a bulk action, a page or a client."""

from __future__ import annotations

import msgspec

from blobforge import converters
from blobforge.canary import is_comparison
from blobforge.job import Job, JobStatus
from blobforge.people import AuditEntry
from blobforge.requirements import about
from blobforge.texts import is_said


class JobFilter(msgspec.Struct, frozen=True):
    """None means any. `q` is a text by which a job is found (`texts.py`).

    `failure` is the number of a cause; `made_by` takes results by what made them (`converters.wanted`); `compared`,
    whether a former result is kept to be compared; `requiring` takes jobs that require this of their workers,
    or nothing (`requirements.about`), `group` those of a group. Times are ms since the epoch: from `since` on, up to
    and without `until`.
    """

    status: JobStatus | None = None
    type: str | None = None
    tag: str | None = None
    worker: str | None = None
    q: str | None = None
    priority: int | None = None
    failure: int | None = None
    created_since: int | None = None
    created_until: int | None = None
    updated_since: int | None = None
    updated_until: int | None = None
    made_by: str | None = None
    compared: bool | None = None
    requiring: str | None = None
    group: str | None = None
    batch: int | None = None

    @property
    def counted(self) -> bool:
        """Whether the kept counters alone can say how many jobs match."""
        return self == JobFilter(self.status, self.type, priority=self.priority, made_by=self.made_by)

    def matches(self, job: Job, *, named: bool = False) -> bool:
        """`named`: the text is in one of the further paths of the job's source. None takes a comparison."""
        return (
            not is_comparison(job.type)
            and (self.status is None or job.status is self.status)
            and (self.type is None or job.type == self.type)
            and (self.tag is None or self.tag in job.tags)
            and (self.worker is None or job.worker_id == self.worker)
            and (self.q is None or named or is_said(self.q, job))
            and (self.priority is None or job.priority == self.priority)
            and (self.failure is None or job.failure == self.failure)
            and _within(job.created_at, self.created_since, self.created_until)
            and _within(job.updated_at, self.updated_since, self.updated_until)
            and (self.made_by is None or _made(job, converters.wanted(self.made_by)))
            and (self.compared is None or self.compared is (job.compare_until is not None))
            and (self.requiring is None or about(job.requires, self.requiring))
            and (self.group is None or job.of_group == self.group)
            and (self.batch is None or self.batch in job.batches)
        )


class TokenFilter(msgspec.Struct, frozen=True):
    """None means any. `q` is a part of the name; by `now` (ms since the epoch) some have expired."""

    now: int
    q: str | None = None
    scope: str | None = None
    expired: bool | None = None


class UserFilter(msgspec.Struct, frozen=True):
    """None means any. `q` is a part of the name, the address or the subject."""

    q: str | None = None
    admin: bool | None = None


class AuditFilter(msgspec.Struct, frozen=True):
    """`action` may end in `*`; times are ms since the epoch, from `since` on, without `until`."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: int | None = None
    until: int | None = None

    def matches(self, entry: AuditEntry) -> bool:
        return (
            (self.actor is None or self.actor in (entry.actor, entry.name))
            and (self.action is None or _like(entry.action, self.action))
            and (self.subject is None or entry.subject == self.subject)
            and _within(entry.at, self.since, self.until)
        )


def _made(job: Job, wanted: converters.Wanted) -> bool:
    if wanted.unknown:
        return job.made_by is None and job.status is JobStatus.COMPLETED
    return job.made_by is not None and wanted.takes(job.made_by)


def _within(at: int, since: int | None, until: int | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)


def _like(action: str, wanted: str) -> bool:
    return action.startswith(wanted[:-1]) if wanted.endswith("*") else action == wanted
