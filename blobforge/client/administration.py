"""The endpoints of administration: canaries, workers, their credentials, the backup, tokens, housekeeping, people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blobforge.client.connection import IN_BULK, flag_text, path_part, without_none
from blobforge.client.types import (
    AuditPage,
    BackupReport,
    BulkDone,
    Canary,
    CanaryJobPage,
    CanaryPage,
    CanaryReport,
    DrillsPage,
    NewToken,
    OperationBegun,
    OrphanSearch,
    StatusAnswer,
    SupersededAnswer,
    TokenInfo,
    TypeInfo,
    TypesPage,
    UserInfo,
    WorkerAttempts,
    WorkerInfo,
    WorkerSecret,
)
from blobforge.client.webhooks import WebhookEndpoints


class AdminEndpoints(WebhookEndpoints):
    """What administrators ask for; workers may be listed with the scope `read`, too."""

    # Canaries

    async def begin_canary(
        self,
        *,
        types: Sequence[str],
        made_by: str,
        against: str | None = None,
        sample: int | None = None,
        slower: float | None = None,
        priority: int | None = None,
        need_worker: bool = False,
    ) -> Canary:
        """Have documents converted once more by workers of the converter `made_by`, to compare the results.

        ApiError `nothing-to-compare` (409): no job of these types was converted; `no-worker-of-version` (409): with
        `need_worker`, where no such worker is online.
        """
        body = without_none(
            types=list(types),
            made_by=made_by,
            against=against,
            sample=sample,
            slower=slower,
            priority=priority,
            need_worker=need_worker or None,
        )
        return await self._post("/api/canaries", Canary, body, once_only=True)

    async def list_canaries(self, *, limit: int | None = None, cursor: int | None = None) -> CanaryPage:
        """One page of the canaries, newest first."""
        return await self._call("GET", "/api/canaries", CanaryPage, params=without_none(limit=limit, cursor=cursor))

    async def get_canary(self, canary_id: int) -> Canary:
        """How far a canary is."""
        return await self._call("GET", f"/api/canaries/{canary_id}", Canary)

    async def canary_report(self, canary_id: int, *, worst: int | None = None) -> CanaryReport:
        """What a canary has come to, with so many of the worst comparisons."""
        params = without_none(worst=worst)
        return await self._call("GET", f"/api/canaries/{canary_id}/report", CanaryReport, params=params)

    async def canary_jobs(
        self, canary_id: int, *, outcome: str | None = None, limit: int | None = None, cursor: int | None = None
    ) -> CanaryJobPage:
        """One page of the comparisons of a canary, or of those of one outcome."""
        params = without_none(outcome=outcome, limit=limit, cursor=cursor)
        return await self._call("GET", f"/api/canaries/{canary_id}/jobs", CanaryJobPage, params=params)

    async def cancel_canary(self, canary_id: int) -> Canary:
        """Stop a canary; what it has come to stays."""
        return await self._post(f"/api/canaries/{canary_id}/cancel", Canary, {}, once_only=True)

    # Workers

    async def list_workers(
        self,
        *,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        enabled: bool | None = None,
    ) -> list[WorkerInfo]:
        """All workers that the server knows, or those that match; `q` is a part of the id or the name."""
        filters = {"status": status, "type": type, "q": q, "enabled": flag_text(enabled)}
        return await self._every_page("/api/workers", WorkerInfo, **filters)

    async def get_worker(self, worker_id: str) -> WorkerInfo:
        """One worker."""
        return await self._call("GET", f"/api/workers/{path_part(worker_id)}", WorkerInfo)

    async def worker_attempts(
        self, worker_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> WorkerAttempts:
        """A page of a worker's attempts, whatever became of them, the newest first."""
        params = without_none(limit=limit, cursor=cursor)
        return await self._call("GET", f"/api/workers/{path_part(worker_id)}/attempts", WorkerAttempts, params=params)

    async def drain_worker(self, worker_id: str) -> StatusAnswer:
        """Let a worker end what it has and give it nothing new."""
        return await self._post(f"/api/workers/{path_part(worker_id)}/drain", StatusAnswer)

    async def quarantine_worker(self, worker_id: str, reason: str | None = None) -> StatusAnswer:
        """Give a worker no jobs, and no trials either, until it is readmitted; what it runs, it may end."""
        body = without_none(reason=reason)
        return await self._post(f"/api/workers/{path_part(worker_id)}/quarantine", StatusAnswer, body)

    async def readmit_worker(self, worker_id: str) -> StatusAnswer:
        """End a worker's quarantine; what it has failed so far does not count any more."""
        return await self._post(f"/api/workers/{path_part(worker_id)}/readmit", StatusAnswer)

    async def remove_worker(self, worker_id: str) -> StatusAnswer:
        """Forget a worker; its running jobs go back at once."""
        return await self._call("DELETE", f"/api/workers/{path_part(worker_id)}", StatusAnswer)

    async def remove_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        dry_run: bool = False,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> BulkDone:
        """Forget many workers, by their ids or a filter; by a filter, the offline ones unless `status` is named."""
        body = without_none(
            ids=list(ids) if ids else None,
            dry_run=dry_run or None,
            status=status,
            type=type,
            q=q,
            silent_since=silent_since,
        )
        return await self._post("/api/workers/remove", BulkDone, body, once_only=not dry_run, answer_timeout=IN_BULK)

    async def drain_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        drain: bool = True,
        dry_run: bool = False,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> BulkDone:
        """Let many workers end what they have and give them nothing new, by their ids or a filter; with `drain` false
        that is over."""
        body = without_none(
            ids=list(ids) if ids else None,
            drain=drain,
            dry_run=dry_run or None,
            status=status,
            type=type,
            q=q,
            silent_since=silent_since,
        )
        return await self._post("/api/workers/drain", BulkDone, body, once_only=not dry_run, answer_timeout=IN_BULK)

    async def begin_removing_workers(
        self,
        *,
        ids: Sequence[str] | None = None,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
        silent_since: str | None = None,
    ) -> int:
        """Have the server forget many workers by itself, as an operation; returns its number."""
        body = without_none(
            ids=list(ids) if ids else None,
            status=status,
            type=type,
            q=q,
            silent_since=silent_since,
            background=True,
        )
        return (await self._post("/api/workers/remove", OperationBegun, body, once_only=True)).operation

    async def create_worker(self, worker_id: str, type: str, name: str | None = None) -> WorkerSecret:
        """Make a worker credential; its secret is in this answer and nowhere else."""
        body = without_none(id=worker_id, type=type, name=name)
        return await self._post("/api/admin/workers", WorkerSecret, body, once_only=True)

    async def rotate_worker(self, worker_id: str) -> WorkerSecret:
        """Give a worker a new secret; the old one is void."""
        path = f"/api/admin/workers/{path_part(worker_id)}/regenerate"
        return await self._post(path, WorkerSecret, {}, once_only=True)

    async def enable_worker(self, worker_id: str, enabled: bool) -> StatusAnswer:
        """Enable or disable a worker's credential."""
        action = "enable" if enabled else "disable"
        return await self._post(f"/api/admin/workers/{path_part(worker_id)}/{action}", StatusAnswer)

    # Types

    async def list_types(self, *, limit: int | None = None, cursor: str | None = None) -> TypesPage:
        """A page of the types of jobs, by name, with what is set for each."""
        return await self._call("GET", "/api/types", TypesPage, params=without_none(limit=limit, cursor=cursor))

    async def get_type(self, type: str) -> TypeInfo:
        """One type, with what is set for it."""
        return await self._call("GET", f"/api/types/{path_part(type)}", TypeInfo)

    async def change_type(
        self,
        type: str,
        *,
        max_attempts: int | None = None,
        retry_backoff: float | None = None,
        max_running: int | None = None,
        rate: tuple[int, float] | None = None,
        worker_timeout: float | None = None,
        weights: Mapping[str, int] | None = None,
        breaker: int | None = None,
        urgent_after: float | None = None,
        own_fault: bool | None = None,
        quarantine: bool | None = None,
        then: Sequence[Mapping[str, Any]] | None = None,
        unset: Sequence[str] = (),
    ) -> TypeInfo:
        """Set something for a type; what is named in `unset` is as the server's settings say again. `rate`: so many
        jobs may be started in so many seconds; `worker_timeout`: how many a lease lasts that no heartbeat renews;
        `weights`: how much of the turns these groups get, where others have 1 ("": jobs without a group); `breaker`:
        so many failures in a row pause the type (0: none do); `own_fault`: a document that two sound workers have
        failed the same way is dead at once; `quarantine`: whether machines are for what they fail of the type;
        `urgent_after`: a job that has been ready for so many seconds is urgent; `then`: the steps that follow its
        jobs (`submit_job`), where a submission says nothing of it."""
        given = {"count": rate[0], "seconds": rate[1]} if rate is not None else None
        body = without_none(
            max_attempts=max_attempts,
            retry_backoff=retry_backoff,
            max_running=max_running,
            rate=given,
            worker_timeout=worker_timeout,
            weights=weights,
            breaker=breaker,
            urgent_after=urgent_after,
            own_fault=own_fault,
            quarantine=quarantine,
            then=[dict(step) for step in then] if then is not None else None,
        ) | dict.fromkeys(unset)
        return await self._call("PATCH", f"/api/types/{path_part(type)}", TypeInfo, body=body)

    async def pause_type(self, type: str, reason: str | None = None) -> StatusAnswer:
        """Have no job of the type given out; what runs goes on."""
        body = without_none(reason=reason)
        return await self._post(f"/api/types/{path_part(type)}/pause", StatusAnswer, body)

    async def resume_type(self, type: str) -> StatusAnswer:
        """Have the jobs of a paused type given out again."""
        return await self._post(f"/api/types/{path_part(type)}/resume", StatusAnswer)

    # The backup

    async def backup(self) -> BackupReport:
        """How the backup is, with the last drills."""
        return await self._call("GET", "/api/admin/backup", BackupReport)

    async def begin_drill(self) -> StatusAnswer:
        """Have the server restore its backup to the side and compare it; `backup` tells when it is over."""
        return await self._post("/api/admin/backup/drill", StatusAnswer, {}, once_only=True)

    async def drills(
        self, *, limit: int | None = None, cursor: int | None = None, ok: bool | None = None
    ) -> DrillsPage:
        """A page of the drills on record, newest first, at most 100."""
        params = without_none(limit=limit, cursor=cursor, ok=flag_text(ok))
        return await self._call("GET", "/api/admin/backup/drills", DrillsPage, params=params)

    # Tokens

    async def list_tokens(
        self, *, q: str | None = None, scope: str | None = None, expired: bool | None = None
    ) -> list[TokenInfo]:
        """All API tokens, or those that match, without their secrets; `q` is a part of the name."""
        return await self._every_page("/api/admin/tokens", TokenInfo, q=q, scope=scope, expired=flag_text(expired))

    async def create_token(
        self, name: str, *, scopes: Sequence[str] = (), expires_in_days: int | None = None
    ) -> NewToken:
        """Make an API token; without scopes it may `read` and `submit`."""
        body = without_none(name=name, scopes=list(scopes) or None, expires_in=expires_in_days)
        return await self._post("/api/admin/tokens", NewToken, body, once_only=True)

    async def delete_token(self, token_id: str) -> StatusAnswer:
        """Delete an API token; it is void at once."""
        return await self._call("DELETE", f"/api/admin/tokens/{path_part(token_id)}", StatusAnswer)

    # Housekeeping

    async def find_orphans(self, *, delete: bool = False) -> StatusAnswer:
        """Begin to look for objects that no job needs; with `delete`, they are deleted. See `orphan_search`."""
        return await self._post("/api/admin/orphans", StatusAnswer, {"dry_run": not delete})

    async def orphan_search(self, *, limit: int | None = None, cursor: int | None = None) -> OrphanSearch:
        """How that search goes, or what the last one found, with a page of the names."""
        params = without_none(limit=limit, cursor=cursor)
        return await self._call("GET", "/api/admin/orphans", OrphanSearch, params=params)

    async def superseded(self, *, older_than: float | None = None, keep: int | None = None) -> SupersededAnswer:
        """How many results others have replaced, and how many would go by this rule (seconds; of each job); without
        one, by the server's settings. Nothing is deleted."""
        params = without_none(older_than=older_than, keep=keep)
        return await self._call("GET", "/api/admin/superseded", SupersededAnswer, params=params)

    # People

    async def list_users(self, *, q: str | None = None, admin: bool | None = None) -> list[UserInfo]:
        """The users that have signed in through the identity provider, or those that match."""
        return await self._every_page("/api/admin/users", UserInfo, q=q, admin=flag_text(admin))

    async def audit(
        self,
        *,
        limit: int | None = None,
        cursor: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AuditPage:
        """One page of the audit log, newest first, at most 1,000 entries; times are RFC 3339."""
        params = without_none(
            limit=limit, cursor=cursor, actor=actor, action=action, subject=subject, since=since, until=until
        )
        return await self._call("GET", "/api/admin/audit", AuditPage, params=params)
