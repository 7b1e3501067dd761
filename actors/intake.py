"""The intake: sources are looked for and verified, outputs that were accepted unseen are checked. State owned here:
which sources are awaited and when to look for each again, which outputs are unchecked, and which are to be read as
jobs wait for that.

A client may tell us that a source has arrived, and the local store does; but a client that only PUTs to S3 does
not. So the intake looks: often at first, when an upload is likely to be under way, then less and less. What it
finds, it verifies before any worker is given it: by the checksum that the store vouches for, or by reading it; a
source above `verify_limit` is taken at its size. All of this is off the write path, and an object store that does
not answer only delays it.

Of several servers each knows all sources that are awaited, and looks for its share of them; one that is said to have
come is looked for at once, by the server that was told. Bytes are read by one at a time, and the others take what it
finds. Outputs are checked by the server that accepted them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, ClassVar, Protocol

import structlog
import trio
from msgspec.structs import replace

from actors.arrival import tell_waiting
from actors.keeper import OutputKeeper
from actors.mailbox import Envelope, Mailbox, ReplyTo, ask
from actors.messages import (
    CheckSource,
    ChildSourceRead,
    ObjectSeen,
    OutputChecked,
    Seen,
    SourceArrived,
    SourceRejected,
    SourceSettledFor,
    seen_as,
)
from blobforge.events import (
    Fact,
    ManifestMade,
    OutputAccepted,
    OutputUnchecked,
    ProofAwaited,
    SourceAwaited,
    SourceSettled,
)
from blobforge.objects import ObjectInfo, ObjectStore, ObjectStoreError
from blobforge.objects.keys import incoming_prefix, is_incoming_key, source_key
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError

log = structlog.get_logger("blobforge.intake")

MAILBOX = 1024
AT_ONCE = 8  # objects looked at side by side; each may hold a thread for as long as the store takes
PROOFS_AT_ONCE = 6  # of these: a large output is read for hours, and sources are looked for beside it
# Seconds between two looks that no client asked for. A look at S3 is 3 ms of CPU: a hundred thousand sources that are
# announced and not yet uploaded would take all there is.
PAUSE = 0.04
FIRST_LOOK = 1.0  # seconds after a source was announced
LONGEST_LOOK = 60.0  # seconds between two looks at a source that was announced long ago
OUTPUT_LOOK = 5.0  # seconds between two looks for an output that was accepted unseen
READS_ALONE = 30.0  # seconds in which no other server reads the same source; later it may, which does no harm


class _Awaited:
    """A source that jobs wait for. `since` is on trio's clock."""

    __slots__ = ("jobs", "replies", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.jobs: set[int] = set()
        self.replies: list[ReplyTo[SourceSettledFor | Refusal]] = []


class Others(Protocol):
    """The other servers of the database."""

    def is_mine(self, source_hash: str) -> bool:
        """Whether this server is the one of them that looks for this source now and then."""

    def alone(self, name: str, seconds: float) -> AbstractAsyncContextManager[None]:
        """One of them is in this block at a time, for so long at most. Raises DatabaseError."""

    async def catch_up(self) -> None:
        """Returns when all has been told that any of them has committed."""


class Intake:
    """`others`: None where there are none. `verify_limit` is in bytes: above it, only existence and size are checked.
    `epoch` tells looks before a deletion from those after it (the janitor counts). `manifest` reads what the source
    of a job says that joins others."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset(
        {SourceAwaited, SourceSettled, OutputUnchecked, OutputAccepted, ProofAwaited, ManifestMade}
    )

    def __init__(
        self,
        writer: Mailbox[Envelope[Any]],
        objects: ObjectStore,
        *,
        installation: str,
        verify_limit: int,
        epoch: Callable[[], int] = lambda: 0,
        manifest: Callable[[str], Awaitable[str | None]] | None = None,
        others: Others | None = None,
    ) -> None:
        self._others = others
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self.keeper = OutputKeeper(writer, objects, installation)
        self._writer = writer
        self._objects = objects
        self._verify_limit = verify_limit
        self._epoch = epoch
        self._manifest = manifest
        self._order = itertools.count()
        self._awaited: dict[str, _Awaited] = {}
        self._outputs: dict[str, OutputUnchecked] = {}
        self._proofs: dict[str, ProofAwaited] = {}  # by the name of the look
        self._read_early: dict[str, tuple[ObjectInfo, str]] = {}  # of these, what may still be written over
        self._manifests: set[str] = set()  # sources that the database has, until they are in the store
        self._looks: list[tuple[float, int, str]] = []  # (when, tie-break, source hash or output key)
        self._due: dict[str, float] = {}  # when each is looked for next; the heap also holds times that are past
        self._busy: set[str] = set()
        self._proving: set[str] = set()  # of those, the proofs
        self._wanted: deque[str] = deque()  # those that a client waits for: before all others, and without a pause
        # What is known to be there, or here: behind all others, and without a pause.
        self._to_put: deque[str] = deque()
        self._to_prove: deque[str] = deque()
        self._not_before = -math.inf
        self.rejected = 0  # sources that were removed for their wrong bytes

    @property
    def awaited(self) -> int:
        """How many sources are waited for."""
        return len(self._awaited)

    @property
    def unchecked(self) -> int:
        """How many outputs were accepted and not yet seen."""
        return len(self._outputs)

    def resume(self, sources: Iterable[tuple[int, str, int]], *, now_ms: int) -> None:
        """Take up those that a former run awaited, or others do: (job, hash, since when in ms). The first look is
        soon, and then they are as rare as they were."""
        for job_id, source_hash, since in sources:
            self._await(source_hash, max(0.0, (now_ms - since) / 1000))
            self.post([SourceAwaited(job_id, source_hash)])

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run)
            while True:
                envelope = await self.mailbox.take(until=self._next_time())
                while envelope is not None:
                    self._asked(envelope)
                    envelope = self.mailbox.take_nowait()
                while len(self._busy) < AT_ONCE and (name := self._next_look()) is not None:
                    self._busy.add(name)
                    if name in self._proofs:
                        self._proving.add(name)
                    nursery.start_soon(self._look, name)

    def post(self, facts: Sequence[Fact]) -> None:
        planned, now = self._next_time(), trio.current_time()
        for fact in facts:
            match fact:
                case SourceAwaited(job_id=job_id, source_hash=source_hash):
                    self._await(source_hash).jobs.add(job_id)
                    self._look_at(source_hash, now + FIRST_LOOK)
                case ManifestMade(job_id=job_id, source_hash=source_hash):
                    self._await(source_hash).jobs.add(job_id)
                    self._manifests.add(source_hash)
                    self._to_put.append(source_hash)
                case ProofAwaited(job_id=job_id):
                    self._proofs[_proof(job_id)] = fact
                    self._to_prove.append(_proof(job_id))
                case SourceSettled(job_id=job_id, source_hash=source_hash):
                    self._forget_proof(_proof(job_id))
                    awaited = self._awaited.get(source_hash)
                    if awaited is not None:
                        awaited.jobs.discard(job_id)
                        if not awaited.jobs:
                            del self._awaited[source_hash]
                            self._manifests.discard(source_hash)
                            for reply in awaited.replies:
                                reply.settle(SourceSettledFor(0))
                case OutputUnchecked(key=key):
                    self._outputs[key] = fact
                    self._look_at(key, now + OUTPUT_LOOK)
                case OutputAccepted():
                    self.keeper.add(fact)
                case _:
                    pass  # not heeded
        if self._next_time() < planned or self._wanted or self._to_put or self._to_prove:
            self.mailbox.nudge()

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        """Outputs that another server has accepted it checks; where it ends, one of those that are left does."""
        self.post([fact for fact in facts if isinstance(fact, SourceAwaited | SourceSettled)])

    def _asked(self, envelope: Envelope[SourceSettledFor]) -> None:
        """A client says that the source is there, and waits to hear whether it is."""
        assert isinstance(envelope.message, CheckSource)
        source_hash = envelope.message.source_hash
        self._await(source_hash).replies.append(envelope.reply)
        self._wanted.append(source_hash)

    def _await(self, source_hash: str, age: float = 0.0) -> _Awaited:
        return self._awaited.setdefault(source_hash, _Awaited(trio.current_time() - age))

    def _next_time(self) -> float:
        """The time of the next look; never with every slot taken, for the end of a look nudges."""
        if not self._looks or len(self._busy) >= AT_ONCE:
            return math.inf
        return max(self._looks[0][0], self._not_before)

    def _next_look(self) -> str | None:
        """The next object whose time has come, if any."""
        while self._wanted:
            name = self._wanted.popleft()
            if name not in self._busy and name in self._awaited:  # a busy one is looked at again by `_look_again`
                return name
        now = trio.current_time()
        while self._looks and self._looks[0][0] <= now and self._not_before <= now:
            when, _, name = heapq.heappop(self._looks)
            if self._due.get(name) != when:
                continue  # it was brought forward
            del self._due[name]
            if self._is_anothers(name):
                self._look_at(name, now + self._pause(name))
            elif name in self._proofs and len(self._proving) >= PROOFS_AT_ONCE:
                self._to_prove.append(name)
            elif name not in self._busy and (name in self._awaited or name in self._outputs or name in self._proofs):
                self._not_before = now + PAUSE
                return name
        while self._to_put:
            name = self._to_put.popleft()
            if name not in self._busy and name in self._awaited:
                return name
        while self._to_prove and len(self._proving) < PROOFS_AT_ONCE:  # one result may have started very many jobs
            name = self._to_prove.popleft()
            if name not in self._busy and name in self._proofs:
                return name
        return None

    def _is_anothers(self, name: str) -> bool:
        if self._others is None or name not in self._awaited or name in self._manifests:
            return False  # a manifest is this server's to put there: the others do not look for it
        return not self._others.is_mine(name)

    def _pause(self, source_hash: str) -> float:
        """A tenth of its age: an upload that just began is found within seconds, an old one costs little."""
        age = trio.current_time() - self._awaited[source_hash].since
        return min(max(age / 10, FIRST_LOOK), LONGEST_LOOK)

    def _look_at(self, name: str, when: float) -> None:
        """Look for it then, or earlier if that was said before."""
        if self._due.get(name, math.inf) <= when:
            return
        self._due[name] = when
        heapq.heappush(self._looks, (when, next(self._order), name))

    async def _look(self, name: str) -> None:
        # Only clients that asked before this look are answered by it: a later one may know of a later upload.
        awaited = self._awaited.get(name)
        asked: list[ReplyTo[SourceSettledFor | Refusal]] = []
        if awaited is not None:
            asked, awaited.replies = awaited.replies, []
        outcome: SourceSettledFor | Refusal | None
        try:
            if name in self._outputs:
                await self._look_for_output(name)
                outcome = None
            elif name in self._proofs:
                await self._prove(name)
                outcome = None
            elif name not in self._awaited:
                outcome = None  # settled meanwhile
            else:
                outcome = await self._look_for_source(name)
        except ObjectStoreError as error:
            log.warning("cannot look for an object", error=str(error))
            said = f"The object store does not answer: {error}"
            outcome = Refusal(RefusalCode.UNAVAILABLE, said, retry_after=5)
        except DatabaseError as error:
            log.warning("cannot agree with the other servers about a source", error=str(error))
            outcome = Refusal(RefusalCode.UNAVAILABLE, "The database does not answer.", retry_after=5)
        except Exception:
            # A bug in what this one led to, or in what was written together with it: the others are looked for.
            log.exception("looking for an object failed", name=name)
            outcome = Refusal(RefusalCode.UNAVAILABLE, "The server met a bug as it looked. Ask again.", retry_after=5)
        if outcome is not None:
            for reply in asked:
                reply.settle(outcome)
        self._busy.discard(name)
        self._proving.discard(name)
        self._look_again(name)

    def _look_again(self, name: str) -> None:
        now = trio.current_time()
        if name in self._outputs or name in self._proofs:
            self._look_at(name, now + OUTPUT_LOOK)
        elif (awaited := self._awaited.get(name)) is not None:
            if not awaited.jobs and not awaited.replies:
                del self._awaited[name]
                return
            self._look_at(name, now + self._pause(name))
            if awaited.replies:
                self._wanted.append(name)
        self.mailbox.nudge()

    async def _look_for_source(self, source_hash: str) -> SourceSettledFor | Refusal:
        if self._others is None:
            return await self._read_source(source_hash)
        if source_hash not in self._manifests and not await self._is_there(source_hash):
            return _missing(source_key(source_hash))
        async with self._others.alone(f"source {source_hash}", READS_ALONE):
            await self._others.catch_up()
            if source_hash not in self._awaited:
                return SourceSettledFor(0)  # by what another has read meanwhile
            return await self._read_source(source_hash)

    async def _is_there(self, source_hash: str) -> bool:
        if await self._objects.head(source_key(source_hash)) is not None:
            return True
        if not is_incoming_key(self._objects.plain_source_key(source_hash)):
            return False
        return bool((await self._objects.list_page(incoming_prefix(source_hash))).objects)

    async def _read_source(self, source_hash: str) -> SourceSettledFor | Refusal:
        key = source_key(source_hash)
        epoch = self._epoch()
        info = await self._objects.head(key)
        if info is None and source_hash in self._manifests:
            info = await self._put_manifest(source_hash)
        if info is not None:
            found = await self._digest(info)
            if found is None or found == source_hash:
                return await self._arrived(source_hash, info, verified=found is not None, epoch=epoch)
            return await self._wrong(source_hash, info.key, found)
        if is_incoming_key(self._objects.plain_source_key(source_hash)):
            return await self._look_for_incoming(source_hash, epoch)
        return _missing(key)

    async def _put_manifest(self, source_hash: str) -> ObjectInfo | None:
        """The source is one that the database has: a store that is there has it now."""
        text = await self._manifest(source_hash) if self._manifest is not None else None
        if text is None:
            return None
        key = source_key(source_hash)
        await self._objects.put_own(key, text.encode())
        return await self._objects.head(key)

    async def _look_for_incoming(self, source_hash: str, epoch: int) -> SourceSettledFor | Refusal:
        """Uploads that were not bound to the checksum. The first with the right bytes becomes the source, by a copy
        of the very object that was read.
        """
        rejected: SourceSettledFor | Refusal | None = None
        for listed in (await self._objects.list_page(incoming_prefix(source_hash))).objects:
            if not is_incoming_key(listed.key) or (info := await self._objects.head(listed.key)) is None:
                continue
            found = await self._digest(info)
            if found not in (None, source_hash):
                rejected = await self._wrong(source_hash, info.key, found)
                continue
            copied = await self._objects.copy(info.key, source_key(source_hash), like=info)
            if not isinstance(copied, ObjectInfo):
                continue  # it is being written anew: looked at again
            outcome = await self._arrived(source_hash, copied, verified=found is not None, epoch=epoch)
            wrong = isinstance(outcome, Refusal) and outcome.code is RefusalCode.SOURCE_MISSING
            if wrong or not isinstance(outcome, Refusal):
                with suppress(ObjectStoreError):  # else the search for what comes in finds it
                    await self._objects.delete(info.key)
            if not wrong:
                return outcome
            rejected = outcome
        return rejected or _missing(source_key(source_hash))

    async def _arrived(
        self, source_hash: str, info: ObjectInfo, *, verified: bool, epoch: int
    ) -> SourceSettledFor | Refusal:
        """Tell the jobs that wait for it. One that is too large to be read for each job, and is none's by its size,
        is read after all: its bytes are the right ones, whatever was announced, or make room for those."""
        arrived = SourceArrived(source_hash, info.size, verified, epoch)
        settled = await tell_waiting(self._writer, arrived)
        if verified or isinstance(settled, Refusal) or settled.jobs:
            return settled
        found = await self._read(info.key)
        if found != source_hash:
            return await self._wrong(source_hash, info.key, found)
        return await tell_waiting(self._writer, replace(arrived, verified=True))

    async def _wrong(self, source_hash: str, key: str, found: str | None) -> Refusal:
        """Not the bytes that it is named for: away with them, so that the right ones can come."""
        log.warning("a source has the wrong bytes; removed", key=key, found=found)
        await self._objects.delete(key)
        self.rejected += 1
        name = source_key(source_hash)
        reason = f"what was uploaded as {name} has SHA-256 {found}; it was removed, upload the right file"
        await tell_waiting(self._writer, SourceRejected(source_hash, reason))
        return Refusal(RefusalCode.SOURCE_MISSING, f"{reason[0].upper()}{reason[1:]}.")

    async def _digest(self, info: ObjectInfo) -> str | None:
        """The SHA-256 of the object's bytes; None when it is too large to be read for that."""
        if info.sha256 is not None:
            return info.sha256
        if info.size > self._verify_limit:
            return None
        return await self._read(info.key)

    async def _read(self, key: str) -> str:
        found = await self._objects.digest(key)
        if found is None:
            raise ObjectStoreError(f"{key} has vanished while it was read")  # it is looked for again
        return found

    async def _look_for_output(self, key: str) -> None:
        info = await self._objects.head(key)
        seen = ObjectSeen(Seen.ABSENT) if info is None else seen_as(info)
        accepted = self._outputs[key]
        outcome = await ask(self._writer, OutputChecked(accepted.job_id, accepted.attempt, key, seen))
        if not isinstance(outcome, Refusal):
            del self._outputs[key]

    async def _prove(self, name: str) -> None:
        """Read an output that is the source of a job, unless the store vouches for its bytes."""
        wanted = self._proofs[name]
        info = await self._objects.head(wanted.key, version=wanted.version)
        seen = ObjectSeen(Seen.ABSENT)
        if info is not None:
            sha256 = self._known(name, info) or await self._objects.digest(wanted.key, version=wanted.version)
            if sha256 is not None:
                seen = ObjectSeen(Seen.VERIFIED, info.size, sha256)
        outcome = await ask(self._writer, ChildSourceRead(wanted.job_id, wanted.key, seen))
        known = self._proofs.get(name)
        if known is not None and known is not wanted:
            self._to_prove.append(name)  # it is served from a copy by now, and that one is to be read
        elif known is not None and not isinstance(outcome, Refusal):
            self._forget_proof(name)
        elif known is not None and info is not None and seen.sha256 is not None:
            self._read_early[name] = (info, seen.sha256)

    def _known(self, name: str, info: ObjectInfo) -> str | None:
        """The checksum of these bytes, where they need not be read: a copy of a large output takes its time, and
        until then it may be written over."""
        if info.sha256 is not None or name not in self._read_early:
            return info.sha256
        read, sha256 = self._read_early[name]
        return sha256 if info.etag is not None and info == read else None

    def _forget_proof(self, name: str) -> None:
        self._proofs.pop(name, None)
        self._read_early.pop(name, None)


def _proof(job_id: int) -> str:
    """What the look is called that proves the source of this job: neither a hash nor a key."""
    return f"proof {job_id}"


def _missing(key: str) -> Refusal:
    return Refusal(RefusalCode.SOURCE_MISSING, f"There is no object {key!r} yet. PUT it to upload_url first.")
