"""Chains on each engine: what an accepted result starts, what of it is kept how long, and what is there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.effects import beginning, chains, families, wide
from actors.messages import (
    Batch,
    BeginCanary,
    BeginOperation,
    Cancel,
    CancelFamilies,
    CancelJobs,
    ChildSourceRead,
    Claim,
    CloseBatch,
    DeleteBatch,
    DeleteJob,
    EndOperation,
    ExpireUploads,
    JobDeleted,
    KeptOutput,
    MakeBatch,
    ObjectSeen,
    OperationPlan,
    OutputChecked,
    OutputsKept,
    Prune,
    Register,
    Retry,
    Retype,
    Seen,
    SelectJobs,
    SourceArrived,
    SourceSettledFor,
    Undo,
    UndoOperation,
    Unsent,
)
from blobforge.canary import CanaryPlan
from blobforge.chain import Join, Kin, Step, whence
from blobforge.events import BatchEnded, JobRemoved, ManifestMade, ProofAwaited, SourceAwaited
from blobforge.job import Job, JobStatus
from blobforge.objects.keys import accepted_key, original_output_key, output_of, prefix_of
from blobforge.objects.sources import key_of_source
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from tests.fixtures.engines import ENGINES
from tests.store.chaining import (
    ASKER,
    PAGES,
    SUMMARY,
    ChainBook,
    books,
    complete,
    complete_of,
    complete_several,
    documents,
    doomed,
    join_two_at_once,
    manifest_of,
    open_operations,
    page,
    read,
    split,
    submitted,
    turn,
)
from tests.store.making import ADMIN, at_work, hash_of, submission
from web.api.grants import inputs_of


@pytest.fixture(params=["memory", "postgres"])
def book(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChainBook]:
    with at_work(ChainBook(ENGINES[request.param](tmp_path / "x.db"))) as opened:
        yield opened


# --- what is started


def test_a_completion_starts_a_job_with_its_very_output(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = submitted(
        book, tags=("x",), group="acme", priority=1, batch=number, submitter="me", source_path="in/a.pdf",
        then=(Step("summary", "*.md", '{"n":1}', (Step("index"),)), Step("other", "*.png")),
    )  # fmt: skip
    book.do(CloseBatch(number))
    done = complete(book)
    assert not book.ended()
    (child,) = book.children(parent)
    assert (child.type, child.status, child.source_hash) == ("summary", JobStatus.PENDING, hash_of("text"))
    assert (child.options, child.priority, child.tags, child.of_group) == ('{"n":1}', 1, ("x",), "acme")
    assert (child.batches, child.submitter, child.source_path) == ((number,), "me", "in/a.md")
    assert key_of_source(child) == done.upload_key
    assert child.chain is not None
    assert (child.chain.parent, child.chain.family, child.chain.depth) == (parent, parent, 1)
    complete(book, "summary", type_="summary", name="b.md")
    (index,) = book.children(child.id)
    assert (index.type, index.chain and (index.chain.family, index.chain.depth)) == ("index", (parent, 2))
    complete(book, "index", type_="index")
    assert book.ended() == [number]


def test_nothing_is_started_where_no_output_matches_or_none_follows(book: ChainBook) -> None:
    parent, without = submitted(book), submitted(book, "other", then=())
    complete(book, name="a.txt")
    complete(book)
    assert book.children(parent) == book.children(without) == []


def test_what_the_store_does_not_vouch_for_waits_until_it_was_read(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book, proven=False)
    (child,) = book.children(parent)
    assert (child.status, child.waits_for_proof) == (JobStatus.UPLOADING, True)
    assert book.proofs() == [ProofAwaited(child.id, done.upload_key or "", None)]
    with book.reader() as reader:
        assert (reader.awaited_proofs(), reader.awaited_sources()) == (book.proofs(), [])
    assert book.do(Claim(ADMIN, "w", ("summary",))).jobs == ()
    assert read(book, ProofAwaited(child.id, "outputs/of/another", None), "x") == SourceSettledFor(0)
    assert read(book, book_fact := ProofAwaited(child.id, done.upload_key or "", None), "text") == SourceSettledFor(1)
    now = book.job(child.id)
    assert (now.status, now.source_hash, now.source_size) == (JobStatus.PENDING, hash_of("text"), 3)
    assert read(book, book_fact, "text") == SourceSettledFor(0)  # by another server
    assert [job.id for job in book.do(Claim(ADMIN, "w", ("summary",))).jobs] == [child.id]


def test_each_of_several_outputs_that_matches_becomes_a_source(book: ChainBook) -> None:
    parent = submitted(book, then=(Step("ocr", "pages/*.png"),), source_path="in/a.pdf")
    _, keys = complete_several(book, "pages/1.png", "pages/2.png", "index.md")
    one, two = book.children(parent)
    assert [fact.key for fact in book.proofs()] == keys[:2]
    assert (one.source_path, two.source_path) == ("in/a/pages/1.png", "in/a/pages/2.png")
    for fact in book.proofs():
        read(book, fact, fact.key)
    assert [child.status for child in book.children(parent)] == [JobStatus.PENDING, JobStatus.PENDING]


def test_an_output_that_may_be_written_over_is_read_from_its_copy(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book, write_once=False)
    (child,) = book.children(parent)
    key, copy = done.upload_key or "", f"accepted/{book.store.installation}/{parent}/1/output"
    assert child.waits_for_proof
    early = read(book, ProofAwaited(child.id, key, None), "text")
    assert isinstance(early, Refusal)
    assert early.code is RefusalCode.UNAVAILABLE
    book.do(OutputsKept((KeptOutput(key, copy),), ()))
    assert book.proofs() == [ProofAwaited(child.id, copy, None)]
    assert read(book, ProofAwaited(child.id, key, None), "other") == SourceSettledFor(0)
    assert read(book, ProofAwaited(child.id, copy, None), "text") == SourceSettledFor(1)
    assert key_of_source(book.job(child.id)) == copy
    book.do(DeleteJob(parent))
    assert copy not in doomed(book)
    book.do(DeleteJob(child.id))
    assert copy in doomed(book)


def test_a_completion_that_is_revoked_takes_back_what_it_has_started(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book, proven=False, seen=Seen.UNKNOWN)
    (child,) = book.children(parent)
    book.do(OutputChecked(parent, 1, done.upload_key or "", ObjectSeen(Seen.ABSENT)))
    assert book.job(child.id).status is JobStatus.CANCELLED
    assert book.job(parent).status is JobStatus.PENDING


def test_an_output_that_is_gone_is_said_and_read_again_after_a_retry(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book, proven=False)
    (child,) = book.children(parent)
    fact = ProofAwaited(child.id, done.upload_key or "", None)
    book.do(ChildSourceRead(child.id, fact.key, ObjectSeen(Seen.ABSENT)))
    assert book.job(child.id).status is JobStatus.DEAD
    book.do(Retry(child.id))
    assert (book.proofs(), book.job(child.id).status) == ([fact], JobStatus.UPLOADING)


# --- what is there already


def test_the_same_output_of_another_attempt_makes_nothing_new(book: ChainBook) -> None:
    parent = submitted(book)
    complete(book)
    (child,) = book.children(parent)
    book.do(Retry(parent))
    complete(book)
    assert {job.id for job in book.children(parent)} == {child.id}
    book.do(Retry(parent))
    complete(book, "another")
    assert len({job.id for job in book.children(parent)}) == 2
    with book.reader() as reader:
        assert [kin.attempt for kin in reader.kin.of(parent, limit=9)] == [1, 2, 3]


def test_an_unproven_job_that_is_there_already_gives_way(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    there = int(book.do(submission("text", type_="summary")).job_id)
    parent = submitted(book, batch=number)
    complete(book, proven=False)
    (made,) = book.proofs()
    read(book, made, "text")
    assert [each.job_id for each in book.events if isinstance(each, JobRemoved)] == [made.job_id]
    (child,) = book.children(parent)
    assert (child.id, child.batches, child.chain and child.chain.adopted) == (there, (number,), True)
    assert key_of_source(child) == f"sources/{hash_of('text')}"


def test_a_job_that_waits_for_its_upload_is_given_the_output(book: ChainBook) -> None:
    there = int(book.do(submission("text", type_="summary", ready=False)).job_id)
    submitted(book)
    done = complete(book)
    job = book.job(there)
    assert (job.status, key_of_source(job)) == (JobStatus.PENDING, done.upload_key)


def kin_of(book: ChainBook, parent: int) -> list[Kin]:
    with book.reader() as reader:
        return reader.kin.of(parent, limit=9)


@pytest.mark.parametrize("proven", [True, False])
def test_a_job_that_waited_for_its_upload_in_vain_is_brought_back_with_the_output(
    book: ChainBook, *, proven: bool
) -> None:
    there = int(book.do(submission("text", type_="summary", ready=False)).job_id)
    book.now += 60_000
    book.do(ExpireUploads((Unsent(there),), 60.0))
    assert book.job(there).status is JobStatus.DEAD
    parent = submitted(book)
    done = complete(book, proven=proven)
    if not proven:
        (fact,) = book.proofs()
        read(book, fact, "text")
    job = book.job(there)
    assert (job.status, key_of_source(job)) == (JobStatus.PENDING, done.upload_key)
    assert [(each.job_id, each.lent) for each in kin_of(book, parent)] == [(there, True)]
    assert [each.id for each in book.do(Claim(ADMIN, "w", ("summary",))).jobs] == [there]


def test_a_job_that_was_cancelled_before_its_upload_has_the_output_when_it_is_retried(book: ChainBook) -> None:
    there = int(book.do(submission("text", type_="summary", ready=False)).job_id)
    book.do(Cancel(there))
    submitted(book)
    done = complete(book)
    assert book.job(there).status is JobStatus.CANCELLED
    book.do(Retry(there))
    job = book.job(there)
    assert (job.status, key_of_source(job)) == (JobStatus.PENDING, done.upload_key)


def test_a_file_that_is_the_same_as_an_output_needs_no_upload(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book)
    (child,) = book.children(parent)
    again = book.do(submission("text", type_="summary", ready=False))
    assert (again.job_id, again.existing, again.upload) == (child.id, True, False)
    assert key_of_source(book.job(child.id)) == done.upload_key


def test_a_submission_of_what_is_there_says_that_its_chain_is_another(book: ChainBook) -> None:
    submitted(book)
    assert book.do(submission("scan", then=SUMMARY)).ignored == ()
    assert book.do(submission("scan", then=(Step("index"),))).ignored == ("then",)


# --- what is kept


def test_an_output_stays_as_long_as_a_job_needs_it(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book)
    (child,) = book.children(parent)
    book.do(DeleteJob(parent))
    assert done.upload_key not in doomed(book)
    book.do(DeleteJob(child.id))
    assert done.upload_key in doomed(book)


def test_several_outputs_stay_together_as_long_as_a_job_needs_one(book: ChainBook) -> None:
    parent = submitted(book, then=(Step("ocr", "*"),))
    job, _ = complete_several(book, "1.png", "2.png")
    prefix = prefix_of(job.upload_key or "")
    for fact in book.proofs():
        read(book, fact, fact.key)
    one, two = book.children(parent)
    book.do(DeleteJob(parent))
    book.do(DeleteJob(one.id))
    assert prefix not in doomed(book)
    book.do(DeleteJob(two.id))
    assert prefix in doomed(book)


def test_a_former_result_stays_as_long_as_a_job_needs_it(book: ChainBook) -> None:
    parent = submitted(book)
    done = complete(book)
    (child,) = book.children(parent)
    book.do(Retry(parent))
    complete(book, "another")
    book.do(Prune((), objects=True, superseded_before=book.now + 5000))
    assert done.upload_key not in doomed(book)
    book.do(DeleteJob(child.id))
    assert done.upload_key in doomed(book)


# --- how much there is


def test_a_family_and_a_result_have_bounds(book: ChainBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MOST_IN_FAMILY", 4)
    parent = submitted(book, then=(Step("ocr", "*"),))
    complete_several(book, "1", "2", "3", "4")
    assert len(book.children(parent)) == 3
    assert book.said(parent) == "1 output has started nothing: its family has 4 jobs"
    monkeypatch.undo()
    book.do(Retry(parent))
    complete_several(book, "3")
    assert book.said(parent) is None


def test_what_is_known_of_a_family_goes_with_the_last_of_its_jobs(book: ChainBook) -> None:
    book.do(submission("text", type_="summary"))
    parent = submitted(book, then=(Step("ocr", "*", None, SUMMARY), Step("summary")))
    complete_several(book, "1", "2")
    proofs, alone = book.proofs(), submitted(book, "alone")
    for fact, name in zip(proofs, ("1", "2", "text", "3"), strict=True):
        read(book, fact, name)  # of which one is there already
    page = complete(book, "read", type_="ocr").id
    (summary,) = (child.id for child in book.children(page))
    assert book.probe.rows("families", "root", "jobs", "gone") == [(parent, 5, 1)]
    others = [child.id for child in book.children(parent) if child.id not in (1, page)]
    for job_id in (parent, alone, page, *others, 1):
        assert book.do(DeleteJob(job_id)) == JobDeleted(job_id)
    assert book.probe.rows("families", "root", "jobs", "gone") == [(parent, 5, 5)]
    assert book.do(DeleteJob(summary)) == JobDeleted(summary)
    assert book.probe.rows("families", "root") == []


# --- very many


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than two jobs are very many, of which two are made in a turn, of three outputs that are looked at."""
    monkeypatch.setattr(chains, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(chains, "A_PIECE", 2)
    monkeypatch.setattr(chains, "LOOKED_AT", 3)
    monkeypatch.setattr(chains, "MOST_LOOKS", 1)


def to_come(book: ChainBook, parent: int) -> int:
    place = book.job(parent).chain
    return place.rest.left if place is not None and place.rest is not None else 0


@pytest.mark.usefixtures("few")
def test_what_starts_very_many_jobs_makes_them_in_pieces(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = submitted(book, batch=number, then=(Step("ocr", "*.png"), Step("thumb", "*.png"), Step("none", "x")))
    book.do(CloseBatch(number))
    complete_several(book, *(f"{page}.png" for page in range(5)), "a.md", "b.md", "c.md")
    made, left = 2, [to_come(book, parent)]
    assert [(job.type, kin_name(job)) for job in book.children(parent)] == [("ocr", "0.png"), ("ocr", "1.png")]
    while open_operations(book):
        stands = turn(book)
        made += stands.changed - (made - 2)
        left.append(to_come(book, parent))
        assert len(book.children(parent)) == 10 - left[-1] == made
    assert (stands.state, stands.done, stands.changed, stands.total) == ("completed", 8, 8, 8)
    assert left == sorted(left, reverse=True)
    assert sorted((job.type, kin_name(job)) for job in book.children(parent)) == sorted(
        (type_, f"{page}.png") for type_ in ("ocr", "thumb") for page in range(5)
    )
    assert {job.batches for job in book.children(parent)} == {(number,)}
    chain = book.job(parent).chain
    assert chain is not None
    assert (chain.rest, chain.said) == (None, None)


def kin_name(job: Job) -> str:
    return whence(job.source_hash)[3]


@pytest.mark.usefixtures("few")
def test_neither_a_batch_ends_nor_a_stage_is_joined_before_all_is_made(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = submitted(book, batch=number, then=PAGES)
    book.do(CloseBatch(number))
    complete_several(book, "1.png", "2.png", "3.png")
    ends: list[Any] = []

    def all_that_there_is() -> None:
        for fact in book.proofs():
            read(book, fact, fact.key)
        while [job for job in book.children(parent) if job.status is JobStatus.PENDING and job.type == "ocr"]:
            page(book)
            ends.extend(each for each in (*book.events, *book.facts) if isinstance(each, BatchEnded | ManifestMade))

    all_that_there_is()
    assert (ends, len(book.children(parent)), to_come(book, parent)) == ([], 2, 1)
    assert turn(book).ended
    all_that_there_is()
    (made,) = ends
    assert len(manifest_of(book, book.job(made.job_id)).inputs) == 3


@pytest.mark.usefixtures("few")
def test_a_batch_ends_where_what_was_still_to_be_made_comes_to_nothing(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = submitted(book, batch=number, then=(Step("ocr"),))
    book.do(CloseBatch(number))
    complete_several(book, "1", "2", "3")
    book.do(*(Cancel(child.id) for child in book.children(parent)))
    assert not book.ended()
    assert book.database.broken() == []
    of_batch = JobFilter(batch=number)
    refused = book.do(BeginOperation(OperationPlan(DeleteBatch(number, True), filter=of_batch), ADMIN, closes=number))
    assert refused.code is RefusalCode.BATCH_RUNNING
    assert refused.detail == "Of batch 1 (scans) jobs are still to be started. Cancel it first."
    cancel = OperationPlan(CancelJobs(), filter=of_batch)
    book.do(BeginOperation(cancel, ADMIN, closes=number))
    assert book.ended() == [number]
    assert book.said(parent) == f"1 output has started nothing: batch {number} was cancelled"


def test_what_is_cancelled_with_its_batch_starts_nothing_and_is_not_joined(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    scan = split(book, batch=number)
    page(book)
    parent = submitted(book, "other", batch=number)
    (running,) = book.do(Claim(ADMIN, "w", ("pdf",), write_once=True, accepts=("options",))).jobs
    plan = OperationPlan(CancelJobs(), filter=JobFilter(batch=number))
    begun = book.do(BeginOperation(plan, ASKER, closes=number))
    waiting = next(child.id for child in book.children(scan) if child.status is JobStatus.PENDING)
    book.do(SelectJobs(begun.operation_id, 0, ((waiting, parent),), 2))
    complete_of(book, running)
    while open_operations(book):
        turn(book)
    assert book.ended() == [number]
    assert statuses(book) == {scan: "completed", 2: "completed", 3: "cancelled", parent: "completed"}
    stopped = [book.said(job_id) for job_id in (scan, parent)]
    assert stopped == [
        "nothing was joined as 'book': batch 1 was cancelled",
        "1 output has started nothing: batch 1 was cancelled",
    ]
    book.do(Retry(waiting))  # what is brought back is joined again
    page(book)
    assert book.manifests()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("what", ["another result", "deleted", "cancelled", "family"])
def test_what_is_still_to_be_made_is_not_where_the_job_is_another_by_then(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    parent = submitted(book, then=(Step("ocr"),))
    complete_several(book, "1", "2", "3", "4")
    (operation,) = open_operations(book)
    said = None
    match what:
        case "another result":
            book.do(Retry(parent))
            complete_several(book, "5")
        case "deleted":
            book.do(DeleteJob(parent))
        case "cancelled":
            book.do(EndOperation(operation.id))
            said = f"2 outputs have started nothing: operation {operation.id} was cancelled"
        case "family":
            monkeypatch.setattr(chains, "MOST_IN_FAMILY", 4)
            said = "1 output has started nothing: its family has 4 jobs"
    while open_operations(book):
        turn(book)
    with book.reader() as reader:
        names = [kin.name for kin in reader.kin.of(parent, limit=9)]
        job = reader.job(parent)
    assert names == ["1", "2", *{"another result": ["5"], "family": ["3"]}.get(what, [])]
    assert (job is None) == (what == "deleted")
    assert job is None or (job.chain is not None and (job.chain.rest, job.chain.said) == (None, said))


@pytest.mark.usefixtures("few")
def test_a_rerun_that_is_under_way_stops_nothing(book: ChainBook) -> None:
    parent = submitted(book, then=(Step("ocr"),))
    complete_several(book, "1", "2", "3")
    book.do(Retry(parent))
    assert turn(book).changed == 1
    with book.reader() as reader:
        assert [(kin.attempt, kin.name) for kin in reader.kin.of(parent, limit=9)] == [(1, "1"), (1, "2"), (1, "3")]


@pytest.mark.usefixtures("few")
def test_a_stage_of_too_many_jobs_is_not_joined(book: ChainBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "MOST_INPUTS", 2)
    parent = submitted(book, then=PAGES)
    complete_several(book, "1.png", "2.png", "3.png")
    assert turn(book).ended
    assert not [job.id for job in book.children(parent) if job.chain is not None and job.chain.joined]
    assert book.said(parent) == "nothing was joined as 'book': the stage has more than 2,000 jobs"


# --- cancelled with what came of it


def statuses(book: ChainBook) -> dict[int, str]:
    with book.reader() as reader:
        return {job.id: job.status.value for number in range(1, 12) if (job := reader.job(number)) is not None}


def deep(book: ChainBook, *, joined: bool = False) -> int:
    """Three pages of a document, one of which is read and being summed up; one was there before."""
    book.do(submission("text", type_="summary"))
    join = Join("book") if joined else None
    parent = submitted(book, then=(Step("ocr", "*", None, (Step("summary"), Step("index")), join),))
    complete_several(book, "1", "2", "3")
    for fact in book.proofs():
        read(book, fact, fact.key)
    complete(book, type_="ocr")
    return parent


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
def test_what_came_of_a_job_is_cancelled_with_it(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch, *, pieces: bool, joined: bool
) -> None:
    if pieces:
        monkeypatch.setattr(families, "A_TURN", 1)
    parent = deep(book, joined=joined)
    assert statuses(book) == {
        1: "pending", parent: "completed", 3: "completed", 4: "pending", 5: "pending", 6: "pending",
    }  # fmt: skip
    alone = book.do(Cancel(parent))
    assert alone.code is RefusalCode.JOB_ENDED
    if pieces:
        with monkeypatch.context() as full:
            full.setattr(beginning, "MOST_OPEN", 0)
            assert book.do(Cancel(parent, children=True)).code is RefusalCode.SLOW_DOWN
        assert "cancelled" not in statuses(book).values()
    done = book.do(Cancel(parent, reason="a mistake", children=True))
    assert (done.status, done.operation is not None) == (JobStatus.COMPLETED, pieces)
    while open_operations(book):
        turn(book)
    # What was there before goes on; no stage is joined of what is left.
    assert statuses(book) == {
        1: "pending", parent: "completed", 3: "completed", 4: "cancelled", 5: "cancelled", 6: "cancelled",
    }  # fmt: skip
    assert book.job(4).last_error == "cancelled: a mistake"
    assert pieces or done.children == 3


@pytest.mark.parametrize("size", [1, 200])
def test_many_jobs_are_cancelled_with_what_came_of_them_and_all_of_it_is_undone(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(families, "A_TURN", size)
    parent = deep(book, joined=True)
    waits = submitted(book, "waits")
    before = statuses(book)
    begun = book.do(BeginOperation(OperationPlan(CancelFamilies("a mistake"), ids=(parent, waits)), ASKER))
    book.do(SelectJobs(begun.operation_id, 0, ((parent,), (waits,)), 2))
    while open_operations(book):
        turn(book)
    after = {1: "pending", parent: "completed", 3: "completed", waits: "cancelled"}
    assert statuses(book) == after | dict.fromkeys((4, 5, 6), "cancelled")
    assert book.job(4).last_error == "cancelled: a mistake"
    with book.reader() as reader:
        done = reader.operation(begun.operation_id)
    assert done is not None
    assert (done.state, done.total, done.done, done.changed, done.reason) == ("completed", 5, 5, 4, None)
    undone = book.do(UndoOperation(begun.operation_id, ASKER))
    while open_operations(book):
        turn(book)
    assert statuses(book) == before
    with book.reader() as reader:
        back = reader.operation(undone.operation_id)
    assert back is not None
    assert (back.total, back.changed) == (4, 4)


@pytest.mark.usefixtures("few")
def test_what_is_still_to_be_made_is_cancelled_too(book: ChainBook) -> None:
    parent = submitted(book, then=(Step("ocr"),))
    complete_several(book, "1", "2", "3")
    assert book.do(Cancel(parent, children=True)).children == 2
    assert open_operations(book) == []
    assert book.said(parent) == f"1 output has started nothing: what came of job {parent} was cancelled"
    waiting = submitted(book, "another")
    assert book.do(Cancel(waiting, children=True)).status is JobStatus.CANCELLED
    missing = book.do(Cancel(999, children=True))
    assert missing.code is RefusalCode.NO_SUCH_JOB


# --- joining


def test_when_all_of_a_stage_have_ended_one_job_joins_them(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = split(book, batch=number)
    book.do(CloseBatch(number))
    one = page(book)
    assert not book.manifests()
    two = page(book)
    assert not book.ended()
    (made,) = book.manifests()
    job = book.job(made.job_id)
    assert (job.type, job.status, job.batches, job.source_path) == (
        "book", JobStatus.UPLOADING, (number,), "in/a/manifest.json",
    )  # fmt: skip
    found = manifest_of(book, job)
    assert [(each.name, each.job_id, each.key) for each in found.inputs] == [
        ("1.png/page.md", one, book.key(one)), ("2.png/page.md", two, book.key(two)),
    ]  # fmt: skip
    assert ([each.sha256 is not None for each in found.inputs], found.missing) == ([True, True], [])
    with book.reader() as reader:
        assert reader.kin.awaited_manifests() == [made]
        assert reader.awaited_sources() == [], "no client uploads it, so it is not given up for being late"
    for change in (Cancel(job.id), Retry(job.id)):
        book.do(change)
    assert book.job(job.id).status is JobStatus.UPLOADING
    assert [fact for fact in book.facts if isinstance(fact, SourceAwaited) and fact.job_id == job.id] == []
    assert len(book.manifests()) == 1, "told again"
    job = book.job(job.id)
    book.do(SourceArrived(job.source_hash, job.source_size or 0, True, epoch=9))
    assert [each.id for each in book.do(Claim(ADMIN, "w", ("book",))).jobs] == [job.id]
    assert parent


def test_one_bad_page_costs_a_page_and_comes_with_the_next_book(book: ChainBook) -> None:
    parent = split(book)
    page(book)
    bad = page(book, well=False)
    (first,) = book.manifests()
    found = manifest_of(book, book.job(first.job_id))
    assert ([each.name for each in found.inputs], [each.name for each in found.missing]) == (
        ["1.png/page.md"], ["2.png"],
    )  # fmt: skip
    assert (found.missing[0].job_id, found.missing[0].status, found.missing[0].error) == (bad, "dead", "blurred")
    book.do(Retry(bad, reset_attempts=True))
    page(book)
    (second,) = book.manifests()
    assert len(manifest_of(book, book.job(second.job_id)).inputs) == 2
    assert {job.id for job in book.children(parent)} >= {first.job_id, second.job_id}


def test_a_page_whose_retry_is_undone_ends_its_stage_as_it_would_have(book: ChainBook) -> None:
    parent = split(book)
    first = page(book)
    book.do(Retry(first, undo="token"))
    (other,) = (job.id for job in book.children(parent) if job.id != first)
    book.do(DeleteJob(other))
    assert books(book) == []
    book.do(Undo("token"))
    assert books(book) == [parent], "all that is left of it has ended"


def test_what_is_joined_is_joined_once_whatever_its_type_is_by_now(book: ChainBook) -> None:
    split(book)
    page(book)
    last = page(book)
    (made,) = book.manifests()
    book.do(Retry(last, undo="token"))
    book.do(Retype(made.job_id, "leaflet"))
    book.do(Undo("token"))
    assert (book.manifests(), books(book)) == ([], []), "the leaflet is of these very pages"
    assert book.job(made.job_id).type == "leaflet"


def test_a_stage_that_brings_nothing_is_not_joined(book: ChainBook) -> None:
    parent = split(book)
    page(book, well=False)
    page(book, well=False)
    assert not book.manifests()
    assert book.said(parent) == "nothing was joined as 'book': no job of the stage has brought an output"
    book.do(Retry(book.children(parent)[0].id, reset_attempts=True))
    page(book)
    assert book.said(parent) is None


def test_what_is_joined_stays_as_long_as_the_job_that_joins_it(book: ChainBook) -> None:
    parent = split(book)
    one, two = page(book), page(book)
    (made,) = book.manifests()
    for job_id in (one, two, parent):
        book.do(DeleteJob(job_id))
    assert not {book.key(one), book.key(two)} & doomed(book)
    book.do(DeleteJob(made.job_id))
    assert {book.key(one), book.key(two)} <= doomed(book)


def test_a_canary_takes_no_job_that_joins_others(book: ChainBook) -> None:
    split(book)
    page(book)
    page(book)
    (made,) = book.manifests()
    job = book.job(made.job_id)
    book.do(SourceArrived(job.source_hash, job.source_size or 0, True, epoch=9))
    assert complete(book, "book", type_="book").id == job.id
    book.do(Register(ADMIN, "new", "book", converter="binder 2"))
    answer = book.do(BeginCanary(CanaryPlan(("book",), "binder 2"), (job.id,), "token:1", "admin"))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.NOTHING_TO_COMPARE


def test_a_manifest_stays_as_long_as_a_job_has_it_as_its_source(book: ChainBook) -> None:
    parent = split(book)
    page(book)
    page(book, well=False)
    (first,) = book.manifests()
    with book.reader() as reader:
        text = reader.kin.manifest(first.source_hash)
    second = int(book.do(submission(text, type_="volume", ready=False)).job_id)
    assert second != first.job_id
    book.do(DeleteJob(first.job_id))
    assert manifest_of(book, book.job(second)).parent == parent


def test_objects_that_are_to_stay_stay_when_the_last_job_that_needs_them_goes(book: ChainBook) -> None:
    parent = split(book)
    one, two = page(book), page(book)
    (made,) = book.manifests()
    for job_id in (parent, one, two, made.job_id):
        book.do(DeleteJob(job_id, objects=False))
    assert doomed(book) == set()


def test_what_is_joined_is_found_before_and_after_it_was_copied(book: ChainBook) -> None:
    split(book)
    one = complete(book, "one", type_="ocr", name="page.md", write_once=False).upload_key or ""
    two = complete(book, "two", type_="ocr", name="page.md", write_once=False, seen=Seen.UNKNOWN).upload_key or ""
    (made,) = book.manifests()

    def keys() -> list[str]:
        with book.reader() as reader:
            found = inputs_of(reader, book.job(made.job_id))
        assert found is not None
        return [each.key for each in found]

    copies = [accepted_key(book.store.installation, key) for key in (one, two)]
    assert keys() == [one, two]
    book.do(OutputChecked(output_of(two).job_id, 1, two, ObjectSeen(Seen.PRESENT, 3)))
    book.do(OutputsKept((KeptOutput(one, copies[0]),), ()))
    assert keys() == [copies[0], two]
    book.do(OutputsKept((KeptOutput(two, copies[1]),), ()))
    assert keys() == copies
    book.do(DeleteJob(output_of(one).job_id))
    assert keys() == copies


def test_a_result_of_the_original_is_joined_as_any_other(book: ChainBook) -> None:
    book.do(submission("1.png", type_="ocr"))
    taken = page(book)
    original = original_output_key(hash_of("1.png"))
    book.probe.change("attempts", {"output_key": original}, job_id=taken)
    book.probe.change("jobs", {"output_key": original}, id=taken)
    book.probe.change("files", {"key": original, "job_id": None, "attempt": None}, key=book.key(taken))
    submitted(book, then=PAGES)
    complete_several(book, "1.png", "2.png")
    for fact, name in zip(book.proofs(), ("1.png", "2.png"), strict=True):
        read(book, fact, name)
    page(book)
    (made,) = book.manifests()
    assert manifest_of(book, book.job(made.job_id)).inputs[0].key == original
    for _ in range(2):
        book.do(Retry(taken))
        page(book)
    assert book.do(DeleteJob(made.job_id)) == JobDeleted(made.job_id)
    assert original not in doomed(book)
    assert book.do(DeleteJob(taken)) == JobDeleted(taken)


def test_a_page_of_many_documents_takes_what_it_starts_along_to_its_copy(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "MOST_STEPS", 1)
    then = (Step("ocr", "*.png", None, SUMMARY, Join("book")),)
    parents = [submitted(book, number, then=then) for number in range(3)]
    for _ in parents:
        complete_several(book, "1.png")
        for fact in book.proofs():
            read(book, fact, "an empty page")
    key = complete(book, type_="ocr", write_once=False).upload_key or ""
    assert len(book.manifests()) == len(parents)
    copy = accepted_key(book.store.installation, key)
    book.do(OutputsKept((KeptOutput(key, copy),), ()))
    assert [key_of_source(job) for job in book.children(output_of(key).job_id) if job.type == "summary"] == [copy]


def test_a_page_that_is_deleted_is_waited_for_no_more(book: ChainBook) -> None:
    parent = split(book)
    page(book)
    (left,) = [job.id for job in book.children(parent) if job.status is JobStatus.PENDING]
    book.do(DeleteJob(left))
    (made,) = book.manifests()
    assert len(manifest_of(book, book.job(made.job_id)).inputs) == 1


# --- very many stages at once


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message joins two stages."""
    join_two_at_once(monkeypatch)


def turn_by_turn(book: ChainBook) -> list[int]:
    """The batches that have ended meanwhile."""
    ends = []
    while open_operations(book):
        turn(book)
        ends += book.ended()
    return ends


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("well", [True, False])
def test_of_very_many_stages_that_end_at_once_the_others_are_joined_behind_it(book: ChainBook, *, well: bool) -> None:
    parents = documents(book, 5, batched=True)
    page(book, well)
    assert books(book) == (parents[:2] if well else [])
    assert book.ended() == ([] if well else [1, 2])
    assert book.database.broken() == []
    (operation,) = open_operations(book)
    assert (operation.verb, operation.total, operation.subject) == ("join-stages", 3, "server")
    refused = book.do(EndOperation(operation.id))
    assert refused.code is RefusalCode.OPERATION_RUNNING
    ends = turn_by_turn(book)
    assert (books(book), ends) == ((parents, []) if well else ([], [3, 4, 5]))
    with book.reader() as reader:
        done = reader.operation(operation.id)
    assert done is not None
    assert (done.state, done.done, done.changed) == ("completed", 3, 3 if well else 0)


@pytest.mark.usefixtures("narrow")
def test_what_is_cancelled_deleted_or_done_anew_meanwhile_is_not_joined(book: ChainBook) -> None:
    parents = documents(book, 6, batched=True)
    page(book)
    of_batch = OperationPlan(CancelJobs(), filter=JobFilter(batch=3))
    begun = book.do(BeginOperation(of_batch, ASKER, closes=3))
    assert book.ended() == [3]
    book.do(SelectJobs(begun.operation_id, 0, (), 0))
    assert [operation.verb for operation in open_operations(book)] == ["join-stages"]
    book.do(Cancel(parents[3], children=True))
    assert not book.ended()
    book.do(DeleteJob(parents[4]))
    assert book.ended() == [5]
    ends = turn_by_turn(book)
    assert ends == [4]
    assert books(book) == [parents[0], parents[1], parents[5]]
    assert book.said(parents[2]) == "nothing was joined as 'book': batch 3 was cancelled"


@pytest.mark.usefixtures("narrow")
def test_a_batch_that_has_ended_is_deleted_while_others_wait_for_their_stages(book: ChainBook) -> None:
    documents(book, 4, batched=True)
    page(book, well=False)
    assert book.ended() == [1, 2]
    for batch, refused in ((1, None), (3, RefusalCode.BATCH_RUNNING)):
        plan = OperationPlan(DeleteBatch(batch, True), filter=JobFilter(batch=batch))
        assert getattr(book.do(BeginOperation(plan, ADMIN, closes=batch)), "code", None) is refused


@pytest.mark.usefixtures("narrow")
def test_stages_of_an_operation_that_meets_a_bug_are_waited_for_no_longer(book: ChainBook) -> None:
    documents(book, 4, batched=True)
    page(book)
    (operation,) = open_operations(book)
    book.do(EndOperation(operation.id, "the server met a bug"))
    assert book.ended() == [3, 4]


@pytest.mark.usefixtures("narrow")
def test_many_jobs_that_are_cancelled_at_once_leave_stages_to_be_joined_behind_it(book: ChainBook) -> None:
    parents = [submitted(book, number, then=PAGES) for number in range(4)]
    for parent in parents:
        complete_several(book, "1.png", "2.png")
        for fact, name in zip(book.proofs(), ("a", "b"), strict=True):
            read(book, fact, f"{parent} {name}")
    for _ in parents:
        page(book)
        page(book)
    made = books(book)
    again = [max(child.id for child in book.children(parent) if child.type == "ocr") for parent in parents]
    book.do(*(Retry(job_id) for job_id in again))
    book.do(Batch(tuple(Cancel(job_id) for job_id in again)))
    assert len(books(book)) == len(made) + 2
    turn_by_turn(book)
    assert sorted(books(book)) == sorted([*made, *parents])


@pytest.mark.usefixtures("narrow")
def test_stages_of_a_batch_that_end_as_it_is_cancelled_are_not_joined_behind_it(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parents = [submitted(book, name, then=PAGES, batch=number) for name in range(20)]
    others = []
    for _ in parents:
        complete_several(book, "1.png", "2.png")
        first, second = book.proofs()
        read(book, first, first.key)
        page(book)
        others.append(second)
    for fact in others:
        read(book, fact, fact.key)
    left = [job.id for parent in parents for job in book.children(parent) if job.status is JobStatus.PENDING]
    assert len(left) == len(parents)
    begun = book.do(BeginOperation(OperationPlan(CancelJobs(), filter=JobFilter(batch=number)), ASKER, closes=number))
    book.do(SelectJobs(begun.operation_id, 0, (tuple(left),), len(left)))
    turn(book)  # the only page: the cancellation has ended with it
    assert book.ended() == [number]
    assert [each.verb for each in open_operations(book)] == ["join-stages"]
    assert turn_by_turn(book) == []
    assert books(book) == []
    stopped = {book.said(parent) for parent in parents}
    assert stopped == {"nothing was joined as 'book': batch 1 was cancelled"}


@pytest.mark.usefixtures("few")
def test_what_was_made_so_far_is_not_joined_where_the_rest_is_cancelled(book: ChainBook) -> None:
    parent = submitted(book, then=PAGES)
    complete_several(book, "1.png", "2.png", "3.png")
    for fact in book.proofs():
        read(book, fact, fact.key)
    page(book)
    page(book)
    assert to_come(book, parent) == 1
    assert book.do(Cancel(parent, children=True)).children == 0
    assert open_operations(book) == []
    assert books(book) == []


@pytest.mark.usefixtures("few")
def test_a_batch_does_not_wait_for_what_a_deleted_job_would_have_started(book: ChainBook) -> None:
    number = int(book.do(MakeBatch("scans")).batch_id)
    parent = submitted(book, batch=number, then=(Step("ocr"),))
    book.do(CloseBatch(number))
    complete_several(book, "1", "2", "3")
    book.do(*(Cancel(child.id) for child in book.children(parent)))
    book.do(DeleteJob(parent))
    assert book.ended() == [number]
    assert open_operations(book) == []


def test_what_is_joined_where_the_walk_was_is_cancelled_too(book: ChainBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "A_TURN", 1)
    parent = split(book)
    begun = book.do(BeginOperation(OperationPlan(CancelFamilies(), ids=(parent,)), ASKER))
    book.do(SelectJobs(begun.operation_id, 0, ((parent,),), 1))
    turn(book)
    turn(book)
    read_last = page(book)
    assert books(book) == [parent]
    while open_operations(book):
        turn(book)
    ended = {job.id: job.status.value for job in book.children(parent)}
    assert ended.pop(read_last) == "completed"
    assert set(ended.values()) == {"cancelled"}
