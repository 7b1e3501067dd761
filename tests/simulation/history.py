"""What the clients of a play have asked and been told, and what only they know. The oracle reads it.

Owns: the record of requests, who holds what by the answers, the nature of each document, and the trace: one line for
everything that happened, by which two runs of a seed are compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import trio

GOOD, FLAKY, BROKEN, POISON = "good", "flaky", "broken", "poison"


class Violation(AssertionError):
    """A promise was broken. The message says which, and how."""


@dataclass(eq=False)
class Ask:
    """One request as it went to the server. `gone_at`: when its client goes, or went, away."""

    verb: str
    subject: Any
    body: dict[str, Any]
    sent_at: float
    gone_at: float = math.inf
    ended_at: float = math.inf  # answered, or not any more
    repeatable: bool = False  # its client may come again and be given the same
    identity: str = ""  # repetitions of one request have the same
    server: object = None  # which run of which server it was sent to
    token: int | None = None  # of which token; None: the administrator's own


@dataclass
class History:
    asks: list[Ask] = field(default_factory=list)
    open: dict[Ask, None] = field(default_factory=dict)  # those under way, in their order
    sent: dict[tuple[str, Any], list[Ask]] = field(default_factory=lambda: defaultdict(list))
    documents: dict[str, str] = field(default_factory=dict)  # source hash -> nature
    contents: dict[str, bytes] = field(default_factory=dict)
    uploaded: dict[str, float] = field(default_factory=dict)  # source hash -> when its upload was answered
    jobs: dict[tuple[str, str], int] = field(default_factory=dict)  # (type, source hash) -> id, as answered
    leases: dict[str, tuple[int, int]] = field(default_factory=dict)  # lease -> (job, attempt), as answered
    delivered: dict[tuple[int, int], set[str]] = field(default_factory=lambda: defaultdict(set))  # to which requests
    given_at: dict[tuple[str, tuple[int, int]], float] = field(default_factory=dict)  # when first
    outputs: dict[str, bytes] = field(default_factory=dict)  # output key -> what its attempt has put there
    deleted: set[int] = field(default_factory=set)  # jobs that the operator asked to delete
    revoking: set[int] = field(default_factory=set)  # tokens whose deletion was asked for
    revoked: dict[int, float] = field(default_factory=dict)  # token -> when its deletion was answered
    happened: Counter[tuple[str, int]] = field(default_factory=Counter)  # (event, job), as the commits show it
    read: Counter[str] = field(default_factory=Counter)  # how often servers have read each source
    vanished: set[str] = field(default_factory=set)  # objects that were taken behind the server's back
    batch: int | None = None  # that documents are submitted for
    pages: dict[str, int] = field(default_factory=dict)  # source hash -> how many outputs are made of it, beside one
    names: dict[tuple[int, int], tuple[str, ...]] = field(
        default_factory=dict
    )  # (job, attempt) -> of several outputs
    chained: bool = False  # whether anything was submitted with what follows it
    examined: bool = False  # whether there may be canaries
    children: set[int] = field(default_factory=set)  # jobs that came of others, as claims have told
    readmitted: set[str] = field(default_factory=set)  # workers that are to be in no quarantine in the end
    trace: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    over: trio.CancelScope = field(default_factory=trio.CancelScope)

    def say(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():10.3f} {what}")

    def broken(self, promise: str, how: str) -> None:
        """A promise does not hold: the play ends here."""
        self.say(f"BROKEN {promise}: {how}")
        self.found.append(f"{promise}: {how}")
        self.over.cancel()

    def ask(self, ask: Ask) -> Ask:
        self.asks.append(ask)
        self.open[ask] = None
        self.sent[ask.verb, ask.subject].append(ask)
        return ask

    def gave_up(self, job: int) -> None:
        """Its worker says that trying again is of no use."""
        self.sent["give up", job].append(Ask("give up", job, {}, trio.current_time()))

    def taken(self, worker: str) -> None:
        """The operator takes its jobs from a worker."""
        self.sent["take", worker].append(Ask("take", worker, {}, trio.current_time()))

    def asked(self, verb: str, subject: Any) -> bool:
        """Whether anybody has asked for this, ever."""
        return bool(self.sent.get((verb, subject)))
