"""Safety of what clients are told: an answer must agree with what is committed at the moment that it is given.

Acknowledged means committed: the oracle's look at the database is as old as the last commit, and an answer comes
behind the commit that it speaks of. Owns nothing; answers that got lost on their way back are judged like the others.
"""

from __future__ import annotations

import math
from typing import Any

import trio

from blobforge.canary import ONLY_COMPARISONS, is_comparison
from blobforge.objects.keys import output_of
from tests.simulation.asgi import Answer
from tests.simulation.history import Ask, History
from tests.simulation.oracle import SLACK, Oracle

EXPECTED = {200, 201, 204, 404, 409, 403, 429, 503}
LOOK = 5.5  # seconds that an object store may hold up what looks into it: its deadline is five
LOOKS = ("complete", "submit")  # what looks into it first
WRITES = ("claim", "beat", "complete", "fail", "release", "register")  # what a worker has written
HEARD_WITHIN = 3.0  # seconds, of what another server has written
NEXT = {"complete": "completed", "fail": "failed", "release": "released"}


class Answers:
    def __init__(self, history: History, oracle: Oracle, *, beside_others: bool = False) -> None:
        """`beside_others`: of several servers, of which each hears of the others' commits within a second or two."""
        self._heard_within = HEARD_WITHIN if beside_others else 0.0
        self._history = history
        self._oracle = oracle

    def _broken(self, promise: str, how: str) -> None:
        self._history.broken(promise, how)

    def judge(self, ask: Ask, answer: Answer, *, calm: bool) -> None:
        """`calm`: nothing made the server's own blocking calls wait since the request was sent."""
        if self._revoked(ask, answer, calm=calm):
            return
        late = answer.status == 422 and answer.body.get("field") == "expires_at" and "expires_at" in ask.body
        if answer.status not in EXPECTED and not late:
            self._broken(
                "every request gets an answer in kind", f"{ask.verb} {ask.body}: {answer.status} {answer.body}"
            )
            return
        self._in_time(ask, answer, calm)
        match ask.verb:
            case "submit":
                self._submitted(ask, answer)
            case "claim":
                if answer.ok:
                    many = "jobs" in answer.body
                    self._granted(ask, answer.body["jobs"] if many else [answer.body])
            case "complete" | "fail" | "release":
                self._verb(ask, answer)
            case "beat":
                self._beat(ask, answer)
            case _:
                pass

    def _revoked(self, ask: Ask, answer: Answer, *, calm: bool) -> bool:
        """Whether the request was refused for its token. From the answer to its deletion on nothing is given by a
        token, and nothing waits by it; one that nobody has deleted is good."""
        at = self._history.revoked.get(ask.token, math.inf) if ask.token is not None else math.inf
        since = trio.current_time() - max(at, ask.sent_at)
        late = since > SLACK or ask.sent_at > at
        if answer.status == 401:
            if ask.token not in self._history.revoking:
                self._broken("a credential is good until it is revoked", f"{ask.verb} by token {ask.token}")
            elif since > (_look(ask) if ask.verb in LOOKS else SLACK) + self._heard_within and calm:
                self._broken("what waits by a credential ends when it is revoked", f"{ask.verb}, deleted at {at:.3f}")
            return True
        # A claim that ends without a job gives nothing, where that is not known yet, or its server stood still.
        empty = ask.verb == "claim" and answer.ok and answer.body.get("job") is None and not answer.body.get("jobs")
        if late and answer.ok and not (empty and (since <= self._heard_within or (self._heard_within and not calm))):
            self._broken("a revoked credential gets nothing", f"{ask.verb} {ask.body}, deleted at {at:.3f}")
        # Whatever each server knows: what is written is decided in the order of commits.
        gone_at, _ = self._oracle.token_gone.get(ask.token, (math.inf, 0)) if ask.token is not None else (math.inf, 0)
        if answer.ok and ask.verb in WRITES and not empty and ask.sent_at > gone_at:
            self._broken("a revoked credential gets nothing", f"{ask.verb} {ask.body}, gone at {gone_at:.3f}")
        return False

    def _in_time(self, ask: Ask, answer: Answer, calm: bool) -> None:
        if not calm or answer.status == 503:
            return
        # Where something was revoked meanwhile, an answer waits until the other servers have heard of it.
        took = trio.current_time() - ask.sent_at - self._heard_within
        if ask.verb in ("beat", "fail", "release", "register") and took > SLACK:
            self._broken("the object store is never on the path of a write", f"{ask.verb} took {took:.3f} s")
        if ask.verb in LOOKS and took > _look(ask):
            self._broken("the object store is never on the path of a write", f"{ask.verb} took {took:.3f} s")
        if ask.verb == "claim" and took > ask.body.get("wait", 0) + SLACK:
            self._broken("a long poll is answered in time", f"{took:.3f} s of {ask.body.get('wait', 0)}")

    def _submitted(self, ask: Ask, answer: Answer) -> None:
        if not answer.ok:
            return
        body, sent = answer.body, ask.body
        job = self._oracle.now.jobs.get(body["job_id"])
        where = sent["type"], sent["source_hash"]
        if job is None:
            if body["job_id"] not in self._history.deleted:
                self._broken("acknowledged means committed", f"job {body['job_id']} is not there")
            return
        retyped = self._history.asked("retype", job.id)
        if (job.type, job.source) != where and not retyped:
            self._broken("a job is lost never", f"job {job.id} is {job.type} {job.source[:6]}, not {where}")
        known = self._history.jobs.setdefault(where, job.id)
        retyped = retyped or self._history.asked("retype", known)
        if known != job.id and known not in self._history.deleted and not retyped:
            self._broken("one job for a type and a source", f"jobs {known} and {job.id}")
        self._history.jobs[where] = job.id

    def _granted(self, ask: Ask, grants: list[dict[str, Any]]) -> None:
        if all(grant.get("job") is None for grant in grants):
            self._nothing(ask)
        for grant in grants:
            if grant.get("job") is None:
                continue
            output = output_of(grant["output_key"])
            place = output.job_id, output.attempt
            attempt = self._oracle.now.attempts.get(place)
            name = f"{place[0]}/{place[1]}"
            if attempt is None or (attempt.worker, attempt.lease) != (ask.body["worker_id"], grant["lease"]):
                if place[0] not in self._history.deleted:
                    self._broken("acknowledged means committed", f"{name} was given to {ask.body['worker_id']}")
                continue
            job = self._oracle.now.jobs.get(place[0])
            if job is not None and ONLY_COMPARISONS in ask.body.get("accepts", ()) and not is_comparison(job.type):
                self._broken("a worker that takes comparisons alone is given nothing else", f"{name}, of {job.type}")
            if self._history.leases.setdefault(grant["lease"], place) != place:
                self._broken("a lease belongs to one attempt", f"{name} has another one's")
            holders = self._history.delivered[place]
            holders.add(ask.identity)
            self._history.given_at.setdefault((ask.identity, place), trio.current_time())
            if (
                ask.token in self._oracle.token_gone
                and self._oracle.begun_by[place] >= self._oracle.token_gone[ask.token][1]
            ):
                self._broken("a revoked credential gets nothing", f"{name}, in or after the commit that revoked it")
            if len(holders) > 1:
                self._broken("a lease belongs to one attempt", f"{name} was given to {sorted(holders)}")
            self._once(ask, place)

    def _nothing(self, ask: Ask) -> None:
        """Who asked again, after he had been answered, is not told that there is nothing while he holds it."""
        for (identity, place), at in self._history.given_at.items():
            attempt = self._oracle.now.attempts.get(place)
            runs = attempt is not None and attempt.outcome is None
            if identity == ask.identity and runs and at < ask.sent_at and ask.verb == "claim":
                self._broken("a repeated claim gets what it was given", f"{identity}: nothing, and it holds {place}")

    def _once(self, ask: Ask, place: tuple[int, int]) -> None:
        """A claim that is repeated gets the same jobs, not more of them, while it holds any."""
        for other, holders in self._history.delivered.items():
            if other == place or ask.identity not in holders:
                continue
            attempt = self._oracle.now.attempts.get(other)
            together = ask.body.get("limit", 1) > 1
            if attempt is not None and attempt.outcome is None and not together:
                self._broken("a repeated claim gets what it was given", f"{ask.identity}: {other} and {place}")

    def _verb(self, ask: Ask, answer: Answer) -> None:
        place = self._history.leases.get(ask.body["lease"])
        if place is None or place[0] in self._history.deleted:
            return
        attempt = self._oracle.now.attempts.get(place)
        job = self._oracle.now.jobs.get(place[0])
        name = f"{ask.verb} of {place[0]}/{place[1]}"
        if attempt is None or job is None:
            self._broken("every attempt keeps its own record", f"{name}: there is none")
            return
        if answer.ok:
            if attempt.outcome != NEXT[ask.verb] and (ask.verb, attempt.outcome) != ("complete", "revoked"):
                self._broken("acknowledged means committed", f"{name} was accepted; the attempt is {attempt.outcome}")
            if "next" in answer.body:
                self._granted(ask, [answer.body["next"]])
        elif answer.status == 503 and "nothing was changed" in answer.body["detail"]:
            # What gives it back may also be something else, and who has said so before may have been heard.
            done = ask.verb != "release" and attempt.outcome == NEXT[ask.verb]
            if done and len(self._history.sent[ask.verb, ask.subject]) == 1:
                self._broken("where nothing was changed, nothing is", f"{name}: the attempt is {attempt.outcome}")
        elif answer.refusal == "lease-lost":
            if attempt.outcome is None:
                self._broken("a lease holds until it ends", f"{name} was refused, and it runs")
            if ask.verb == "complete" and attempt.outcome == "lost" and job.lease == attempt.lease:
                self._broken("a late completion counts if nobody has started the job since", f"{name} was refused")

    def _beat(self, ask: Ask, answer: Answer) -> None:
        if answer.status == 503:
            # It was heard, and could not be written down: that is no silence of the worker's.
            for named in ask.body.get("jobs", ()):
                self._oracle.spoken[named["lease"]] = trio.current_time()
        if not answer.ok:
            return
        abandon = set(answer.body["abandon"])
        for named in ask.body.get("jobs", ()):
            place = self._history.leases.get(named["lease"])
            if place is None or place[0] in self._history.deleted:
                continue
            attempt = self._oracle.now.attempts.get(place)
            runs = attempt is not None and attempt.outcome is None
            if named["job_id"] in abandon:
                if runs:
                    self._broken("a lease holds until it ends", f"{place} was to be abandoned, and it runs")
            elif runs and not self._oracle.was_renewed(place, ask.sent_at - SLACK):
                self._broken("acknowledged means committed", f"the heartbeat of {place} was not")


def _look(ask: Ask) -> float:
    """For how long (s) the store may hold it up: of several outputs it is asked for a list, in pieces."""
    return 2 * LOOK if "outputs" in ask.body else LOOK
