"""Chains on a real database of any engine: jobs whose results start others, and the stages that join those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from actors.effects import joining
from actors.messages import (
    AdvanceOperation,
    ChildSourceRead,
    ChooseOutputs,
    Claim,
    CloseBatch,
    Complete,
    DeletionsTried,
    Fail,
    MakeBatch,
    ObjectSeen,
    Seen,
    Several,
    TakeDoomed,
    TellOutputs,
)
from blobforge import stage
from blobforge.access import Caller, Scope
from blobforge.chain import Join, Step
from blobforge.events import BatchEnded, ManifestMade, ProofAwaited
from blobforge.job import Job
from blobforge.objects.keys import named_output_key, prefix_of
from blobforge.operation import Operation
from blobforge.outputs import Output
from tests.store.making import ADMIN, Book, hash_of, submission

ASKER = Caller(frozenset({Scope.ADMIN}))
SUMMARY = (Step("summary", "*.md"),)
PAGES = (Step("ocr", "*.png", None, (), Join("book")),)


class ChainBook(Book):
    """Remembers the last transaction's events and facts."""

    events: list[Any]
    facts: list[Any]

    def _do(self, messages: Sequence[Any], tx: Any) -> list[Any]:
        answers = super()._do(messages, tx)
        self.events, self.facts = tx.events, tx.facts
        return answers

    def job(self, job_id: int) -> Job:
        with self.reader() as reader:
            found = reader.job(job_id)
        assert found is not None
        return found

    def children(self, parent: int) -> list[Job]:
        with self.reader() as reader:
            return [self.job(kin.job_id) for kin in reader.kin.of(parent, limit=100)]

    def proofs(self) -> list[ProofAwaited]:
        return [fact for fact in self.facts if isinstance(fact, ProofAwaited)]

    def manifests(self) -> list[ManifestMade]:
        return [fact for fact in self.facts if isinstance(fact, ManifestMade)]

    def ended(self) -> list[int]:
        """The batches that have ended."""
        return [event.batch_id for event in self.events if isinstance(event, BatchEnded)]

    def said(self, parent: int) -> str | None:
        """Why less than its steps say has come of this job."""
        place = self.job(parent).chain
        return place.said if place is not None else None


def submitted(book: Book, name: object = "scan", *, then: tuple[Step, ...] = SUMMARY, **more: Any) -> int:
    return int(book.do(submission(name, then=then, **more)).job_id)


def complete(
    book: Book, out: object = "text", *, type_: str = "pdf", name: str = "a.md", write_once: bool = True,
    proven: bool = True, seen: Seen = Seen.PRESENT,
) -> Job:  # fmt: skip
    """The next job is done: its output has the bytes `out`, for which the store vouches if `proven`."""
    job: Job
    (job,) = book.do(Claim(ADMIN, "w", (type_,), write_once=write_once, accepts=("options",))).jobs
    complete_of(book, job, out, name=name, proven=proven, seen=seen)
    return job


def complete_of(
    book: Book, job: Job, out: object = "text", *, name: str = "a.md", proven: bool = True, seen: Seen = Seen.PRESENT
) -> None:
    found = ObjectSeen(seen, 7 if seen is Seen.PRESENT else None, hash_of(out) if proven else None)
    result = f'{{"filename": "{name}"}}'
    book.do(Complete(ADMIN, "w", job.id, output_key=job.upload_key, output=found, result=result))


def complete_several(book: Book, *names: str) -> tuple[Job, list[str]]:
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",), write_once=True)).jobs
    outputs = tuple(Output(name, 3) for name in names)
    book.do(TellOutputs(ADMIN, "w", job.id, outputs), ChooseOutputs(ADMIN, "w", job.id, outputs, True))
    keys = [named_output_key(prefix_of(job.upload_key), name) for name in names]
    several = Several(len(names), 3 * len(names))
    book.do(Complete(ADMIN, "w", job.id, output_key=keys[0], several=several))
    return job, keys


def read(book: Book, fact: ProofAwaited, out: object) -> Any:
    """The intake has read the output: it has the bytes `out`."""
    return book.do(ChildSourceRead(fact.job_id, fact.key, ObjectSeen(Seen.VERIFIED, 3, hash_of(out))))


def doomed(book: Book) -> set[str]:
    """What is deleted now, and that it was."""
    keys = book.do(TakeDoomed(limit=100)).keys
    book.do(DeletionsTried(keys, (), (), epoch=1))
    return set(keys)


def open_operations(book: Book) -> list[Operation]:
    with book.reader() as reader:
        return list(reader.open_operations(limit=9))


def turn(book: Book) -> Operation:
    """The next turn of the one operation, as its actor asks for it; asked for twice, it is made once."""
    (operation,) = open_operations(book)
    asked = AdvanceOperation(operation.id, operation.page)
    stands, again = book.do(asked, asked)
    assert again == stands or again.operation.page == stands.operation.page
    done: Operation = stands.operation
    return done


def split(book: ChainBook, **more: Any) -> int:
    parent = submitted(book, then=PAGES, source_path="in/a.pdf", **more)
    complete_several(book, "1.png", "2.png")
    for fact in book.proofs():
        read(book, fact, fact.key)
    return parent


def page(book: ChainBook, well: bool = True) -> int:
    """A page is read, or fails; its job."""
    if well:
        return complete(book, f"text {book.now}", type_="ocr", name="page.md").id
    (job,) = book.do(Claim(ADMIN, "w", ("ocr",))).jobs
    book.do(Fail(ADMIN, "w", job.id, "blurred", retryable=False))
    return int(job.id)


def documents(book: ChainBook, n: int, *, batched: bool = False) -> list[int]:
    """So many documents, all of one page, that is the same; each in a closed batch of its own, if `batched`."""
    batches = [int(book.do(MakeBatch(f"of {number}")).batch_id) if batched else None for number in range(n)]
    parents = [submitted(book, number, then=PAGES, batch=batch) for number, batch in enumerate(batches)]
    for batch in batches:
        if batch is not None:
            book.do(CloseBatch(batch))
    for _ in parents:
        complete_several(book, "1.png")
        for fact in book.proofs():
            read(book, fact, "an empty page")
    return parents


def manifest_of(book: ChainBook, job: Job) -> stage.StageManifest:
    with book.reader() as reader:
        text = reader.kin.manifest(job.source_hash)
    assert text is not None
    assert hash_of(text) == job.source_hash
    return stage.read(text)


def books(book: ChainBook) -> list[int]:
    """Whose books there are."""
    with book.reader() as reader:
        jobs = [job for number in range(1, 80) if (job := reader.job(number)) is not None and job.type == "book"]
    return [job.chain.parent for job in jobs if job.chain is not None and job.chain.parent is not None]


def join_two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message joins two stages, and puts others off."""
    monkeypatch.setattr(joining, "MOST_WORK", 2 * (joining.TO_ASK + joining.TO_JOIN))
