"""Looking for what was uploaded: in a store that is slow, wrong, or away."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.effects import submission as submission_effects
from actors.intake import PAUSE, Intake
from actors.mailbox import ask
from actors.messages import (
    Cancel,
    CheckSource,
    Claim,
    Complete,
    Completed,
    ObjectSeen,
    Register,
    Seen,
    SourceSettledFor,
)
from blobforge.chain import Step
from blobforge.events import ManifestMade, ProofAwaited
from blobforge.objects import ListedPage, ObjectInfo, ObjectStoreError
from blobforge.objects.keys import accepted_key, incoming_prefix, source_key
from blobforge.refusals import Refusal, RefusalCode
from tests.actors.alone import Alone, writer_alone
from tests.store.making import ADMIN, hash_of, submission

LIMIT = 1000


class ScriptedStore:
    """What the intake asks of an object store, as a test would have it answer. `digests` are what the bytes hash
    to; `vouched` are the checksums that the store itself gives."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.vouched: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.endless: set[str] = set()  # keys of objects that are read for hours
        self.copies = True
        self.away = False
        self.slow = 0.0
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0

    def put(self, name: object, *, content: object = None, size: int = 5) -> None:
        key = source_key(hash_of(name))
        self.sizes[key] = size
        self.digests[key] = hash_of(name if content is None else content)

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        self.asked[key] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.slow)
        finally:
            self.at_once -= 1
        if self.away:
            raise ObjectStoreError("it is away")
        if key not in self.sizes:
            return None
        return ObjectInfo(key, self.sizes[key], self.vouched.get(key), etag=self.etags.get(key))

    def plain_source_key(self, source_hash: str) -> str:
        return source_key(source_hash)

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | str:
        if not self.copies:
            raise ObjectStoreError("it does not copy")
        if key not in self.sizes:
            return "absent"
        self.sizes[to] = self.sizes[key]
        self.digests[to] = self.digests.get(key, "")
        return ObjectInfo(to, self.sizes[key])

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        self.asked["digest " + key] += 1
        if key in self.endless:
            await trio.sleep_forever()
        if self.away:
            raise ObjectStoreError("it is away")
        return self.digests.get(key)

    async def put_own(self, key: str, data: bytes) -> None:
        self.put(data.decode())

    async def delete(self, key: str) -> None:
        self.sizes.pop(key, None)
        self.digests.pop(key, None)


class Looking:
    def __init__(self, alone: Alone, store: ScriptedStore) -> None:
        self.alone = alone
        self.store = store
        self.intake = Intake(alone.writer.mailbox, store, installation="binstallation", verify_limit=LIMIT)  # type: ignore[arg-type]
        alone.writer.sequencer.listeners.append(self.intake)

    async def submit(self, name: object) -> None:
        await self.alone.ask(submission(name, ready=False))

    async def check(self, name: object) -> Any:
        return await ask(self.intake.mailbox, CheckSource(hash_of(name)))

    def status(self, job_id: int = 1) -> tuple[str, str | None]:
        ((status, error),) = self.alone.book.probe.rows("jobs", "status", "last_error", id=job_id)
        return status, error


@asynccontextmanager
async def looking(folder: Path) -> AsyncIterator[Looking]:
    async with writer_alone(folder) as alone:
        made = Looking(alone, ScriptedStore())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.intake.run)
            yield made
            nursery.cancel_scope.cancel()


async def test_a_source_that_comes_later_is_found_within_seconds(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        await trio.sleep(5.5)
        assert it.status() == ("uploading", None)
        it.store.put("a")
        await trio.sleep(2)
        assert it.status() == ("pending", None)
        looks = it.store.asked.total()
        await trio.sleep(10_000)
        assert it.store.asked.total() == looks  # found is found


async def test_a_bug_in_what_a_look_leads_to_ends_neither_the_look_nor_the_others(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise AssertionError("a bug")

    async with looking(tmp_path) as it:
        await it.submit("a")
        it.store.put("a")
        with monkeypatch.context() as broken:
            broken.setattr(submission_effects, "source_arrived", bug)
            told = await it.check("a")
            await trio.sleep(60)
        assert isinstance(told, Refusal)
        assert told.code is RefusalCode.UNAVAILABLE
        await trio.sleep(600)
        assert it.status() == ("pending", None)


async def test_looks_become_rare_but_never_stop(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        await trio.sleep(3600)
        assert 60 <= it.store.asked.total() <= 200  # not a look a second
        before = it.store.asked.total()
        await trio.sleep(3600)
        assert 55 <= it.store.asked.total() - before <= 65
        it.store.put("a")
        await trio.sleep(61)
        assert it.status()[0] == "pending"


async def test_who_says_that_it_is_there_is_answered_at_once(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        started = trio.current_time()
        missing = await it.check("a")
        assert isinstance(missing, Refusal)
        assert missing.code is RefusalCode.SOURCE_MISSING
        it.store.put("a")
        assert await it.check("a") == SourceSettledFor(1)
        assert trio.current_time() - started < 0.5
        assert it.status()[0] == "pending"


async def test_many_that_are_awaited_hold_up_nobody_who_waits(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        it.store.slow = 0.005
        for number in range(1000):
            await it.submit(number)
        await trio.sleep(5)  # all of them are due
        it.store.put(999)
        started = trio.current_time()
        assert await it.check(999) == SourceSettledFor(1)
        assert trio.current_time() - started < 0.1
        before = it.store.asked.total()
        await trio.sleep(10)
        assert it.store.asked.total() - before <= 10 / PAUSE + 1  # and the store is not stormed


async def test_very_many_outputs_to_be_read_hold_up_no_source(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        it.store.slow = 0.5
        await it.submit("a")
        await it.submit("b")
        it.store.put("a")
        it.store.put("b")
        it.intake.post([ProofAwaited(number, f"outputs/x/{number}", None) for number in range(1000, 2000)])
        started = trio.current_time()
        assert await it.check("a") == SourceSettledFor(1)
        assert trio.current_time() - started < 5
        await trio.sleep(10)
        assert (it.intake.awaited, it.status(2)[0]) == (0, "pending")


async def test_an_output_that_is_copied_while_it_is_read_is_read_again_at_once(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """It waited for 5 s: each stage of a chain of single outputs did, now and then."""
    async with looking(tmp_path) as it:
        it.store.slow = 1
        it.intake.post([ProofAwaited(1000, "outputs/x/1", None)])
        await trio.sleep(0.5)
        it.intake.post([ProofAwaited(1000, "accepted/x/1", None)])
        await trio.sleep(1)
        assert it.store.asked["accepted/x/1"] == 1


async def test_outputs_that_are_read_for_hours_hold_up_nothing_else(tmp_path: Path, autojump_clock: Any) -> None:
    """Eight of them took all places: no source was found any more."""
    async with looking(tmp_path) as it:
        for number in range(20):
            it.store.sizes[f"outputs/x/{number}"] = 1 << 40
            it.store.endless.add(f"outputs/x/{number}")
        it.intake.post([ProofAwaited(1000 + number, f"outputs/x/{number}", None) for number in range(20)])
        await trio.sleep(60)
        await it.submit("a")
        it.store.put("a")
        assert await it.check("a") == SourceSettledFor(1)
        await it.submit("b")
        it.store.put("b")
        await trio.sleep(10)
        assert (it.intake.awaited, it.status(2)[0]) == (0, "pending")


async def test_an_output_that_is_still_to_be_copied_is_read_once(tmp_path: Path, autojump_clock: Any) -> None:
    """It was read whole every 5 s, for as long as the copy took."""
    async with looking(tmp_path) as it:
        it.store.copies = False
        await it.alone.ask(Register(ADMIN, "w", "pdf"))
        await it.alone.ask(submission("a", then=(Step("summary"),)))
        (job,) = (await it.alone.ask(Claim(ADMIN, "w", ("pdf",)))).jobs
        key, copy = job.upload_key, accepted_key("binstallation", job.upload_key)
        it.store.sizes[key], it.store.digests[key], it.store.etags[key] = 7, hash_of("text"), "one"
        seen = ObjectSeen(Seen.PRESENT, 7, etag="one")
        await it.alone.ask(Complete(ADMIN, "w", job.id, job.lease, key, seen, result='{"filename": "a.md"}'))
        await trio.sleep(60)
        looked = it.store.asked[key]
        assert (it.store.asked["digest " + key], it.status(2)[0]) == (1, "uploading")
        assert looked > 5
        it.store.etags[key] = "another"  # is another one, and read
        await trio.sleep(60)
        assert it.store.asked["digest " + key] == 2
        it.store.etags[key], it.store.copies = "one", True
        await trio.sleep(10)
        assert (it.store.asked["digest " + copy], it.status(2)[0]) == (1, "pending")


async def test_wrong_bytes_are_removed_and_told(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        it.store.put("a", content="another")
        await trio.sleep(2)
        status, error = it.status()
        assert status == "uploading"
        assert hash_of("another") in (error or "")
        assert not it.store.sizes
        it.store.put("a", content="another")
        told = await it.check("a")
        assert isinstance(told, Refusal)
        assert told.code is RefusalCode.SOURCE_MISSING
        it.store.put("a")  # the right ones may still come
        await trio.sleep(3)
        assert it.status() == ("pending", None)


async def test_above_the_limit_only_the_size_is_looked_at(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        for name, size in (("large", LIMIT + 1), ("small", LIMIT)):
            await it.submit(name)
            it.store.put(name, content="something else", size=size)
        await trio.sleep(3)
        assert it.status(1)[0] == "pending"
        assert it.status(2)[0] == "uploading"
        assert not it.store.asked["digest " + source_key(hash_of("large"))]
        rows = it.alone.book.probe.rows("files", "size", "sha256", key=source_key(hash_of("large")))
        assert rows == [(LIMIT + 1, None)]  # not said to be verified


async def test_one_above_the_limit_that_fits_no_job_is_read_after_all(tmp_path: Path, autojump_clock: Any) -> None:
    """It stayed, as one that was checked: the right file could be sent neither at once nor in parts."""
    async with looking(tmp_path) as it:
        await it.alone.ask(submission("a", ready=False, source_size=LIMIT + 1))
        it.store.put("a", content="another", size=LIMIT + 2)
        told = await it.check("a")
        assert isinstance(told, Refusal)
        assert told.code is RefusalCode.SOURCE_MISSING
        status, error = it.status()
        assert status == "uploading"
        assert hash_of("another") in (error or "")
        assert not it.store.sizes
        assert it.alone.book.probe.rows("files", "size", key=source_key(hash_of("a"))) == []
        it.store.put("a", size=LIMIT + 1)
        assert await it.check("a") == SourceSettledFor(1)
        assert it.status() == ("pending", None)


async def test_one_above_the_limit_that_no_job_waits_for_is_read_too(tmp_path: Path, autojump_clock: Any) -> None:
    """Parts of the right file wait for what is found: they are thrown away, or take its place."""
    async with looking(tmp_path) as it:
        for content, found in (("another", RefusalCode.SOURCE_MISSING), ("a", SourceSettledFor(0))):
            it.store.put("a", content=content, size=LIMIT + 1)
            told = await it.check("a")
            assert (told.code if isinstance(told, Refusal) else told) == found
        rows = it.alone.book.probe.rows("files", "sha256", key=source_key(hash_of("a")))
        assert rows == [(hash_of("a"),)]


async def test_whose_bytes_are_right_is_good_for_who_announced_another_size(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Others have this source, too, perhaps of another database: for a wrong number it is not removed."""
    async with looking(tmp_path) as it:
        await it.alone.ask(submission("a", ready=False, source_size=LIMIT + 1))
        it.store.put("a", size=LIMIT + 1)
        await it.check("a")
        assert not it.store.asked["digest " + source_key(hash_of("a"))]
        await it.alone.ask(submission("a", type_="another", ready=False, source_size=LIMIT + 2))
        assert await it.check("a") == SourceSettledFor(1)
        assert [it.status(number)[0] for number in (1, 2)] == ["pending", "pending"]
        assert it.store.sizes


async def test_one_that_vanishes_while_it_is_read_has_not_come(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        it.store.put("a")
        del it.store.digests[source_key(hash_of("a"))]
        await trio.sleep(3)
        assert it.status()[0] == "uploading"
        it.store.put("a")
        await trio.sleep(3)
        assert it.status() == ("pending", None)


async def test_a_checksum_that_the_store_vouches_for_saves_the_reading(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        it.store.put("a", size=10**12)
        it.store.vouched[source_key(hash_of("a"))] = hash_of("a")
        assert await it.check("a") == SourceSettledFor(1)
        assert not it.store.asked["digest " + source_key(hash_of("a"))]


async def test_a_store_that_is_away_only_delays(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        it.store.put("a")
        it.store.away = True
        refused = await it.check("a")
        assert isinstance(refused, Refusal)
        assert refused.code is RefusalCode.UNAVAILABLE
        assert refused.retry_after
        await trio.sleep(600)
        assert it.status() == ("uploading", None)  # "cannot look" is not "is not there"
        it.store.away = False
        await trio.sleep(61)
        assert it.status()[0] == "pending"


async def test_a_store_that_hangs_keeps_few_looks_open(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        it.store.slow = 30.0
        for number in range(40):
            await it.submit(number)
            it.store.put(number)
        await trio.sleep(400)
        assert it.store.most_at_once == 8
        assert all(it.status(number)[0] == "pending" for number in range(1, 41))


async def test_nobody_looks_for_what_nobody_awaits(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
        await trio.sleep(3)
        await it.alone.ask(Cancel(1))
        await trio.sleep(100)
        looks = it.store.asked.total()
        await trio.sleep(1000)
        assert it.store.asked.total() == looks


@pytest.mark.parametrize("there", [True, False])
async def test_an_output_that_was_accepted_unseen_is_looked_for(
    tmp_path: Path, autojump_clock: Any, there: bool
) -> None:
    async with looking(tmp_path) as it:
        await it.alone.ask(Register(ADMIN, "w", "pdf"))
        await it.alone.ask(submission("a"))
        (job,) = (await it.alone.ask(Claim(ADMIN, "w", ("pdf",)))).jobs
        it.store.away = True
        key = it.alone.book.key(job.id, job.attempt)
        done = await it.alone.ask(Complete(ADMIN, "w", job.id, job.lease, key, ObjectSeen(Seen.UNKNOWN)))
        assert done == Completed(job.id)
        await trio.sleep(300)
        assert it.status()[0] == "completed"
        if there:
            it.store.sizes[key] = 7
        it.store.away = False
        await trio.sleep(10)
        if there:
            assert it.status()[0] == "completed"
            ((size, checked_at),) = it.alone.book.probe.rows("files", "size", "checked_at", key=key)
            assert (size, checked_at is None) == (7, False)
        else:
            status, error = it.status()
            assert status == "pending"
            assert "attempt 1 reported an output that is not" in (error or "")
            (again,) = (await it.alone.ask(Claim(ADMIN, "w", ("pdf",)))).jobs
            assert (again.attempt, again.attempts) == (2, 1)  # redone at no cost, under a key of its own
        looks = it.store.asked.total()
        await trio.sleep(1000)
        assert it.store.asked.total() == looks


async def test_what_a_former_run_awaited_is_looked_for(tmp_path: Path, autojump_clock: Any) -> None:
    async with looking(tmp_path) as it:
        await it.submit("a")
    async with writer_alone(tmp_path) as alone:
        it = Looking(alone, ScriptedStore())
        it.intake.resume([(1, hash_of("a"), 0)], now_ms=0)
        it.store.put("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.intake.run)
            await trio.sleep(2)
            assert it.status()[0] == "pending"
            nursery.cancel_scope.cancel()


class TheOther:
    """Another server, which looks for every source."""

    def is_mine(self, source_hash: str) -> bool:
        return self._mine

    def __init__(self, *, mine: bool = False) -> None:
        self._mine = mine
        self.held = 0

    @asynccontextmanager
    async def alone(self, name: str, seconds: float) -> AsyncIterator[None]:
        self.held += 1
        yield

    async def catch_up(self) -> None:
        pass


class Unbound(ScriptedStore):
    """Uploads without a checksum come in by keys of their own; none has."""

    def plain_source_key(self, source_hash: str) -> str:
        return f"{incoming_prefix(source_hash)}{'0' * 32}"

    async def list_page(self, prefix: str, **how: Any) -> ListedPage:
        return ListedPage([])


async def test_a_source_that_has_not_come_is_looked_for_without_asking_the_other_servers(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with writer_alone(tmp_path) as alone:
        it, others = Looking(alone, Unbound()), TheOther(mine=True)
        it.intake = Intake(
            alone.writer.mailbox, it.store, installation="binstallation", verify_limit=LIMIT,  # type: ignore[arg-type]
            others=others,
        )  # fmt: skip
        alone.writer.sequencer.listeners[-1:] = [it.intake]
        await it.submit("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.intake.run)
            await trio.sleep(60)
            assert it.store.asked.total() > 3
            assert others.held == 0
            it.store.put("a")
            await trio.sleep(120)
            assert (it.status()[0], others.held) == ("pending", 1)
            nursery.cancel_scope.cancel()


async def test_a_manifest_is_put_by_the_server_that_made_it_when_the_store_is_back(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async def manifest(source_hash: str) -> str:
        return "a"

    async with writer_alone(tmp_path) as alone:
        it = Looking(alone, ScriptedStore())
        it.intake = Intake(  # it heard of this manifest, and no other server did
            alone.writer.mailbox, it.store, installation="binstallation", verify_limit=LIMIT,  # type: ignore[arg-type]
            manifest=manifest, others=TheOther(),
        )  # fmt: skip
        await it.submit("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.intake.run)
            it.store.away = True
            it.intake.post([ManifestMade(1, hash_of("a"))])
            await trio.sleep(10)
            it.store.away = False
            await trio.sleep(100)
            assert it.status()[0] == "pending"
            nursery.cancel_scope.cancel()
