"""What a route is: one row that says which callers it has, what it takes and gives, and what answers it.

The rows register the handlers, guard them, and generate `/api/openapi.json`; none of the three can forget one.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from quart import Response

from actors import repeats
from actors.mailbox import Envelope, Mailbox, Reply, ask
from actors.messages import TAKES_RIGHTS, Audit, Message, Repeatable
from blobforge.access import Caller
from blobforge.machinery.tracing import Trace
from blobforge.refusals import Refusal
from web.answer import GoneError
from web.bodies import Peer
from web.request import Request
from web.services import Services

O = TypeVar("O")  # noqa: E741 - the outcome
K = TypeVar("K")  # the outcome that was kept


class Access(StrEnum):
    """The callers of a route."""

    PUBLIC = "public"  # with or without a credential
    READ = "read"
    SUBMIT = "submit"
    WORK = "work"  # a worker's own credential, or an API token with the scope
    UPLOAD = "submit or work"
    ADMIN = "admin"
    ANYONE_KNOWN = "any credential"


@dataclass(slots=True)  # not frozen: to freeze each of them would take longer than to authorize it
class Call:
    """One request on its way to its handler."""

    services: Services
    request: Request
    request_id: str
    caller: Caller
    params: dict[str, Any]
    repeat: Repeatable | None
    audit: Audit | None
    raw: bytes
    peer: Peer  # tells when the client goes
    takes_rights: bool = False  # whether it was asked to

    @property
    def base_url(self) -> str:
        """The base of the URLs that this server serves itself."""
        return self.services.site.base(self.request)

    def good_for(self) -> float:
        """Seconds until the caller's credential ends by itself, as far as is known."""
        ends = self.caller.expires_at
        return math.inf if ends is None else max(0, ends - self.services.now()) / 1000

    def tell(
        self, message: Message[O], repeat: Repeatable | None = None, audit: Audit | None = None
    ) -> Awaitable[O | Refusal]:
        """Ask the writer for one part of what the caller wants, with the records that belong to that part."""
        if isinstance(message, TAKES_RIGHTS):
            self.takes_rights = True
        return ask(self.services.writer, message, repeat, audit, self._trace(), self.caller)

    def ask(self, message: Message[O], *, about: str | None = None) -> Awaitable[O | Refusal]:
        """Ask the writer; repeatable with an Idempotency-Key, and on record where the route says so.

        `about` is what the audit record names where the path does not.
        """
        audit = self.audit
        if audit is not None and about is not None:
            audit = replace(audit, subject=about)
        return self.tell(message, self.repeat, audit)

    async def earlier(self, kind: type[K]) -> K | Refusal | None:
        """The answer that was given to this Idempotency-Key before, if any, where it must be known beforehand."""
        repeat, now = self.repeat, self.services.now()
        if repeat is None:
            return None
        found = await self.services.reads.run(lambda reader: repeats.earlier(reader, repeat, now=now))
        assert found is None or isinstance(found, (kind, Refusal))
        return found

    def ask_via(self, mailbox: Mailbox[Envelope[Any]], message: Message[O]) -> Awaitable[O | Refusal]:
        """Ask another actor."""
        return ask(mailbox, message, self.repeat, trace=self._trace(), caller=self.caller)

    async def ask_while_there(self, mailbox: Mailbox[Envelope[Any]], message: Message[O]) -> O | Refusal:
        """As `ask_via`, for an answer that may take long. Raises GoneError when the client goes; the message is
        abandoned then.

        No scope that could be cancelled: that would take as long as all else that stands here.
        """
        reply: Reply[O] = Reply()
        envelope = Envelope(message, reply, self.repeat, trace=self._trace(), caller=self.caller)
        if not mailbox.offer(envelope):
            await mailbox.put(envelope)
        self.peer.watch(lambda: reply.give_up(GoneError()))
        try:
            return await reply.wait()
        finally:
            self.peer.forget()

    def _trace(self) -> Trace | None:
        tracer = self.services.tracer
        return None if tracer is None else tracer.here()


HandlerResult = msgspec.Struct | msgspec.Raw | dict[str, Any] | list[Any] | Response | Refusal | tuple[int, Any]
RouteHandler = Callable[..., Awaitable[HandlerResult]]


@dataclass(frozen=True)
class Route:
    """`body` and `query` are the msgspec types that the request is decoded into, `gives` that of
    the answer (a tuple: one of them).

    `writes`: the handler hands `Call.repeat` to the writer itself, so that the record of an Idempotency-Key is
    written with the effect. For any other POST the dispatcher records the key.
    """

    method: str
    path: str
    access: Access
    handler: RouteHandler
    summary: str
    body: Any = None
    gives: Any = None
    kinds: tuple[str, ...] = ()  # the media types of an answer that is no JSON: one of them
    status: int = 200
    writes: bool = True
    query: Any = None
    hidden: bool = False  # an older name of another route
    audit: str | None = None  # the action's name in the audit log, for what leaves a record there
    large: bool = False  # its body may be larger than others: finished work is not refused for its size
    page: bool = False  # for a person in a browser: a refusal is a page, and 401 leads to the sign-in
    hot: bool = False  # asked all the time by every worker: the lean reader answers it, see `web/connection`

    @cached_property
    def name(self) -> str:
        return f"{self.method} {self.path}"
