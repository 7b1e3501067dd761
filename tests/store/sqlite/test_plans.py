"""The queries of the hot paths walk the index that was made for them: no scan, no sorting."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import apsw
import pytest

from actors.messages import Claim
from blobforge.store.sql import sql as shared
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.database import open_reader
from blobforge.store.sqlite.sets import columns_of, spell
from tests.store.making import ADMIN, Book, submission

PLANS: list[tuple[str, tuple[Any, ...], str]] = [
    (shared.STRATUM, ("pending", "pdf", 3, 99, 0), "jobs_listed"),
    (shared.OF_FAILURE, (1, 3, 99, 0), "jobs_by_failure"),
    (shared.OF_WORKER, ("w", 3, 99, 0), "jobs_by_worker"),
    (shared.AUDIT_OF, ("7", 99), "audit_by_subject"),
    (shared.JOB_COUNTS_OF_STATUS, ("dead",), "job_counts USING PRIMARY KEY (status=?)"),
    (shared.JOB_COUNTS_OF_TYPE, ("pdf",), "job_counts USING PRIMARY KEY (status=? AND type=?)"),
    (shared.LOWEST_AUDIT_SINCE, (1,), "audit_by_time"),
    (shared.UNDOS, ("t", 1, 10), "PRIMARY KEY"),
    (shared.FAILURE_BY_FINGERPRINT, ("x",), "sqlite_autoindex_failures_1"),
    (shared.RUNNING_ON, ("w", 9), "jobs_running"),
    (shared.AUDIT_OF_JOB, ("7", 99, 10), "audit_by_subject"),
    (shared.ATTEMPTS_IN_SHORT, (1, 9, 10), "PRIMARY KEY"),
    (shared.RUNNING, (), "jobs_"),
    (shared.WAITING_FOR_TIME, (), "jobs_waiting"),
    (shared.DUE_STARTS, (1, 10), "jobs_to_start"),
    (shared.NEXT_START, (), "jobs_to_start"),
    (shared.DUE_EXPIRIES, (1, 10), "jobs_to_expire"),
    (shared.NEXT_EXPIRY, (), "jobs_to_expire"),
    (shared.FIRST_IN_LANE, ("pdf", 0, 3), "jobs_ready"),
    (shared.FIRST_HELD_UP, ("pdf", 3), "jobs_held_up"),
    (shared.AWAITED_SOURCES, (), "jobs_listed"),
    (shared.SAME_JOB, ("x", "pdf", ""), "jobs_by_source"),
    (shared.IDS_OF_TAG, ("t", 10), "PRIMARY KEY"),
    (shared.UNCHECKED_OUTPUTS, (), "files_unchecked"),
    (shared.JOBS_BETWEEN, (1, 9, 10), "PRIMARY KEY"),
    (shared.LATEST_ATTEMPTS, (1, 10), "PRIMARY KEY"),
    (shared.ENDED_BEFORE, ("completed", 1, 10), "jobs_ended"),
    (shared.DUE_DOOMS, ("waiting", 1, 10), "doomed_objects_due"),
    (shared.NEXT_DOOM, ("waiting",), "doomed_objects_due"),
    (shared.HAS_SOURCE, ("x",), "jobs_by_source"),
    (shared.FOUND_BY_HASH, ("a", "b", 10), "jobs_by_source"),
    (shared.FOUND_BY_WORKER, ("w", 10), "jobs_by_worker"),
    (shared.NOT_INDEXED, (7, 10), "PRIMARY KEY"),
    (shared.STRATUM_UP, ("pending", "pdf", 3, 99, 0), "jobs_listed"),
    (shared.OF_FAILURE_UP, (1, 3, 99, 0), "jobs_by_failure"),
    (shared.BY_ID_DOWN, (99, 0), "PRIMARY KEY"),
    (shared.BY_END_UP, (1, 7, "completed"), "jobs_ended"),
    (shared.BY_END_DOWN, (1, 7, "completed"), "jobs_ended"),
    (shared.BY_DURATION_UP, (1, 7), "jobs_by_duration"),
    (shared.BY_DURATION_DOWN, (1, 7), "jobs_by_duration"),
    (shared.BY_SIZE_DOWN, (1, 7), "jobs_by_size"),
    (shared.BY_TRIES_DOWN, (1, 7), "jobs_by_tries"),
    (shared.RESULT, (1, 1), "sqlite_autoindex_results_1"),
    (shared.RESULT_NAMES, (1, 1), "sqlite_autoindex_results_1"),
]


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "values", "index"), PLANS)
def test_a_query_uses_its_index(
    book: Book, statement: str, values: tuple[Any, ...], index: str, analyzed: bool
) -> None:
    """With statistics and without: ANALYZE must not talk the planner out of the claim order. What is set for a job's
    type, and the manifest that is its source, are looked up beside it."""
    if analyzed:
        book.register("w")
        book.do(*(submission(number, priority=1 + number % 5, tags=("t",)) for number in range(300)))
        book.do(Claim(ADMIN, "w", ("pdf",), 20))
        book.db.execute("ANALYZE")
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", values)]
    beside = [each for each in plan[1:] if not each.startswith("CORRELATED SCALAR SUBQUERY")]
    assert [re.match("SEARCH [tm] USING PRIMARY KEY", each) is not None for each in beside] in ([], [True]), plan
    assert index in plan[0]
    assert "TEMP B-TREE" not in plan[0]
    # A partial index that is walked whole holds nothing but what is asked for.
    partial = {"jobs_running", "jobs_waiting", "jobs_to_start", "jobs_to_expire", "files_unchecked"}
    whole = plan[0].startswith("SCAN") and not any(name in plan[0] for name in partial)
    assert not whole, plan


# Kept figures, of many slots at once.
FIGURES: list[tuple[str, tuple[Any, ...], str]] = [
    (shared.HAPPENINGS, (60, 1, 9), "happenings USING PRIMARY KEY (step=? AND slot>? AND slot<?)"),
    (shared.DEPTHS, (60, 1, 9), "depths USING PRIMARY KEY (step=? AND slot>? AND slot<?)"),
    (shared.HAPPENINGS_OF_TYPE, (60, "[1,2]", "a"), "happenings USING PRIMARY KEY (step=? AND slot=? AND type=?)"),
    (shared.DEPTHS_OF_TYPE, (60, "[1,2]", "a"), "depths USING PRIMARY KEY (step=? AND slot=? AND type=?)"),
    (shared.ENDED_OF_TYPES, (60, "[1,2]", '["a"]'), "happenings USING PRIMARY KEY (step=? AND slot=? AND type=? AND"),
    (shared.TYPES_READY_IN_LANE, ('["a"]', 1), "jobs_ready (type=? AND lane=?)"),
    (shared.RATES_AMONG, ("[1,2]", '["w"]'), "worker_rates USING PRIMARY KEY (hour=? AND worker_id=?)"),
    (shared.SLOTS_WITH_HAPPENINGS, (60, "[1,2]"), "PRIMARY KEY (step=? AND slot=?)"),
    (
        shared.SPLITS,
        (300, "[1,2]", "a", "b", "c"),
        "splits USING PRIMARY KEY (step=? AND slot=? AND type=? AND what=?",
    ),
    (shared.FRESH_SPLITS, (1, 9, "a", "b", "c"), "splits USING PRIMARY KEY (step=? AND slot>? AND slot<?)"),
    (shared.TAKE_FRESH, (9, 2), "splits USING PRIMARY KEY (step=?)"),
    (shared.FIRST_SPLIT, (300,), "splits USING PRIMARY KEY (step=?)"),
    (shared.AUDIT_OF_MARKS, (1, 9, None, 5), "audit USING INDEX audit_of_marks (at>? AND at<?)"),
    (shared.DURATIONS, (9,), "splits USING PRIMARY KEY (step=? AND slot>?)"),
    (shared.PURGE_SPLITS, (300, 9, 2), "splits USING PRIMARY KEY (step=? AND slot<?)"),
    (shared.MANY_CAUSES, (300, 1, 9, 20, 2), "splits USING PRIMARY KEY (step=? AND slot>? AND slot<?)"),
]


@pytest.mark.parametrize(("statement", "values", "index"), FIGURES)
def test_figures_are_looked_up(book: Book, statement: str, values: tuple[Any, ...], index: str) -> None:
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(index in each for each in plan), plan
    assert not any(each.startswith("SCAN") for each in plan if "json_each" not in each), plan


@pytest.mark.parametrize("statement", [shared.HAPPENINGS, shared.DEPTHS])
def test_slots_are_summed_in_the_order_of_their_key(book: Book, statement: str) -> None:
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", (60, 1, 9))]
    assert not any("TEMP B-TREE" in each for each in plan), plan


@pytest.mark.parametrize(
    ("statement", "values"), [(shared.FIRST_OF_STRATA, (3, 99, 0, "")), (shared.FIRST_PENDING, ())]
)
def test_the_first_of_each_range_is_looked_up(book: Book, statement: str, values: tuple[Any, ...]) -> None:
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("jobs_listed (status=? AND type=? AND priority=?" in each for each in plan), plan
    assert not any(each.startswith("SCAN j") or "TEMP B-TREE" in each for each in plan), plan


# What a transaction loads, and what it writes: all of it by an index, whatever is asked for.
PARTS: list[tuple[sql.Part, str, str]] = [
    (sql.NEEDED_JOBS, "[1]", "jobs USING INTEGER PRIMARY KEY"),
    (sql.NEEDED_OF_SOURCES, '["x"]', "jobs USING INDEX jobs_by_source"),
    (sql.NEEDED_OF_WORKERS, '["w"]', "jobs USING INDEX jobs_running"),
    (sql.NEEDED_READY, "pdf", "jobs USING INDEX jobs_ready (type=? AND lane=?)"),
    (sql.NEEDED_READY_OF_TWO, "pdf", "jobs USING INDEX jobs_ready (type=? AND lane=?)"),
    (sql.NEEDED_KEPT, "pdf", "jobs USING INDEX jobs_kept (type=? AND lane=?)"),
    (sql.NEEDED_WORKERS, '["w"]', "workers USING PRIMARY KEY"),
    (sql.NEEDED_ATTEMPTS, "[[1, 1]]", "attempts USING PRIMARY KEY"),
    (sql.NEEDED_FILES, '["x"]', "files USING PRIMARY KEY"),
    (sql.NEEDED_SOURCE_FILES, "[1]", "files USING PRIMARY KEY"),
    (sql.NEEDED_DOOMS, '["x"]', "doomed_objects USING PRIMARY KEY"),
    (sql.NEEDED_CLAIM_KEYS, '[["w", "k"]]', "claim_keys USING PRIMARY KEY"),
    (sql.NEEDED_CAUSES, '["x"]', "failures USING COVERING INDEX sqlite_autoindex_failures_1"),
    (sql.NEEDED_FAILED, "[1]", "attempts USING PRIMARY KEY"),
]
SETS: list[tuple[str, str, str]] = [
    *((f"SELECT {part.many}", names, index) for part, names, index in PARTS),
    *((part.one, "1", index) for part, _, index in PARTS),
    (sql.NEEDED_REPEATED, '[["s", "k"]]', "idempotency USING PRIMARY KEY"),
    (sql.JOB_STATES, "[1]", "jobs USING INTEGER PRIMARY KEY"),
]
# How workers' latest attempts have ended: what they are judged by.
LATEST: list[tuple[str, tuple[object, ...]]] = [
    (sql.NEEDED_LATEST.one, ("w",)),
    (f"SELECT {sql.NEEDED_LATEST.many}", ('["w"]',)),
    (shared.PAST_ATTEMPTS, ('["w"]', 1, "pdf", 200, 50)),
]
# What is written of a set of rows, see sets.py.
WRITTEN: list[tuple[str, str]] = [
    (sql.move_jobs(("status", "lease")), "jobs USING INTEGER PRIMARY KEY"),
    (sql.DELETE_JOBS, "jobs USING INTEGER PRIMARY KEY"),
    (sql.START_ATTEMPTS, "attempts USING PRIMARY KEY"),
    (sql.END_ATTEMPTS, "a USING PRIMARY KEY"),
    (sql.DROP_RESULTS, "results USING COVERING INDEX sqlite_autoindex_results_1"),
    (sql.DROP_RESULTS_BUT, "results USING COVERING INDEX sqlite_autoindex_results_1"),
    (sql.FORGET_FILES, "files USING PRIMARY KEY"),
    (sql.KEEP_FILES, "files USING PRIMARY KEY"),
    (sql.BEAT_WORKERS, "w USING PRIMARY KEY"),
    (sql.DELETE_WORKERS, "workers USING PRIMARY KEY"),
    (sql.FORGET_WORKER_TYPES, "worker_types USING PRIMARY KEY"),
    (sql.SEE_CAUSES, "failures USING INTEGER PRIMARY KEY"),
    (sql.MOVE_JOB_COUNTS, "c USING PRIMARY KEY"),
    (sql.MOVE_CONVERTER_COUNTS, "c USING PRIMARY KEY"),
    (sql.MOVE_FAILURE_COUNTS, "c USING PRIMARY KEY"),
    (sql.MOVE_WORKER_COUNTS, "c USING PRIMARY KEY"),
]


def few_rows(book: Book) -> None:
    book.register("w")
    book.do(*(submission(number, priority=1 + number % 5, tags=("t",)) for number in range(300)))
    book.do(Claim(ADMIN, "w", ("pdf",), 20))
    book.db.execute("ANALYZE")


def by_an_index(plan: list[str], index: str) -> None:
    assert any(f"SEARCH {index}" in step for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN") and not step.startswith(("SCAN each", "SCAN json"))
                and "(subquery" not in step and "CONSTANT" not in step], plan  # fmt: skip


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "values"), LATEST)
def test_what_a_worker_is_judged_by_is_found_by_indexes(
    book: Book, statement: str, values: tuple[object, ...], analyzed: bool
) -> None:
    if analyzed:
        few_rows(book)
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any("USING INDEX attempts_by_worker (worker_id=?" in step for step in plan), plan
    scanned = {step.split()[1] for step in plan if step.startswith("SCAN") and step != "SCAN CONSTANT ROW"}
    assert scanned <= {"asked", "a", "(subquery-4)"}, plan  # what was read by the index


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "value", "index"), SETS)
def test_a_set_is_found_by_an_index(book: Book, statement: str, value: str, index: str, analyzed: bool) -> None:
    if analyzed:
        few_rows(book)
    values = (value, 0, 10, value, 1, 10)[: statement.count("?")]
    by_an_index([row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", values)], index)


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "index"), WRITTEN)
def test_a_set_is_written_by_an_index(book: Book, statement: str, index: str, analyzed: bool) -> None:
    """Whichever of its values are the same in all rows."""
    if analyzed:
        few_rows(book)
    columns = 1 + max(int(each) for each in re.findall(r"{(\d+)}", statement))
    apart = [None] * columns
    for same in product((False, True), repeat=min(columns, 5)):
        for rows in ([apart], [apart, [1 if each else None for each in (*same, *apart)][:columns]]):
            spelled, values = spell(statement, columns_of(rows))
            by_an_index([row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {spelled}", values)], index)


@pytest.mark.parametrize(
    ("statement", "table"), [(shared.PURGE_CLAIM_KEYS, "claim_keys"), (shared.PURGE_IDEMPOTENT, "idempotency")]
)
def test_what_is_purged_is_found_by_its_age(book: Book, statement: str, table: str) -> None:
    plan = " / ".join(row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {statement}", (1, 10)))
    assert f"SEARCH {table} USING PRIMARY KEY" in plan
    assert f"{table}_by_age (created_at<?)" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_statement_is_planned_once_whatever_is_bound_to_it(book: Book) -> None:
    """Else SQLite looks at the bound values and plans anew each time; a claim took six times as long as it does."""
    reader = open_reader(book.path)
    for db in (book.db, reader):
        assert db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1
    reader.close()


def test_undos_that_are_old_are_found_and_not_looked_for(book: Book) -> None:
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {shared.PURGE_UNDOS}", (1, 1))]
    assert not [line for line in plan if "SCAN" in line or "TEMP B-TREE" in line], plan


def test_outputs_are_chosen_by_their_names_and_not_looked_through(book: Book) -> None:
    """Else each piece of 500 of ten thousand outputs takes seconds of the writer, for as long as there are pieces."""
    plan = [row[3] for row in book.rows(f"EXPLAIN QUERY PLAN {shared.CHOOSE_OUTPUTS}", (1, 1, "[]"))]
    assert [line for line in plan if "outputs" in line] != []
    assert all("PRIMARY KEY (job_id=? AND attempt=? AND name=?)" in line for line in plan if "outputs" in line), plan
