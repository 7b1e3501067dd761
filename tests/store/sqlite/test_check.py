"""The checker finds nothing in a sound database, and names what is wrong with one that is not."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import apsw
import pytest

from actors.effects.transaction import Rules
from actors.messages import Cancel, Claim, Complete, DeleteJob, Fail, MakeBatch, ObjectSeen, Retry, Seen
from blobforge.job import RetryPolicy
from blobforge.store.sql.invariants import EXAMPLES, INVARIANTS
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import migrate, migrations
from tests.store.making import ADMIN, Book, submission
from tests.store.test_counters import WORKERS, Plan

# What somebody, or a bug, did to the file; and what the finding must say. One job of each status is there:
# 1 completed, 2 running, 3 pending, 4 failed, 5 dead, 6 cancelled, 7 uploading, 8 running too.
DAMAGE: list[tuple[str, str]] = [
    ("UPDATE jobs SET heartbeat_at = NULL WHERE id = 2", "1 running jobs without worker, lease, start"),
    ("DELETE FROM attempts WHERE job_id = 2", "1 running jobs whose latest attempt is not on record as open"),
    ("UPDATE attempts SET lease = 'other' WHERE job_id = 2", "whose latest attempt is not on record as open"),
    ("UPDATE attempts SET worker_id = 'w9' WHERE job_id = 2", "whose latest attempt is not on record as open"),
    ("INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ordinal) VALUES (2, 9, 'w1', 'l', 1, 2)",
     "1 jobs with more than one open attempt: 2."),
    ("UPDATE attempts SET ordinal = 7 WHERE job_id = 2", "1 attempts that are counted wrong"),
    ("UPDATE attempts SET outcome = NULL, ended_at = NULL WHERE job_id = 4", "open attempts of jobs that are not"),
    ("UPDATE jobs SET lease = 'same' WHERE id IN (2, 8)", "2 running jobs that share their lease"),
    ("INSERT INTO superseded (job_id, attempt, at, key, newer) VALUES (1, 1, 1, 'k', 0)",
     "1 results that are on record as replaced"),
    ("UPDATE workers SET registered = 0", "2 running jobs of a worker that is unknown"),
    ("UPDATE attempts SET ended_at = NULL WHERE job_id = 1", "1 attempts that are half ended"),
    ("UPDATE attempts SET outcome = 'eaten' WHERE job_id = 4", "1 attempts with an outcome that does not exist"),
    ("UPDATE jobs SET attempt = 0, attempts = 0 WHERE id = 4", "numbered below 1 or above their job's latest"),
    ("UPDATE jobs SET attempt = 7 WHERE id = 6", "1 jobs whose latest attempt has no record: 6."),
    ("UPDATE jobs SET lease = 'stolen' WHERE id = 1", "1 jobs that keep a lease which is not their latest"),
    ("PRAGMA foreign_keys=OFF; DELETE FROM jobs WHERE id = 1", "foreign keys lead nowhere"),
    ("UPDATE jobs SET completed_at = NULL WHERE id = 1", "1 completed jobs without a time or a worker: 1."),
    ("UPDATE attempts SET outcome = 'lost' WHERE job_id = 1", "1 completed jobs whose latest attempt is not the"),
    ("UPDATE jobs SET output_key = 'outputs/9/1/output' WHERE id = 1", "whose output is another attempt's"),
    ("UPDATE jobs SET upload_key = 'outputs/9/1/output' WHERE id = 2", "write to another key than their attempt"),
    ("DELETE FROM files WHERE job_id = 1", "1 jobs whose output is not on record"),
    ("UPDATE jobs SET result = '{}' WHERE id = 3", "not completed, with an output or a result of no attempt"),
    ("UPDATE jobs SET kept_attempt = 1 WHERE id = 4", "keep the result of an attempt that did not complete"),
    ("UPDATE jobs SET result_size = 70000 WHERE id = 1", "1 jobs with a result of which is said that it is kept"),
    ("INSERT INTO results VALUES (1, 9, '{}')", "1 results kept aside of what is no attempt"),
    ("UPDATE jobs SET worker_id = 'w1' WHERE id = 3", "1 jobs that nobody holds, with a worker: 3."),
    ("UPDATE jobs SET not_before = NULL WHERE id = 4", "1 failed jobs without the end of their back-off"),
    ("UPDATE jobs SET not_before = 5 WHERE id = 2", "1 jobs that wait for a time, and are neither failed nor"),
    ("UPDATE jobs SET avoid = '[\"w1\"]' WHERE id = 3", "1 jobs that are kept from workers, but not pending"),
    ("UPDATE jobs SET releases = 9 WHERE id = 3", "1 jobs that were given back more often in a row than"),
    ("UPDATE attempts SET outcome = 'released' WHERE job_id = 4", "1 failed jobs whose latest attempt did not fail"),
    ("UPDATE jobs SET completed_at = NULL WHERE id = 6", "1 dead or cancelled jobs without a time: 6."),
    ("UPDATE jobs SET last_error = NULL WHERE id = 5", "1 dead jobs without a reason: 5."),
    ("UPDATE jobs SET completed_at = 1 WHERE id = 3", "have not ended, with the time of their end"),
    ("UPDATE jobs SET lease = 'l' WHERE id = 7", "uploading, failed or cancelled jobs with a lease"),
    ("UPDATE jobs SET losses = 9 WHERE id = 3", "charged more, or less, than they were tried"),
    ("UPDATE jobs SET attempts = max_attempts, attempt = 9 WHERE id = 4", "failed jobs that have spent"),
    ("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'jobs'", "5 jobs with an id that may be given again"),
    ("UPDATE jobs SET source_hash = 'XYZ' WHERE id = 3", "1 jobs whose source is no SHA-256: 3."),
    ("UPDATE job_counts SET n = n + 1 WHERE status = 'dead'", "counters of jobs that are not what counting says"),
    ("UPDATE job_counts SET output_bytes = output_bytes + 1 WHERE status = 'dead'", "counters of bytes"),
    ("UPDATE jobs SET more_paths = 1 WHERE id = 1", "further paths than they say"),
    ("UPDATE batch_counts SET n = n + 1 WHERE status = 'completed'", "1 completed pdf: 2, 1"),
    ("UPDATE batches SET closed_at = 1, ended_at = 1, endings = 1", "1 batches that have ended and are waited for"),
    ("INSERT INTO texts_indexed VALUES (1, 3)", "3 jobs that the index of texts lacks, though it should have them"),
    ("DELETE FROM batch_jobs WHERE job_id = 3", "1 jobs whose batches are missing from the list of batches: 3."),
    ("UPDATE jobs SET batches = NULL WHERE id = 3", "1 jobs in the list of batches under a batch"),
    ("UPDATE jobs SET chain = '{\"parent\":1,\"source\":\"outputs/1/1/output\"}' WHERE id = 3",
     "1 jobs whose source is an output, of which that is not on record: 3."),
    ("INSERT INTO kin VALUES (1, 1, 0, 'a.md', 3, 1)", "1 outputs on record as the sources of jobs"),
    ("UPDATE jobs SET source_hash = 'unproven/1/1/0/a' WHERE id = 3", "1 jobs whose source is not proven, and that"),
    ("UPDATE jobs SET chain = '{\"joins\":true}' WHERE id = 3", "1 jobs that join others, of whose manifest"),
    ("UPDATE jobs SET chain = '{\"rest\":{\"operation\":1,\"step\":0,\"after\":\"a\",\"left\":1}}' WHERE id = 3",
     "1 jobs of whose result more is to be made, by an operation that has ended: 3."),
    ("INSERT INTO families VALUES (1, 100001, 0)", "1 families of more jobs than there may be"),
    ("INSERT INTO families VALUES (1, 1, 2)", "1 families of which no job is left: 1."),
    ("DELETE FROM job_counts WHERE status = 'pending'", "pending pdf 3: 0, 1"),
    ("UPDATE converter_counts SET n = 7", "marker 1.3 completed pdf 3: 7, 1"),
    ("INSERT INTO deferred_counts VALUES ('pdf', 3, 7)", "pdf 3: 7, 0"),
    ("UPDATE attempts SET converter = 'other 1'", "1 jobs with a result of another converter than"),
    ("UPDATE jobs SET compare_until = 1 WHERE id = 1", "1 jobs with a result to be compared, and none to compare it"),
    ("UPDATE jobs SET lane = 0", "without their hash, or in another lane: 3."),
    ("DELETE FROM requirement_sets", "1 jobs with requirements in another lane than that of their set: 7."),
    ("UPDATE jobs SET turn = 7 WHERE id = 7", "1 jobs with a group and no turn, or with a turn and no group: 7."),
    ("UPDATE jobs SET of_group = 'x', turn = 1 WHERE id = 7", "1 types with jobs that have a group, and without"),
    ("INSERT INTO group_lines (type, lane, priority, of_group, ready, turn, job) VALUES ('pdf', 4, 3, 'x', 1, 5, 3)",
     "1 groups of which the queue keeps other jobs than there are: pdf 4 3 x."),
    ("INSERT INTO group_lines (type, lane, priority, of_group, ready, turn, job, weight)"
     " VALUES ('pdf', 4, 3, 'x', 1, 5, 3, 2)", "keeps with another weight than is set for them: pdf 4 3 x."),
    ("INSERT INTO group_runs VALUES ('pdf', 3, 1)", "1 groups of which the queue keeps another number of running"),
    ("UPDATE jobs SET options_hash = ''", "1 jobs with options that are no JSON, or without their hash"),
    ("UPDATE worker_counts SET n = 5 WHERE status = 'online'", "online: 5, 1"),
    ("DELETE FROM job_tags", "1 jobs whose tags are missing from the list of tags"),
    ("INSERT INTO job_tags VALUES ('odd', 3)", "under a tag that they do not have"),
    ("UPDATE jobs SET metadata = '{' WHERE id = 3", "1 jobs whose metadata, result, progress or tags are no JSON"),
    ("UPDATE files SET key = 'litestream/x' WHERE job_id = 1", "neither a source nor an attempt's output"),
    ("UPDATE files SET size = -1 WHERE job_id = 1", "a size or a checksum that cannot be"),
    ("UPDATE files SET job_id = 3, key = 'outputs/3/1/output' WHERE job_id = 1", "outputs whose attempt is not on"),
    ("UPDATE workers SET enabled = 0", "1 workers that are there, but disabled or not registered"),
    ("UPDATE workers SET drain = 1", "1 workers that drain by one column and not by the other"),
    ("INSERT INTO happenings VALUES (60, 1, 'pdf', 'eaten', 1)", "happenings that count nothing, or that do not"),
    ("INSERT INTO happenings VALUES (60, 1, 'pdf', 'completed', 1), (60, 2, 'pdf', 'completed', 1);"
     " INSERT INTO happenings_of_all VALUES (60, 2, 'completed', 2)",
     "1 happenings of all types that are not the sum of each (step, slot, what): 60 2 completed."),
    ("INSERT INTO depths VALUES (60, 1, '', 'online', 1), (60, 2, '', 'online', 0), (60, 3, '', 'online', 1);"
     " INSERT INTO depths_of_all VALUES (60, 3, 'online', 1)",
     "1 depths of all types that are not the sum of each (step, slot, status): 60 2 online."),
    ("INSERT INTO splits VALUES (300, 1, 'pdf', 'eaten', 1, 1)", "splits that count nothing, or that do not"),
    ("INSERT INTO splits VALUES (300, 1, '', 'ran', 1, 1), (300, 2, '', 'ran', 1, 1)", "not the sum of each"),
    ("UPDATE failure_counts SET n = n + 1", "counters of causes that are not what counting says"),
    ("INSERT INTO doomed_objects SELECT 'sources/' || source_hash, 'deleting', 1, 0, 0, 0 FROM jobs WHERE id = 3",
     "1 sources that are being deleted, and have jobs"),
    ("PRAGMA foreign_keys=OFF; UPDATE jobs SET output_key = 'outputs/' || source_hash WHERE id = 1; "
     "INSERT INTO doomed_objects (key, state, due_at) SELECT output_key, 'deleting', 0 FROM jobs WHERE id = 1",
     "1 results that are being deleted, and are those of jobs"),
    ("INSERT INTO doomed_objects VALUES ('litestream/x', 'waiting', 1, 0, 0, 0)", "to be deleted that are none"),
    ("INSERT INTO searches VALUES ('sweep', 's', 'done', 1, 0, 0, '', '', NULL, 0, 0, 0, 0, 0, NULL)",
     "1 searches of the object store that go on and have ended, or neither: sweep."),
    ("INSERT INTO type_settings (type, made_by) VALUES ('pdf/canary/9', 'm 1')", "1 types of comparisons"),
    ("UPDATE jobs SET type = 'pdf/canary/9' WHERE id = 3", "1 comparisons that no canary knows: 3."),
    ("INSERT INTO canaries VALUES (9, '[]', 'm 1', NULL, 1, 1, 1.5, 5, 'x', 'x', 1, 2, NULL);"
     " INSERT INTO canary_jobs VALUES (9, 3, 1, 1)", "1 comparisons that have not ended, of canaries that are"),
    ("UPDATE workers SET token_id = 1, secret_hash = 'x'", "1 workers with two owners"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at rest with a job of each status."""
    book = Book(tmp_path_factory.mktemp("check") / "x.db", rules=Rules(RetryPolicy(jitter=0)))
    book.register("w1")

    def claim() -> int:
        return int(book.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0].id)

    book.do(MakeBatch("scans"))
    book.do(submission(1, tags=("a", "b"), batch=1))
    job = claim()
    seen = ObjectSeen(Seen.PRESENT, 5)
    book.do(Complete(ADMIN, "w1", job, output_key=book.key(job, 1), output=seen, result="{}", converter="marker 1.3"))
    book.do(submission(2))
    claim()
    book.do(submission(3, options='{"a":1}', batch=1))
    book.do(submission(4, priority=1), submission(5, priority=1, max_attempts=1))
    book.do(Fail(ADMIN, "w1", claim(), "boom"), Fail(ADMIN, "w1", claim(), "boom"))
    book.do(submission(6), submission(7, ready=False, requires='["gpu"]'), submission(8, priority=1))
    book.do(Cancel(6))
    assert claim() == 8
    statuses = [row[0] for row in book.rows("SELECT status FROM jobs ORDER BY id")]
    assert statuses == ["completed", "running", "pending", "failed", "dead", "cancelled", "uploading", "running"]
    book.close()
    return book.path


def test_a_sound_database_has_no_findings_and_is_left_as_it_was(sound: Path) -> None:
    before = {path.name: path.read_bytes() for path in sound.parent.iterdir()}
    assert check(sound) == []
    assert {path.name: path.read_bytes() for path in sound.parent.iterdir()} == before, "not even a side file"


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[f"{i:02}" for i in range(len(DAMAGE))])
def test_each_damage_is_found(sound: Path, tmp_path: Path, damage: str, said: str) -> None:
    path = tmp_path / "x.db"
    shutil.copy(sound, path)
    connection = apsw.Connection(str(path))
    before = connection.total_changes()
    connection.execute(damage)
    assert connection.total_changes() > before
    connection.close()
    findings = check(path)
    assert any(said in finding for finding in findings), findings
    assert all(finding.endswith(".") and "\n" not in finding for finding in findings)


def test_every_invariant_has_a_damage_that_breaks_it(sound: Path, tmp_path: Path) -> None:
    broken = set()
    for number, (damage, _) in enumerate(DAMAGE):
        path = tmp_path / f"{number}.db"
        shutil.copy(sound, path)
        connection = apsw.Connection(str(path))
        connection.execute(damage)
        connection.close()
        findings = check(path)
        broken |= {each.broken for each in INVARIANTS if any(each.broken in finding for finding in findings)}
    unproven = {each.broken for each in INVARIANTS} - broken
    assert unproven == set()


def test_many_offenders_are_counted_and_some_are_named(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    shutil.copy(sound, path)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE jobs SET source_hash = 'x' || id")
    connection.close()
    (finding,) = check(path)
    assert finding == f"8 jobs whose source is no SHA-256: {', '.join(map(str, range(1, EXAMPLES + 1)))}, ...."


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_invariants_hold(tmp_path: Path, seed: int) -> None:
    """Random messages in random transactions, jobs deleted among them; checked beside the open writer."""
    book = Book(tmp_path / "x.db", rules=Rules(RetryPolicy(max_losses=2)), seed=seed)
    plan = Plan(book, seed)
    book.register(*WORKERS)
    deleted = 0
    for round_ in range(200):
        messages = [plan.message() for _ in range(plan.dice.randint(1, 4))]
        if plan.dice.random() < 0.1:
            messages.append(DeleteJob(plan.dice.randint(1, 20)))
        try:
            book.do(*messages)
        except apsw.ConstraintError:
            continue  # the plan's own mischief
        deleted = 20 - len(book.rows("SELECT id FROM jobs WHERE id <= 20"))
        if round_ % 10 == 0:
            assert check(book.path) == []
    assert deleted > 0
    book.close()
    assert check(book.path) == []


def test_a_retried_job_that_was_completed_before_is_sound(book: Book) -> None:
    book.register("w1")
    book.do(submission(1))
    for _ in range(3):
        book.do(Claim(ADMIN, "w1", ("pdf",)))
        book.do(Complete(ADMIN, "w1", 1))
        assert check(book.path) == []
        book.do(Retry(1))
        assert check(book.path) == []


def test_numbers_of_attempts_may_have_gaps(book: Book) -> None:
    """After a restore, attempts are numbered on from far above."""
    book.register("w1")
    book.do(submission(1))
    book.rows("UPDATE jobs SET attempt = 1000000")
    assert any("has no record" in finding for finding in check(book.path))
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    assert check(book.path) == []


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, but a text" * 200, None], ids=["empty", "text", "none"]
)
def test_what_is_no_database_is_a_finding(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    (finding,) = check(path)
    assert finding.endswith(".")
    assert path.exists() == (content is not None)


def test_a_torn_page_is_found(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    shutil.copy(sound, path)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    findings = check(path)
    assert findings
    assert any("integrity" in finding or "cannot be read" in finding for finding in findings)


def test_a_database_of_an_older_release_is_checked_for_what_it_has(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "x.db"))
    migrate(connection, migrations()[:1])
    connection.execute("INSERT INTO job_counts VALUES ('pending', 'pdf', 3, 1)")
    connection.close()
    (finding,) = check(tmp_path / "x.db")
    assert "pending pdf 3: 1, 0" in finding


def test_the_sentences_differ(sound: Path) -> None:
    sentences = [each.broken for each in INVARIANTS]
    assert len(set(sentences)) == len(sentences)
    assert not any(a in b for a, b in itertools.permutations(sentences, 2))
