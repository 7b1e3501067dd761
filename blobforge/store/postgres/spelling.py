"""How the statements that both engines run are spelled on PostgreSQL: its parameters, and where it needs other words.

Where a statement must walk a range of an index in its order, one of the columns before the id is bounded from both
sides (`only`), and the rows are asked for in the order of that column: another index, or the primary key, cannot give
that, whatever the planner believes of the table. With an equality it could: the order of a column that has one value
is no order. Comparing whole rows is no way either: PostgreSQL then goes on behind the end of the range, to where the
first column changes.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import count
from typing import Final

from blobforge.store.sql import sql
from blobforge.store.sql.sql import JOB_COLUMNS, WHOLE_JOB_COLUMNS


def only(column: str, value: str) -> str:
    """The column has that value; the order is still by the column."""
    return f"{column} >= {value} AND {column} <= {value}"


def _range(key: str, more: str = "", columns: str = JOB_COLUMNS) -> str:
    """Jobs of one range of an index, from its end: the values that are equal, then the ids between which they are."""
    *equal, last, _ = key.split(", ")
    wanted = [f"{column} = ${at}" for at, column in enumerate(equal, start=1)]
    wanted.append(only(last, f"${len(equal) + 1}"))
    return f"""
        SELECT {columns} FROM jobs
         WHERE {" AND ".join(wanted)} AND id < ${len(equal) + 2} AND id > ${len(equal) + 3} {more}
         ORDER BY {last} DESC, id DESC"""


def _lowest(key: str, more: str = "") -> str:
    """The first id of one range of an index."""
    *equal, last = key.split(", ")
    wanted = [f"{column} = ${at}" for at, column in enumerate(equal, start=1)]
    wanted.append(only(last, f"${len(equal) + 1}"))
    return f"SELECT id FROM jobs WHERE {' AND '.join(wanted)} {more} ORDER BY {last}, id LIMIT 1"


def running_on(columns: str, worker: str) -> str:
    """The jobs that a worker holds."""
    return f"""
        SELECT {columns} FROM jobs WHERE status = 'running' AND {only("worker_id", worker)} ORDER BY worker_id, id"""


OTHERWISE: Final = {
    sql.SPLITS: """
        SELECT slot, what, part, n FROM splits
         WHERE step = $1 AND slot = ANY(ARRAY(SELECT json_array_elements_text($2::json)::bigint))
           AND type = $3 AND what IN ($4, $5)""",
    sql.HAPPENINGS_OF_TYPE: """
        SELECT slot, what, n FROM happenings
         WHERE step = $1 AND slot = ANY(ARRAY(SELECT json_array_elements_text($2::json)::bigint)) AND type = $3""",
    sql.DEPTHS_OF_TYPE: """
        SELECT slot, status, n FROM depths
         WHERE step = $1 AND slot = ANY(ARRAY(SELECT json_array_elements_text($2::json)::bigint))
           AND type IN ($3, '')""",
    sql.SLOTS_WITH_HAPPENINGS: """
        SELECT asked::bigint FROM json_array_elements_text($2::json) AS asked
         WHERE EXISTS (SELECT 1 FROM happenings WHERE step = $1 AND slot = asked::bigint)""",
    sql.ENDED_OF_TYPES: """
        SELECT type, slot, what, n FROM happenings
         WHERE step = $1 AND slot = ANY(ARRAY(SELECT json_array_elements_text($2::json)::bigint))
           AND type = ANY(ARRAY(SELECT json_array_elements_text($3::json)))
           AND what IN ('completed', 'failed', 'lost')""",
    sql.TYPES_READY_IN_LANE: """
        SELECT asked FROM json_array_elements_text($1::json) AS asked, LATERAL (
               SELECT 1 FROM jobs
                WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND type = asked AND lane = $2
                LIMIT 1) AS ready""",
    sql.RATES_AMONG: """
        SELECT worker_id, outcome, sum(n) FROM worker_rates
         WHERE hour = ANY(ARRAY(SELECT json_array_elements_text($1::json)::bigint))
           AND worker_id = ANY(ARRAY(SELECT json_array_elements_text($2::json)))
         GROUP BY worker_id, outcome""",
    sql.HELD_SOURCES: """
        SELECT asked FROM json_array_elements_text($1::json) AS asked
         WHERE EXISTS (SELECT 1 FROM jobs WHERE source_hash = asked AND status <> 'uploading')""",
    sql.TELL_OUTPUTS: """
        INSERT INTO outputs (job_id, attempt, name, size, sha256, media_type)
        SELECT $1::bigint, $2::bigint, name, size, sha256, media_type
          FROM json_to_recordset($3::json) AS said (name text, size bigint, sha256 text, media_type text)
        ON CONFLICT (job_id, attempt, name) DO UPDATE SET
            size = coalesce(excluded.size, outputs.size), sha256 = coalesce(excluded.sha256, outputs.sha256),
            media_type = coalesce(excluded.media_type, outputs.media_type)""",
    # A subquery for one value is no join, which the planner would turn round.
    sql.CHOOSE_OUTPUTS: """
        INSERT INTO outputs (job_id, attempt, name, size, chosen)
        SELECT $1::bigint, $2::bigint, seen.name, seen.size, 1
          FROM json_to_recordset($3::json) AS seen (name text, size bigint)
         WHERE (SELECT true FROM outputs AS told
                 WHERE told.job_id = $1::bigint AND told.attempt = $2::bigint AND told.name = seen.name)
        ON CONFLICT (job_id, attempt, name) DO UPDATE SET chosen = 1, size = excluded.size""",
    sql.THESE_OUTPUTS: """
        SELECT outputs.job_id, outputs.attempt, outputs.name, size, sha256, media_type
          FROM json_to_recordset($1::json) AS asked (job bigint, attempt bigint, name text)
          JOIN outputs ON outputs.job_id = asked.job AND outputs.attempt = asked.attempt
                      AND outputs.name = asked.name AND chosen = 1""",
    sql.RESULT_NAMES: """
        SELECT json_build_object('filename', result::json -> 'filename',
                                 'content_type', result::json -> 'content_type')::text
          FROM results WHERE job_id = $1 AND attempt = $2""",
    sql.KIN_OF_JOBS: """
        SELECT parent, attempt, step, name, job_id, lent FROM kin
         WHERE job_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) AND step >= 0
         ORDER BY parent, attempt, step, name""",
    sql.JOINING_FOR: """
        SELECT DISTINCT b.batch, o.id, o.work
          FROM operations AS o JOIN operation_pages AS p ON p.operation_id = o.id AND p.page >= o.page,
               LATERAL json_array_elements(p.jobs::json) AS stage
          JOIN batch_jobs AS b ON b.job_id = (stage ->> 0)::bigint
         WHERE o.ended_at IS NULL AND o.verb = 'join-stages'
           AND b.batch + 0 IN (SELECT json_array_elements_text($1::json)::bigint) ORDER BY b.batch, o.id""",
    sql.JOINING_OF: """
        SELECT DISTINCT o.id, o.work, (stage ->> 0)::bigint
          FROM operations AS o JOIN operation_pages AS p ON p.operation_id = o.id AND p.page >= o.page,
               LATERAL json_array_elements(p.jobs::json) AS stage
         WHERE o.ended_at IS NULL AND o.verb = 'join-stages'
           AND (stage ->> 0)::bigint IN (SELECT json_array_elements_text($1::json)::bigint) ORDER BY 1, 3""",
    sql.COUNTS_OF_BATCHES: """
        SELECT batch, status, type, n FROM batch_counts
         WHERE batch IN (SELECT json_array_elements_text($1::json)::bigint) AND n > 0 ORDER BY batch, status, type""",
    sql.RUNNING_OF_THESE: f"""
        SELECT held.* FROM json_array_elements_text($1::json) AS asked, LATERAL (
               {running_on(JOB_COLUMNS, "asked")}) AS held LIMIT $2""",
    sql.PAST_ATTEMPTS: f"""
        SELECT asked, (
               SELECT json_agg(json_build_array(job_id, attempt, started_at, ended_at, outcome, failure, completed_by,
                                                failed_by))::text
                 FROM (SELECT a.job_id, a.attempt, a.started_at, a.ended_at, a.outcome, a.failure,
                              CASE WHEN a.outcome <> 'completed' THEN
                                  (SELECT c.worker_id FROM attempts AS c
                                    WHERE c.job_id = a.job_id AND c.outcome = 'completed'
                                      AND c.worker_id <> a.worker_id
                                    ORDER BY c.attempt DESC LIMIT 1) END AS completed_by,
                              CASE WHEN a.outcome <> 'completed' THEN
                                  (SELECT json_agg(f.worker_id) FROM attempts AS f
                                    WHERE f.job_id = a.job_id AND f.failure = a.failure
                                      AND f.worker_id <> a.worker_id AND f.outcome IN ('failed', 'lost')) END
                                  AS failed_by
                         FROM (SELECT * FROM attempts AS x
                                WHERE {only("x.worker_id", "asked")} AND x.started_at >= $2
                                ORDER BY x.worker_id DESC, x.started_at DESC, x.job_id DESC, x.attempt DESC
                                LIMIT $4) AS a
                         JOIN jobs ON jobs.id = a.job_id
                        WHERE jobs.type = $3 AND (a.outcome = 'completed' OR (
                              a.outcome IN ('failed', 'lost') AND a.failure IS NOT NULL AND a.given_back IS NULL))
                        ORDER BY a.started_at DESC, a.job_id DESC, a.attempt DESC LIMIT $5) AS past)
          FROM json_array_elements_text($1::json) AS asked""",
    sql.RUNNING_BY_WORKER: f"""
        SELECT asked, held.id FROM json_array_elements_text($1::json) AS asked, LATERAL (
               {running_on("id", "asked")} LIMIT $2) AS held""",
    sql.RUNNING_ON: f"{running_on('id', '$1')} LIMIT $2",
    sql.STRATUM: _range("status, type, priority, id"),
    sql.FIRST_OF_STRATA: f"""
        SELECT c.status, c.type,
               (SELECT j.id FROM jobs AS j
                 WHERE j.status = c.status AND j.type = c.type AND {only("j.priority", "c.priority")}
                   AND j.id < $2 AND j.id > $3
                 ORDER BY j.priority DESC, j.id DESC LIMIT 1)
          FROM job_counts AS c WHERE c.priority = $1 AND c.n > 0 AND ($4 = '' OR c.status = $4)""",
    sql.SAMPLED: f"{_range('status, type, priority, id', columns=sql.SAMPLED_COLUMNS)} LIMIT $6",
    sql.SAMPLED_OF_CONVERTER: (
        _range("made_by, status, type, priority, id", "AND made_by IS NOT NULL", sql.SAMPLED_COLUMNS) + " LIMIT $7"
    ),
    sql.LOWEST: _lowest("status, type, priority"),
    sql.LOWEST_OF_CONVERTER: _lowest("made_by, status, type, priority", "AND made_by IS NOT NULL"),
    sql.ADD_CANARY_JOBS: """
        INSERT INTO canary_jobs (canary_id, job_id, original_id, against)
        SELECT $1::bigint, (value ->> 0)::bigint, (value ->> 1)::bigint, (value ->> 2)::bigint
          FROM json_array_elements($2::json) AS value""",
    sql.OF_FAILURE: _range("failure, priority, id", "AND failure IS NOT NULL"),
    sql.OF_CONVERTER: _range("made_by, status, type, priority, id", "AND made_by IS NOT NULL"),
    sql.OF_COMPARED: _range("priority, id", "AND compare_until IS NOT NULL"),
    sql.OF_WORKER: _range("worker_id, priority, id", "AND worker_id IS NOT NULL"),
    sql.FIRST_PENDING: f"""
        SELECT c.type, c.priority,
               (SELECT j.id FROM jobs AS j
                 WHERE j.status = 'pending' AND j.type = c.type AND {only("j.priority", "c.priority")}
                 ORDER BY j.priority, j.id LIMIT 1)
          FROM job_counts AS c WHERE c.status = 'pending' AND c.n > 0""",
    sql.FIRST_IN_LANE: f"""
        SELECT id, created_at FROM jobs
         WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL
           AND type = $1 AND lane = $2 AND {only("priority", "$3")}
         ORDER BY priority, id LIMIT 1""",
    sql.FIRST_HELD_UP: f"""
        SELECT id, created_at FROM jobs
         WHERE status = 'pending' AND {sql.HELD_UP}
           AND type = $1 AND {only("priority", "$2")}
         ORDER BY priority, id LIMIT 1""",
    sql.READY_LONGEST: f"""
        SELECT {JOB_COLUMNS} FROM jobs
         WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL
           AND type = $1 AND lane = $2 AND {only("priority", "$3")}
         ORDER BY priority, id LIMIT $4""",
    sql.AHEAD: f"""
        SELECT count(*) FROM (
            SELECT 1 FROM jobs
             WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL
               AND type = $1 AND lane = $2 AND {only("priority", "$3")} AND id < $4
             ORDER BY priority, id LIMIT $5) AS ahead""",
    sql.OWN_AHEAD: f"""
        SELECT count(*) FROM (
            SELECT 1 FROM jobs
             WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0
               AND type = $1 AND lane = $2 AND priority = $3 AND {only("of_group", "$4")} AND (turn, id) < ($5, $6)
             ORDER BY of_group, turn, id LIMIT $7) AS ahead""",
    sql.GROUPS_AHEAD: f"""
        SELECT ready, running, weight, rounds FROM group_lines
         WHERE ready > 0 AND type = $1 AND lane = $2 AND {only("priority", "$3")}
           AND (rounds, turn, job) < ($4, $5, $6) AND of_group <> $7
         ORDER BY priority, rounds, turn, job LIMIT $8""",
    sql.FOUND_BY_TEXT: "SELECT found FROM jobs_with_trigrams($1::smallint[], $2) AS found",
    sql.FOUND_BY_WORKER: f"SELECT id FROM jobs WHERE {only('worker_id', '$1')} LIMIT $2",
    sql.SUBMITTED_AT: """
        SELECT jobs.id, jobs.created_at
          FROM json_array_elements_text($1::json) AS asked JOIN jobs ON jobs.id = asked::bigint""",
    sql.PLACES: """
        SELECT jobs.priority, jobs.id, jobs.status, jobs.type
          FROM json_array_elements_text($1::json) AS asked JOIN jobs ON jobs.id = asked::bigint""",
    sql.SAVE_TEXTS: """
        INSERT INTO job_texts (job_id, trigrams)
        SELECT (value ->> 0)::bigint, (value ->> 1)::smallint[] FROM json_array_elements($1::json) AS value
        ON CONFLICT (job_id) DO UPDATE SET trigrams = excluded.trigrams""",
    sql.DROP_TEXTS: """
        DELETE FROM job_texts WHERE job_id = ANY (ARRAY(
            SELECT value::bigint FROM json_array_elements_text($1::json) AS value))""",
    sql.SETTLE_TEXTS: """
        DELETE FROM texts_changed WHERE job_id = ANY (ARRAY(
            SELECT value::bigint FROM json_array_elements_text($1::json) AS value))""",
    # Numbers of jobs come from the turn; those of other tables from sequences.
    sql.HAD_JOBS: "SELECT 1 FROM turn WHERE job > 0",
    sql.JOB_SEQUENCE: "SELECT job FROM turn",
    sql.SEED_IDS: "SELECT $1::text, $2::text",  # they are there from the beginning
    sql.RAISE_IDS: "UPDATE turn SET job = greatest(job, $1)",
    sql.SKIP_IDS: """
        WITH moved AS (UPDATE turn SET job = job + $1::bigint)
        SELECT setval(name, nextval(name) + $1::bigint)
          FROM unnest(ARRAY['tokens_id_seq', 'users_id_seq', 'audit_id_seq', 'backup_drills_id_seq',
                            'operations_id_seq', 'batches_id_seq', 'canaries_id_seq', 'webhooks_id_seq',
                            'deliveries_id_seq']) AS name""",
    sql.INSERT_WHOLE_JOB: f"""
        WITH made AS (
            INSERT INTO jobs ({WHOLE_JOB_COLUMNS})
            VALUES (coalesce($1, (SELECT job + 1 FROM turn)),
                    {", ".join(f"${at}" for at in range(2, len(WHOLE_JOB_COLUMNS.split(",")) + 1))}) RETURNING id),
        given AS (UPDATE turn SET job = greatest(job, (SELECT id FROM made)))
        SELECT id FROM made""",
    sql.TO_BACKFILL: """
        INSERT INTO backfill (id, next_job, last_job, counts) VALUES (1, $1, $2, 1)
        ON CONFLICT (id) DO UPDATE SET next_job = least(backfill.next_job, excluded.next_job),
                                       last_job = greatest(backfill.last_job, excluded.last_job)""",
    sql.RAISE_FLOOR: "UPDATE recovery SET attempt_floor = greatest(attempt_floor, $1) WHERE id = 1",
    # The turn before; jobs are looked through where there is none, as in a copy.
    sql.NEWEST_RECORD: """
        SELECT coalesce((SELECT at FROM log ORDER BY n DESC LIMIT 1),
                        greatest((SELECT max(updated_at) FROM jobs), (SELECT max(at) FROM audit),
                                 (SELECT max(updated_at) FROM workers), (SELECT max(at) FROM pulse), 0))""",
}

_UPWARDS: Final = {
    sql.STRATUM_UP: sql.STRATUM,
    sql.OF_FAILURE_UP: sql.OF_FAILURE,
    sql.OF_WORKER_UP: sql.OF_WORKER,
    sql.OF_CONVERTER_UP: sql.OF_CONVERTER,
    sql.OF_COMPARED_UP: sql.OF_COMPARED,
}
OTHERWISE.update({up: OTHERWISE[down].replace(" DESC", "") for up, down in _UPWARDS.items()})

_PARAMETER: Final = re.compile(r"\?(\d+)?")
_HINT: Final = re.compile(r" INDEXED BY \w+")
_THESE: Final = re.compile(r"SELECT value FROM json_each\((\?\d+)\)")  # of texts


# Rows that are deleted or changed some at a time. Where they are is looked up first, and they are found there: a join
# with the subquery could walk the table, where that was small when it was planned.
_PAGE: Final = re.compile(r"WHERE \(([\w, ]+)\) IN \(SELECT \1 FROM (.* LIMIT \?)\)( RETURNING .*)?$")


@cache
def spelled(statement: str) -> str:
    """The statement as PostgreSQL takes it."""
    if statement in OTHERWISE:
        return OTHERWISE[statement]
    numbers = count(1)
    statement = _THESE.sub(r"SELECT json_array_elements_text(\1::json)", statement)
    statement = _PAGE.sub(r"WHERE ctid = ANY (ARRAY(SELECT ctid FROM \2))\3", statement)
    return _PARAMETER.sub(lambda found: f"${found[1] or next(numbers)}", _HINT.sub("", statement))


@cache
def writes(text: str) -> bool:
    """Whether a statement as PostgreSQL takes it may change rows."""
    return not text.lstrip().startswith("SELECT")


@cache
def inserting(statement: str) -> str:
    """The same, to give the number that the new row gets."""
    text = spelled(statement)
    return text if statement in OTHERWISE else f"{text} RETURNING id"
