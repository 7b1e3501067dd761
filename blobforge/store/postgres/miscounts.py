"""What kept counters lack: all jobs are counted on one snapshot, beside the turns of all servers.

It takes seconds with a million jobs, and holds up no writer; a session of its own, for its statements are the only
ones that walk whole tables.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from blobforge.job import JobStatus
from blobforge.store.miscounts import Miscounts
from blobforge.store.postgres.connecting import open_pipeline
from blobforge.store.postgres.pipeline import SqlAnswer, SqlValue
from blobforge.store.sql.sql import SOURCE_BYTES
from blobforge.store.tallies import Tallies, Weight

ANSWER_SECONDS: Final = 600.0  # for one statement
# No more than one processor of the database's machine.
_SESSION: Final = f"""
    SELECT set_config('jit', 'off', false),
           set_config('max_parallel_workers_per_gather', '0', false),
           set_config('default_transaction_read_only', 'on', false),
           set_config('statement_timeout', '{ANSWER_SECONDS:.0f}s', false)"""
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_RECOUNT: Final = "SELECT -recounted, older FROM turn WHERE one = 1"
_BYTES: Final = f"""
    SELECT status, type, priority, sum(source)::bigint, sum(output)::bigint
      FROM (SELECT status, type, priority, sum({SOURCE_BYTES}) AS source, sum(output_bytes) AS output
              FROM jobs WHERE output_bytes IS NOT NULL GROUP BY status, type, priority
             UNION ALL SELECT status, type, priority, -source_bytes, -output_bytes FROM job_counts) AS each
     GROUP BY status, type, priority HAVING sum(source) <> 0 OR sum(output) <> 0 LIMIT $1"""
_TAGS: Final = f"""
    SELECT tag, sum(n)::bigint, sum(source)::bigint, sum(output)::bigint
      FROM (SELECT t.tag, count(*) AS n, sum({SOURCE_BYTES}) AS source, sum(output_bytes) AS output
              FROM job_tags AS t JOIN jobs ON jobs.id = t.job_id WHERE output_bytes IS NOT NULL GROUP BY t.tag
             UNION ALL SELECT tag, -n, -source_bytes, -output_bytes FROM tag_counts) AS each
     GROUP BY tag HAVING sum(n) <> 0 OR sum(source) <> 0 OR sum(output) <> 0 LIMIT $1"""
_BATCHES: Final = """
    SELECT batch, status, type, sum(n)::bigint
      FROM (SELECT b.batch, status, type, count(*) AS n
              FROM batch_jobs AS b JOIN jobs ON jobs.id = b.job_id GROUP BY b.batch, status, type
             UNION ALL SELECT batch, status, type, -n FROM batch_counts WHERE status <> 'gone') AS each
     GROUP BY batch, status, type HAVING sum(n) <> 0 LIMIT $1"""
_CONVERTERS: Final = """
    SELECT made_by, status, type, priority, sum(n)::bigint
      FROM (SELECT made_by, status, type, priority, count(*) AS n
              FROM jobs WHERE made_by IS NOT NULL GROUP BY made_by, status, type, priority
             UNION ALL SELECT made_by, status, type, priority, -n FROM converter_counts) AS each
     GROUP BY made_by, status, type, priority HAVING sum(n) <> 0 LIMIT $1"""
_DEFERRED: Final = """
    SELECT type, priority, sum(n)::bigint
      FROM (SELECT type, priority, count(*) AS n
              FROM jobs WHERE status = 'pending' AND releases = 0 AND not_before IS NOT NULL GROUP BY type, priority
             UNION ALL SELECT type, priority, -n FROM deferred_counts) AS each
     GROUP BY type, priority HAVING sum(n) <> 0 LIMIT $1"""
# Jobs that a server has completed, or given back, or made, that keeps no bytes; not those that are being weighed.
_UNWEIGHED: Final = """
    SELECT id FROM jobs
     WHERE (output_bytes > 0 AND output_key IS NULL)
        OR (output_bytes = 0 AND output_key IS NOT NULL
            AND EXISTS (SELECT 1 FROM files WHERE files.key = jobs.output_key AND files.size > 0))
        OR (output_bytes IS NULL
            AND NOT EXISTS (SELECT 1 FROM weighing AS w WHERE jobs.id BETWEEN w.next_job AND w.last_job))
     LIMIT $1"""


def look(url: str, *, most: int) -> Miscounts:
    """At most so many of each kind. Raises StoreUnavailable, or an error of PostgreSQL's."""
    with closing(open_pipeline(url)) as pipe:

        def ask(statement: str, *values: SqlValue) -> SqlAnswer:
            return pipe.run(statement, values, within=ANSWER_SECONDS)

        ask(_SESSION)
        ask(_BEGIN)
        ((recount, older),) = ask(_RECOUNT).rows
        lacking = Tallies()
        for status, type_, priority, source, output in ask(_BYTES, most).rows:
            lacking.jobs[JobStatus(status), type_, priority] = Weight(0, source, output)
        for tag, *weight in ask(_TAGS, most).rows:
            lacking.tags[tag,] = Weight(*weight)
        for batch, status, type_, n in ask(_BATCHES, most).rows:
            lacking.batches[batch, status, type_] = n
        for made_by, status, type_, priority, n in ask(_CONVERTERS, most).rows:
            lacking.converters[made_by, JobStatus(status), type_, priority] = n
        for type_, priority, n in ask(_DEFERRED, most).rows:
            lacking.deferred[type_, priority] = n
        return Miscounts(recount, older, lacking, tuple(id_ for (id_,) in ask(_UNWEIGHED, most).rows))
