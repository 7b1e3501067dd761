"""What must hold in the database, whatever has happened: each sentence beside the query that finds its exceptions.

A query returns one column, the name of each offender (a job's id, mostly); no row means that the sentence holds.
These statements stand outside `sql.py`: they are read together with what they say, and nothing but an engine's
`check.py` runs them. They are spelled as SQLite takes them. `attempt` numbers may have gaps (a restore leaves one),
so none is counted on to be next.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from blobforge.store.sql.running import Row
from blobforge.store.sql.sql import SOURCE_BYTES

EXAMPLES = 5  # offenders that a finding names


class Invariant(msgspec.Struct, frozen=True):
    """`broken` completes "3 ...": what is the case where it must not be.

    `reads` are the tables of the query, and those of its columns (`table.column`) that came with a later schema: an
    older database is checked for what it has.
    """

    broken: str
    query: str
    reads: tuple[str, ...] = ("jobs",)

    def finding(self, offenders: Iterable[Row]) -> str | None:
        """A sentence with their number and examples; None where there are none."""
        rows = iter(offenders)
        examples = [str(row[0]) for row in islice(rows, EXAMPLES)]
        if not examples:
            return None
        count = len(examples) + sum(1 for _ in rows)
        more = ", ..." if count > len(examples) else ""
        return f"{count} {self.broken}: {', '.join(examples)}{more}."


_ATTEMPTS = ("jobs", "attempts")

INVARIANTS: Final = (
    # --- a running job is held by one attempt, of one worker, under one lease
    Invariant(
        "running jobs without worker, lease, start or heartbeat",
        """SELECT id FROM jobs WHERE status = 'running' AND (worker_id IS NULL OR lease IS NULL OR lease = ''
              OR started_at IS NULL OR heartbeat_at IS NULL)""",
    ),
    Invariant(
        "running jobs whose latest attempt is not on record as open, with the same worker and lease",
        """SELECT id FROM jobs WHERE status = 'running' AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt
                 AND a.outcome IS NULL AND a.worker_id = jobs.worker_id AND a.lease = jobs.lease)""",
        _ATTEMPTS,
    ),
    Invariant(
        "jobs with more than one open attempt",
        "SELECT job_id FROM attempts WHERE outcome IS NULL GROUP BY job_id HAVING count(*) > 1",
        _ATTEMPTS,
    ),
    Invariant(
        "attempts that are counted wrong (job/attempt)",
        """SELECT job_id || '/' || attempt FROM (
              SELECT job_id, attempt, coalesce(ordinal, attempt) AS kept,
                     row_number() OVER (PARTITION BY job_id ORDER BY attempt) AS n FROM attempts) AS each
            WHERE kept <> n""",
        ("attempts", "attempts.ordinal"),
    ),
    Invariant(
        "open attempts of jobs that are not running (job/attempt)",
        """SELECT a.job_id || '/' || a.attempt FROM attempts AS a JOIN jobs ON jobs.id = a.job_id
            WHERE a.outcome IS NULL AND jobs.status <> 'running'""",
        _ATTEMPTS,
    ),
    Invariant(
        "running jobs that share their lease with another one",
        """SELECT id FROM jobs WHERE status = 'running' AND lease IN (
              SELECT lease FROM jobs WHERE status = 'running' GROUP BY lease HAVING count(*) > 1)""",
    ),
    Invariant(
        "running jobs of a worker that is unknown, disabled or not registered",
        """SELECT id FROM jobs WHERE status = 'running' AND NOT EXISTS (
              SELECT 1 FROM workers AS w WHERE w.id = jobs.worker_id AND w.enabled = 1 AND w.registered = 1)""",
        ("jobs", "workers"),
    ),
    # --- attempts keep their own records, and their numbers never go back
    Invariant(
        "attempts that are half ended: an outcome without a time, or a time without an outcome (job/attempt)",
        "SELECT job_id || '/' || attempt FROM attempts WHERE (outcome IS NULL) <> (ended_at IS NULL)",
        _ATTEMPTS,
    ),
    Invariant(
        "attempts with an outcome that does not exist (job/attempt)",
        """SELECT job_id || '/' || attempt FROM attempts WHERE outcome NOT IN
              ('completed', 'failed', 'lost', 'released', 'cancelled', 'revoked')""",
        _ATTEMPTS,
    ),
    Invariant(
        "attempts numbered below 1 or above their job's latest (job/attempt)",
        """SELECT a.job_id || '/' || a.attempt FROM attempts AS a JOIN jobs ON jobs.id = a.job_id
            WHERE a.attempt < 1 OR a.attempt > jobs.attempt""",
        _ATTEMPTS,
    ),
    Invariant(
        "jobs whose latest attempt has no record",
        """SELECT id FROM jobs WHERE attempt > 0 AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt)""",
        _ATTEMPTS,
    ),
    Invariant(
        "jobs that keep a lease which is not their latest attempt's",
        """SELECT id FROM jobs WHERE lease IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM attempts AS a
               WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt AND a.lease = jobs.lease)""",
        _ATTEMPTS,
    ),
    # --- accepted as complete at most once
    Invariant(
        "completed jobs without a time or a worker",
        "SELECT id FROM jobs WHERE status = 'completed' AND (completed_at IS NULL OR worker_id IS NULL)",
    ),
    Invariant(
        "completed jobs whose latest attempt is not the accepted one",
        """SELECT id FROM jobs WHERE status = 'completed' AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt
                 AND a.outcome = 'completed' AND a.worker_id = jobs.worker_id)""",
        _ATTEMPTS,
    ),
    Invariant(
        "completed jobs whose output is another attempt's",
        """SELECT id FROM jobs WHERE status = 'completed' AND output_key IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt AND jobs.output_key =
              coalesce(a.output_key, 'outputs/' || a.job_id || '/' || a.attempt || '/output'))
              AND NOT EXISTS (SELECT 1 FROM outputs AS o
                               WHERE o.job_id = jobs.id AND o.attempt = jobs.attempt AND o.chosen = 1)""",
        ("jobs", "attempts.output_key", "outputs"),
    ),
    Invariant(
        "running jobs that write to another key than their attempt",
        """SELECT id FROM jobs WHERE status = 'running' AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt AND jobs.upload_key =
              coalesce(a.output_key, 'outputs/' || a.job_id || '/' || a.attempt || '/output'))""",
        ("jobs.upload_key", "attempts.output_key"),
    ),
    Invariant(
        "jobs whose output is not on record",
        """SELECT id FROM jobs WHERE output_key IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM files WHERE files.key = jobs.output_key)
              AND NOT EXISTS (SELECT 1 FROM outputs AS o WHERE o.job_id = jobs.id AND o.chosen = 1 AND o.attempt =
                                     CASE status WHEN 'completed' THEN jobs.attempt ELSE kept_attempt END)""",
        ("jobs", "files", "outputs"),
    ),
    Invariant(
        "jobs that are not completed, with an output or a result of no attempt",
        """SELECT id FROM jobs WHERE status <> 'completed' AND kept_attempt IS NULL
              AND (output_key IS NOT NULL OR result IS NOT NULL)""",
        ("jobs", "jobs.kept_attempt"),
    ),
    Invariant(
        "jobs with a result of which is said that it is kept aside, and it is not, or is another",
        """SELECT id FROM jobs WHERE result_size IS NOT NULL AND (result IS NOT NULL OR NOT EXISTS (
              SELECT 1 FROM results AS r WHERE r.job_id = jobs.id AND octet_length(r.result) = result_size
                 AND r.attempt = CASE status WHEN 'completed' THEN jobs.attempt ELSE kept_attempt END))""",
        ("jobs", "jobs.result_size", "jobs.kept_attempt", "results"),
    ),
    Invariant(
        "results kept aside of what is no attempt, or that are no JSON (job/attempt)",
        """SELECT job_id || '/' || attempt FROM results AS r WHERE json_valid(result) = 0 OR NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = r.job_id AND a.attempt = r.attempt)""",
        ("results", "attempts"),
    ),
    Invariant(
        "jobs that keep the result of an attempt that did not complete",
        """SELECT id FROM jobs WHERE kept_attempt IS NOT NULL AND (status = 'completed' OR NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.attempt = jobs.kept_attempt
                 AND a.outcome = 'completed'))""",
        ("jobs", "jobs.kept_attempt", "attempts"),
    ),
    Invariant(
        "jobs with a result of another converter than their attempt's",
        """SELECT id FROM jobs WHERE made_by IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = jobs.id AND a.converter = made_by
                 AND a.attempt = CASE status WHEN 'completed' THEN jobs.attempt ELSE kept_attempt END)""",
        ("jobs", "jobs.made_by", "attempts.converter"),
    ),
    Invariant(
        "jobs with a result to be compared, and none to compare it with",
        "SELECT id FROM jobs WHERE compare_until IS NOT NULL AND (status <> 'completed' OR replaced IS NULL)",
        ("jobs", "jobs.compare_until"),
    ),
    # --- each status has what belongs to it
    Invariant(
        "jobs that nobody holds, with a worker",
        "SELECT id FROM jobs WHERE status NOT IN ('running', 'completed') AND worker_id IS NOT NULL",
    ),
    Invariant(
        "failed jobs without the end of their back-off",
        "SELECT id FROM jobs WHERE status = 'failed' AND not_before IS NULL",
    ),
    Invariant(
        "jobs that wait for a time, and are neither failed nor pending, nor await their source",
        "SELECT id FROM jobs WHERE status NOT IN ('failed', 'pending', 'uploading') AND not_before IS NOT NULL",
    ),
    Invariant(
        "jobs that are kept from workers, but not pending, or without an end, or in a back-off besides",
        """SELECT id FROM jobs WHERE (avoid IS NULL) <> (avoid_until IS NULL)
              OR (avoid IS NOT NULL AND (status <> 'pending' OR not_before IS NOT NULL))""",
        ("jobs", "jobs.avoid"),
    ),
    Invariant(
        "failed jobs whose latest attempt did not fail",
        """SELECT id FROM jobs WHERE status = 'failed' AND NOT EXISTS (SELECT 1 FROM attempts AS a
              WHERE a.job_id = jobs.id AND a.attempt = jobs.attempt AND a.outcome = 'failed')""",
        _ATTEMPTS,
    ),
    Invariant(
        "dead or cancelled jobs without a time",
        "SELECT id FROM jobs WHERE status IN ('dead', 'cancelled') AND completed_at IS NULL",
    ),
    Invariant(
        "dead jobs without a reason",
        "SELECT id FROM jobs WHERE status = 'dead' AND last_error IS NULL",
    ),
    Invariant(
        "jobs that have not ended, with the time of their end",
        "SELECT id FROM jobs WHERE status NOT IN ('completed', 'dead', 'cancelled') AND completed_at IS NOT NULL",
    ),
    Invariant(
        "uploading, failed or cancelled jobs with a lease",
        "SELECT id FROM jobs WHERE status IN ('uploading', 'failed', 'cancelled') AND lease IS NOT NULL",
    ),
    # --- budgets
    Invariant(
        "jobs that were charged more, or less, than they were tried",
        "SELECT id FROM jobs WHERE attempts < 0 OR losses < 0 OR attempts + losses > attempt OR max_attempts < 1",
    ),
    Invariant(
        "jobs that were given back more often in a row than they were tried",
        "SELECT id FROM jobs WHERE releases < 0 OR releases > attempt",
        ("jobs", "jobs.releases"),
    ),
    Invariant(
        "failed jobs that have spent their attempts, and should be dead",
        "SELECT id FROM jobs WHERE status = 'failed' AND attempts >= max_attempts",
    ),
    # --- what makes a job unique
    Invariant(
        "jobs with options that are no JSON, or without their hash, or in another lane",
        """SELECT id FROM jobs WHERE json_valid(options) = 0 OR (options IS NULL) <> (options_hash = '')
              OR lane % 2 <> CASE WHEN options IS NULL THEN 0 ELSE 1 END""",
        ("jobs", "jobs.options", "jobs.lane"),
    ),
    Invariant(
        "jobs with requirements in another lane than that of their set",
        """SELECT id FROM jobs
            WHERE (requires IS NULL AND of_group IS NULL) <> (lane < 2) OR lane < 0 OR (lane > 1 AND NOT EXISTS (
              SELECT 1 FROM requirement_sets AS s
               WHERE s.number = jobs.lane / 2 AND s.type = jobs.type
                 AND s.requires = CASE WHEN of_group IS NULL THEN jobs.requires
                                       ELSE ' ' || coalesce(jobs.requires, '[]') END))""",
        ("jobs", "jobs.requires", "jobs.of_group", "requirement_sets"),
    ),
    Invariant(
        "jobs with a group and no turn, or with a turn and no group",
        "SELECT id FROM jobs WHERE (of_group IS NULL) <> (turn = 0) OR turn < 0",
        ("jobs", "jobs.of_group"),
    ),
    Invariant(
        "types with jobs that have a group, and without a virtual time",
        """SELECT id FROM jobs WHERE of_group IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM group_clocks AS c WHERE c.type = jobs.type AND c.priority = jobs.priority)""",
        ("jobs", "jobs.of_group", "group_clocks"),
    ),
    Invariant(
        "groups of which the queue keeps other jobs than there are",
        """SELECT type || ' ' || lane || ' ' || priority || ' ' || of_group FROM (
               SELECT type, lane, priority, of_group, ready, turn, job, 0 AS n FROM group_lines WHERE ready > 0
                UNION ALL
               SELECT type, lane, priority, of_group, ready, turn, id, 1 FROM (
                   SELECT type, lane, priority, of_group, turn, id,
                          count(*) OVER (PARTITION BY type, lane, priority, of_group) AS ready,
                          row_number() OVER (PARTITION BY type, lane, priority, of_group ORDER BY turn, id) AS place
                     FROM jobs WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0) AS each
                WHERE place = 1) AS kept
            GROUP BY type, lane, priority, of_group, ready, turn, job HAVING count(*) <> 2""",
        ("jobs", "jobs.of_group", "group_lines"),
    ),
    Invariant(
        "groups of which the queue keeps another number of running jobs than there are",
        """SELECT type || ' ' || priority || ' ' || of_group FROM (
               SELECT type, priority, of_group, max(running) AS kept, min(running) AS least, 0 AS counted
                 FROM group_lines GROUP BY type, priority, of_group
                UNION ALL
               SELECT type, priority, of_group, 0, 0, count(*) FROM jobs
                WHERE status = 'running' AND turn > 0 GROUP BY type, priority, of_group) AS each
            GROUP BY type, priority, of_group
           HAVING sum(kept) <> sum(counted) OR sum(least) <> sum(counted)
            UNION ALL
           SELECT type || ' ' || priority FROM (
               SELECT type, priority, running AS kept, 0 AS counted FROM group_runs
                UNION ALL
               SELECT type, priority, 0, count(*) FROM jobs
                WHERE status = 'running' AND turn > 0 GROUP BY type, priority) AS each
            GROUP BY type, priority HAVING sum(kept) <> sum(counted)""",
        ("jobs", "jobs.of_group", "group_lines", "group_runs"),
    ),
    Invariant(
        "groups that the queue keeps with another weight than is set for them",
        """SELECT g.type || ' ' || g.lane || ' ' || g.priority || ' ' || g.of_group
             FROM group_lines AS g LEFT JOIN type_settings AS t ON t.type = g.type
            WHERE g.weight <> coalesce(
                  (SELECT w.value FROM json_each(t.group_weights) AS w WHERE w.key = g.of_group), 1)""",
        ("group_lines", "type_settings", "type_settings.group_weights"),
    ),
    # --- never given twice
    Invariant(
        "jobs with an id that may be given again",
        "SELECT id FROM jobs WHERE id > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)",
    ),
    Invariant(
        "jobs whose source is no SHA-256",
        """SELECT id FROM jobs WHERE source_hash NOT LIKE 'unproven/%'
              AND (length(source_hash) <> 64 OR ltrim(source_hash, '0123456789abcdef') <> '')""",
    ),
    # --- what is kept beside the jobs says the same
    Invariant(
        "counters of jobs that are not what counting says (status, type, priority: kept, counted)",
        """SELECT status || ' ' || type || ' ' || priority || ': ' || sum(kept) || ', ' || sum(counted) FROM (
              SELECT status, type, priority, n AS kept, 0 AS counted FROM job_counts
              UNION ALL
              SELECT status, type, priority, 0, count(*) FROM jobs GROUP BY status, type, priority) AS each
            GROUP BY status, type, priority HAVING sum(kept) <> sum(counted)""",
        ("jobs", "job_counts"),
    ),
    Invariant(
        "counters of bytes that are not what counting says (status, type, priority: kept, counted)",
        f"""SELECT status || ' ' || type || ' ' || priority || ': ' || sum(kept) || '/' || sum(kept_of_results)
                  || ', ' || sum(counted) || '/' || sum(counted_of_results) FROM (
              SELECT status, type, priority, source_bytes AS kept, output_bytes AS kept_of_results, 0 AS counted,
                     0 AS counted_of_results FROM job_counts
              UNION ALL
              SELECT status, type, priority, 0, 0, {SOURCE_BYTES}, output_bytes FROM jobs
               WHERE output_bytes IS NOT NULL) AS each
            GROUP BY status, type, priority
            HAVING sum(kept) <> sum(counted) OR sum(kept_of_results) <> sum(counted_of_results)""",
        ("jobs.output_bytes", "job_counts.output_bytes"),
    ),
    Invariant(
        "counters of tags that are not what counting says (tag: kept, counted)",
        f"""SELECT tag || ': ' || sum(kept) || '/' || sum(source_kept) || '/' || sum(output_kept) || ', '
                  || sum(counted) || '/' || sum(source_counted) || '/' || sum(output_counted)
            FROM (
              SELECT tag, n AS kept, source_bytes AS source_kept, output_bytes AS output_kept, 0 AS counted,
                     0 AS source_counted, 0 AS output_counted FROM tag_counts
              UNION ALL
              SELECT t.tag, 0, 0, 0, 1, {SOURCE_BYTES}, output_bytes
                FROM job_tags AS t JOIN jobs ON jobs.id = t.job_id WHERE output_bytes IS NOT NULL) AS each
            GROUP BY tag HAVING sum(kept) <> sum(counted) OR sum(source_kept) <> sum(source_counted)
                             OR sum(output_kept) <> sum(output_counted)""",
        ("jobs.output_bytes", "job_tags", "tag_counts"),
    ),
    Invariant(
        "counters of batches that are not what counting says (batch, status, type: kept, counted)",
        """SELECT batch || ' ' || status || ' ' || type || ': ' || sum(kept) || ', ' || sum(counted)
             FROM (SELECT batch, status, type, n AS kept, 0 AS counted FROM batch_counts WHERE status <> 'gone'
                   UNION ALL
                   SELECT b.batch, status, type, 0, count(*) FROM batch_jobs AS b JOIN jobs ON jobs.id = b.job_id
                    GROUP BY b.batch, status, type) AS each
            GROUP BY batch, status, type HAVING sum(kept) <> sum(counted)""",
        ("jobs", "batch_jobs", "batch_counts"),
    ),
    Invariant(
        "batches that have ended and are waited for, or that should have ended",
        """SELECT id FROM batches WHERE (ended_at IS NOT NULL AND endings < 1) OR ((ended_at IS NULL)
              <> (closed_at IS NULL OR EXISTS (
                  SELECT 1 FROM batch_jobs AS b JOIN jobs ON jobs.id = b.job_id
                   WHERE b.batch = batches.id AND jobs.status NOT IN ('completed', 'dead', 'cancelled'))
                  OR EXISTS (
                  SELECT 1 FROM operations AS o JOIN batch_jobs AS b ON b.job_id = CAST(o.cursor AS BIGINT)
                   WHERE o.verb = 'start-children' AND o.ended_at IS NULL AND b.batch = batches.id))
              AND NOT (ended_at IS NULL AND EXISTS (
                  SELECT 1 FROM operations WHERE verb = 'join-stages' AND ended_at IS NULL)))""",
        ("jobs", "batches", "batch_jobs", "operations"),
    ),
    Invariant(
        "jobs whose batches are missing from the list of batches",
        """SELECT DISTINCT jobs.id FROM jobs, json_each(jobs.batches) AS said
            WHERE NOT EXISTS (SELECT 1 FROM batch_jobs AS b
                               WHERE b.batch = CAST(said.value AS BIGINT) AND b.job_id = jobs.id)""",
        ("jobs", "jobs.batches", "batch_jobs"),
    ),
    Invariant(
        "jobs in the list of batches under a batch that they do not have",
        """SELECT DISTINCT b.job_id FROM batch_jobs AS b LEFT JOIN jobs ON jobs.id = b.job_id
            WHERE NOT EXISTS (SELECT 1 FROM json_each(jobs.batches) AS said
                               WHERE CAST(said.value AS BIGINT) = b.batch)""",
        ("jobs", "jobs.batches", "batch_jobs"),
    ),
    Invariant(
        "jobs whose source is an output, of which that is not on record",
        """SELECT id FROM jobs WHERE chain LIKE '%"parent":%' AND chain LIKE '%"source":%'
              AND NOT EXISTS (SELECT 1 FROM kin WHERE kin.job_id = jobs.id AND kin.lent = 1)""",
        ("jobs.chain", "kin"),
    ),
    Invariant(
        "outputs on record as the sources of jobs that have another",
        """SELECT kin.job_id FROM kin LEFT JOIN jobs ON jobs.id = kin.job_id
            WHERE kin.lent = 1 AND coalesce(jobs.chain, '') NOT LIKE '%"source":%'
              AND coalesce(jobs.chain, '') NOT LIKE '%"joins":true%'""",
        ("jobs.chain", "kin"),
    ),
    Invariant(
        "jobs whose source is not proven, and that may be given to a worker",
        """SELECT id FROM jobs
            WHERE source_hash LIKE 'unproven/%' AND status NOT IN ('uploading', 'dead', 'cancelled')""",
        ("jobs.chain",),
    ),
    Invariant(
        "jobs that join others, of whose manifest there is no record",
        """SELECT id FROM jobs WHERE chain LIKE '%"joins":true%'
              AND NOT EXISTS (SELECT 1 FROM manifests AS m WHERE m.source_hash = jobs.source_hash)""",
        ("jobs.chain", "manifests"),
    ),
    Invariant(
        "jobs of whose result more is to be made, by an operation that has ended",
        """SELECT id FROM jobs WHERE chain LIKE '%"rest":%'
              AND NOT EXISTS (SELECT 1 FROM operations AS o
                               WHERE o.verb = 'start-children' AND o.ended_at IS NULL
                                 AND jobs.chain LIKE '%"rest":{"operation":' || o.id || ',%')""",
        ("jobs.chain", "operations"),
    ),
    Invariant(
        "families of more jobs than there may be (the first job: how many)",
        "SELECT root || ': ' || jobs FROM families WHERE jobs > 100000",
        ("families",),
    ),
    Invariant(
        "families of which no job is left",
        "SELECT root FROM families WHERE gone > jobs",
        ("families",),
    ),
    Invariant(
        "jobs with another number of further paths than they say",
        """SELECT id FROM jobs WHERE more_paths <> (SELECT count(*) FROM job_paths AS p WHERE p.job_id = jobs.id)""",
        ("jobs.more_paths", "job_paths"),
    ),
    Invariant(
        "counters of converters that are not what counting says (converter, status, type, priority: kept, counted)",
        """SELECT made_by || ' ' || status || ' ' || type || ' ' || priority || ': '
                  || sum(kept) || ', ' || sum(counted)
             FROM (SELECT made_by, status, type, priority, n AS kept, 0 AS counted FROM converter_counts
                   UNION ALL
                   SELECT made_by, status, type, priority, 0, count(*) FROM jobs WHERE made_by IS NOT NULL
                    GROUP BY made_by, status, type, priority) AS each
            GROUP BY made_by, status, type, priority HAVING sum(kept) <> sum(counted)""",
        ("jobs", "jobs.made_by", "converter_counts"),
    ),
    Invariant(
        "counters of jobs to be started later that are not what counting says (type, priority: kept, counted)",
        """SELECT type || ' ' || priority || ': ' || sum(kept) || ', ' || sum(counted)
             FROM (SELECT type, priority, n AS kept, 0 AS counted FROM deferred_counts
                   UNION ALL
                   SELECT type, priority, 0, count(*) FROM jobs
                    WHERE status = 'pending' AND releases = 0 AND not_before IS NOT NULL
                    GROUP BY type, priority) AS each
            GROUP BY type, priority HAVING sum(kept) <> sum(counted)""",
        ("jobs", "deferred_counts"),
    ),
    Invariant(
        "counters of workers that are not what counting says (status: kept, counted)",
        """SELECT status || ': ' || sum(kept) || ', ' || sum(counted) FROM (
              SELECT status, n AS kept, 0 AS counted FROM worker_counts
              UNION ALL
              SELECT status, 0, count(*) FROM workers GROUP BY status) AS each
            GROUP BY status HAVING sum(kept) <> sum(counted)""",
        ("workers", "worker_counts"),
    ),
    Invariant(
        "happenings that count nothing, or that do not exist (step, slot, type, what)",
        """SELECT step || ' ' || slot || ' ' || type || ' ' || what FROM happenings WHERE n < 1 OR slot < 0
              OR what NOT IN ('submitted', 'completed', 'failed', 'lost', 'released', 'cancelled', 'revoked')""",
        ("happenings",),
    ),
    Invariant(
        "splits that count nothing, or that do not exist (step, slot, type, what, part)",
        """SELECT step || ' ' || slot || ' ' || type || ' ' || what || ' ' || part FROM splits
            WHERE n < 1 OR slot < 0 OR part < 0 OR what NOT IN ('queued', 'ran', 'cause')
               OR (what <> 'cause' AND part > 120)""",
        ("splits",),
    ),
    # Of the first slot some may be forgotten already; what is later than the last one is not summed yet.
    *(
        Invariant(
            f"{table} of all types that are not the sum of each (step, slot, {kind})",
            f"""SELECT step || ' ' || slot || ' ' || {kind} FROM (
                  SELECT step, slot, {kind}, n FROM {table}_of_all
                  UNION ALL
                  SELECT step, slot, {kind}, -n FROM {table} AS t
                   WHERE slot <= (SELECT max(slot) FROM {table}_of_all AS a WHERE a.step = t.step)) AS each
                WHERE slot > (SELECT min(slot) FROM {table} AS t WHERE t.step = each.step)
                GROUP BY step, slot, {kind} HAVING sum(n) <> 0 OR count(*) = 1""",
            (table, f"{table}_of_all"),
        )
        for table, kind in (("happenings", "what"), ("depths", "status"))
    ),
    # Of the first slot some may be forgotten already. Which causes are counted together is decided for each type and
    # for all types, so only their sum is the same.
    Invariant(
        "splits of all types that are not the sum of each (step, slot, what)",
        """SELECT step || ' ' || slot || ' ' || what FROM splits
            WHERE step NOT IN (0, 604800)
              AND slot > (SELECT min(first.slot) FROM splits AS first WHERE first.step = splits.step)
            GROUP BY step, slot, what, CASE WHEN what = 'cause' THEN 0 ELSE part END
           HAVING sum(CASE WHEN type = '' THEN n ELSE -n END) <> 0""",
        ("splits",),
    ),
    Invariant(
        "counters of causes that are not what counting says (cause, status: kept, counted)",
        """SELECT failure || ' ' || status || ': ' || sum(kept) || ', ' || sum(counted) FROM (
              SELECT failure, status, n AS kept, 0 AS counted FROM failure_counts
              UNION ALL
              SELECT failure, status, 0, count(*) FROM jobs
               WHERE failure IS NOT NULL AND status IN ('failed', 'dead') GROUP BY failure, status) AS each
            GROUP BY failure, status HAVING sum(kept) <> sum(counted)""",
        ("jobs", "failure_counts"),
    ),
    Invariant(
        "jobs whose tags are missing from the list of tags",
        """SELECT DISTINCT jobs.id FROM jobs, json_each(jobs.tags) AS said
            WHERE NOT EXISTS (SELECT 1 FROM job_tags AS t WHERE t.tag = said.value AND t.job_id = jobs.id)""",
        ("jobs", "job_tags"),
    ),
    Invariant(
        "jobs in the list of tags under a tag that they do not have",
        """SELECT DISTINCT t.job_id FROM job_tags AS t LEFT JOIN jobs ON jobs.id = t.job_id
            WHERE NOT EXISTS (SELECT 1 FROM json_each(jobs.tags) AS said WHERE said.value = t.tag)""",
        ("jobs", "job_tags"),
    ),
    Invariant(
        "jobs whose metadata, result, progress or tags are no JSON",
        """SELECT id FROM jobs WHERE json_valid(metadata) = 0 OR json_valid(result) = 0 OR json_valid(progress) = 0
              OR json_valid(tags) = 0""",
    ),
    Invariant(
        "records of objects that name neither a source nor an attempt's output, nor one that jobs of a source share",
        """SELECT key FROM files WHERE NOT CASE WHEN job_id IS NULL
              THEN (key LIKE 'sources/%' OR key LIKE 'outputs/%') AND length(key) = 72 AND attempt IS NULL
              ELSE attempt IS NOT NULL AND key LIKE 'outputs/%' || job_id || '/' || attempt || '/%' END""",
        ("files",),
    ),
    Invariant(
        "records of objects with a size or a checksum that cannot be",
        """SELECT key FROM files WHERE size < 0 OR (sha256 IS NOT NULL AND length(sha256) <> 64)
              OR (key LIKE 'sources/%' AND sha256 IS NOT NULL AND key <> 'sources/' || sha256)""",
        ("files",),
    ),
    Invariant(
        "records of outputs whose attempt is not on record",
        """SELECT key FROM files WHERE job_id IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM attempts AS a WHERE a.job_id = files.job_id AND a.attempt = files.attempt)""",
        ("files", "attempts"),
    ),
    Invariant(
        "objects to be deleted that are none of ours",
        """SELECT key FROM doomed_objects WHERE NOT (key LIKE 'sources/%' OR key LIKE 'outputs/%'
              OR key LIKE 'accepted/%' OR key LIKE 'incoming/%' OR key LIKE 'forgotten/outputs/%')""",
        ("doomed_objects",),
    ),
    Invariant(
        "sources that are being deleted, and have jobs",
        """SELECT key FROM doomed_objects WHERE state = 'deleting' AND key LIKE 'sources/%'
              AND EXISTS (SELECT 1 FROM jobs WHERE source_hash = substr(doomed_objects.key, 9)
                             AND coalesce(jobs.chain, '') NOT LIKE '%"source":%')""",
        ("doomed_objects", "jobs", "jobs.chain"),
    ),
    Invariant(
        "results that are being deleted, and are those of jobs",
        """SELECT key FROM doomed_objects WHERE state = 'deleting' AND key LIKE 'outputs/%'
              AND EXISTS (SELECT 1 FROM jobs WHERE source_hash = substr(key, 9) AND output_key = key)""",
        ("doomed_objects", "jobs"),
    ),
    Invariant(
        "results that are on record as replaced, and are those of their jobs",
        """SELECT superseded.job_id FROM superseded JOIN jobs ON jobs.id = superseded.job_id
            WHERE superseded.attempt = CASE status WHEN 'completed' THEN jobs.attempt ELSE kept_attempt END
               OR superseded.newer < 0""",
        ("superseded", "jobs", "jobs.kept_attempt"),
    ),
    Invariant(
        "searches of the object store that go on and have ended, or neither",
        "SELECT name FROM searches WHERE (state = 'running') <> (ended_at IS NULL)",
        ("searches",),
    ),
    # --- canaries
    Invariant(
        "types of comparisons that workers may ask for, and no canary that goes on",
        """SELECT type FROM type_settings AS t WHERE made_by IS NOT NULL AND NOT EXISTS (
              SELECT 1 FROM canaries AS c WHERE c.closed_at IS NULL AND t.type LIKE '%/canary/' || c.id)""",
        ("type_settings.made_by", "canaries"),
    ),
    Invariant(
        "comparisons that no canary knows",
        """SELECT id FROM jobs WHERE instr(type, '/canary/') > 0
              AND NOT EXISTS (SELECT 1 FROM canary_jobs AS c WHERE c.job_id = jobs.id)""",
        ("jobs", "canary_jobs"),
    ),
    Invariant(
        "comparisons that have not ended, of canaries that are closed",
        """SELECT jobs.id FROM canaries AS c JOIN canary_jobs AS p ON p.canary_id = c.id
              JOIN jobs ON jobs.id = p.job_id
            WHERE c.closed_at IS NOT NULL AND jobs.status NOT IN ('completed', 'dead', 'cancelled')""",
        ("jobs", "canaries", "canary_jobs"),
    ),
    # --- the index of texts
    Invariant(
        "jobs that the index of texts lacks, though it should have them",
        """SELECT id FROM jobs WHERE id <= (SELECT upto FROM texts_indexed)
              AND NOT EXISTS (SELECT 1 FROM job_texts AS t WHERE t.rowid = jobs.id)
              AND NOT EXISTS (SELECT 1 FROM texts_changed AS c WHERE c.job_id = jobs.id)""",
        ("jobs", "job_texts", "texts_indexed", "texts_changed"),
    ),
    # --- workers
    Invariant(
        "workers that are there, but disabled or not registered",
        "SELECT id FROM workers WHERE status <> 'offline' AND NOT (enabled = 1 AND registered = 1)",
        ("workers",),
    ),
    Invariant(
        "workers that drain by one column and not by the other",
        "SELECT id FROM workers WHERE status <> 'offline' AND (status = 'draining') <> (drain = 1)",
        ("workers",),
    ),
    Invariant(
        "workers with two owners, a token and a secret",
        "SELECT id FROM workers WHERE token_id IS NOT NULL AND secret_hash IS NOT NULL",
        ("workers",),
    ),
)
