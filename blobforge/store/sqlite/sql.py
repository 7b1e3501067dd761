"""What SQLite alone is asked for, named: statements of the working set, of the file's upkeep, of comparing two files.

What opens the file, and begins and ends a transaction, stands where that is done; what checks a database stands
beside the sentence that it proves, in `invariants.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from blobforge.store.needs import LATEST_ENDS
from blobforge.store.sql.sql import ATTEMPT_COLUMNS, BATCH_COLUMNS, FILE_COLUMNS, JOB_COLUMNS, READY, WORKER_COLUMNS


# --- what a transaction needs: rows by their names
class LoadPart(NamedTuple):
    """`one`: a statement that gives the rows of one name. `many`: the same for a JSON array of names, as one value of
    a SELECT that has several, a JSON array of rows: SQLite hands the interpreter's lock over with each row that it
    gives."""

    one: str
    many: str


def _rows_of(columns: str, rest: str) -> LoadPart:
    """In `rest`, `{is_one}` is where the names are compared; `{is_pair}` and `{is_triple}` where each is two or three
    values."""
    many = rest.format(
        is_one="IN (SELECT value FROM json_each(?))",
        is_pair="IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        is_triple="IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?))",
    )
    return LoadPart(
        f"SELECT {columns} FROM {rest.format(is_one='= ?', is_pair='= (?, ?)', is_triple='= (?, ?, ?)')}",
        f"(SELECT json_group_array(json_array({columns})) FROM {many})",
    )


# By their ids, by the hashes of their sources, by the workers that run them.
NEEDED_JOBS: Final = _rows_of(JOB_COLUMNS, "jobs WHERE id {is_one}")
NEEDED_OF_SOURCES: Final = _rows_of(
    JOB_COLUMNS, "(SELECT * FROM jobs WHERE source_hash {is_one} ORDER BY source_hash, type)"
)
NEEDED_BESIDE: Final = _rows_of(
    JOB_COLUMNS, "jobs WHERE source_hash IN (SELECT of.source_hash FROM jobs AS of WHERE of.id {is_one})"
)
NEEDED_OF_WORKERS: Final = _rows_of(
    JOB_COLUMNS, "jobs INDEXED BY jobs_running WHERE status = 'running' AND worker_id {is_one}"
)
# Of one line, and of the two lines of a type.
_FIRST: Final = f"SELECT * FROM jobs INDEXED BY jobs_ready WHERE {READY} ORDER BY priority, id LIMIT ?"
NEEDED_READY: Final = _rows_of(JOB_COLUMNS, f"({_FIRST})")
NEEDED_READY_OF_TWO: Final = _rows_of(JOB_COLUMNS, f"(SELECT * FROM ({_FIRST}) UNION ALL SELECT * FROM ({_FIRST}))")
NEEDED_KEPT: Final = _rows_of(
    JOB_COLUMNS,
    "(SELECT * FROM jobs INDEXED BY jobs_kept WHERE status = 'pending' AND avoid IS NOT NULL AND type = ?"
    " AND lane = ? ORDER BY priority, id LIMIT ?)",
)
# The first ones of a group of lines, in any order: (type, lane) pairs, how many of each and how many of all. Places
# in the queue are compared as one number.
_PLACE: Final = "j.priority << 50 | j.id"


def _first_of_lines(index: str, which: str) -> LoadPart:
    places = f"""
        SELECT json_group_array(at) FROM (
            SELECT {_PLACE} AS at FROM jobs AS j INDEXED BY {index}
             WHERE {which} AND j.type = line.value ->> 0 AND j.lane = line.value ->> 1
             ORDER BY j.priority, j.id LIMIT ?)"""
    first = f"""
        SELECT place.value & ((1 << 50) - 1) FROM json_each(?) AS line, json_each(({places})) AS place
         ORDER BY place.value LIMIT ?"""
    return _rows_of(JOB_COLUMNS, f"jobs WHERE id IN ({first})")


NEEDED_READY_OF_GROUP: Final = _first_of_lines(
    "jobs_ready", "j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL"
)
NEEDED_KEPT_OF_GROUP: Final = _first_of_lines("jobs_kept", "j.status = 'pending' AND j.avoid IS NOT NULL")
# The groups of a line that have ready jobs, in the order in which their first ones come; and those of jobs in hand.
_GROUP_LINE: Final = "priority, of_group, lane, ready, running, rounds, turn, job"
GROUPS_IN_TURN: Final = f"""
    SELECT {_GROUP_LINE} FROM group_lines INDEXED BY group_lines_in_turn
     WHERE ready > 0 AND type = ? AND lane = ? ORDER BY priority, rounds, turn, job LIMIT ?"""
GROUPS_IN_HAND: Final = f"""
    SELECT type, {_GROUP_LINE} FROM group_lines WHERE (type, priority, of_group) IN (
        SELECT type, priority, of_group FROM jobs
         WHERE id IN (SELECT value FROM json_each(?)) AND turn > 0 AND status = 'running')"""
JOBS_BY_ID: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
NEXT_OF_GROUP: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_of_group
     WHERE {READY} AND turn > 0 AND priority = ? AND of_group = ? AND turn >= ? ORDER BY turn, id LIMIT ?"""
# The last column: how many jobs without a group run.
NEEDED_CLOCKS: Final = _rows_of(
    "type, priority, now, alone, (SELECT coalesce(sum(n), 0) FROM job_counts AS k WHERE k.status = 'running'"
    " AND k.type = c.type AND k.priority = c.priority) - coalesce((SELECT running FROM group_runs AS g"
    " WHERE g.type = c.type AND g.priority = c.priority), 0)",
    "group_clocks AS c WHERE type {is_one}",
)
# (type, priority, group) triples.
NEEDED_TURNS: Final = _rows_of(
    "type, priority, of_group, turn", "group_turns WHERE (type, priority, of_group) {is_triple}"
)
NEEDED_RUNS: Final = _rows_of(
    "type, priority, of_group, running", "group_lines WHERE (type, priority, of_group) {is_triple}"
)
NEEDED_WORKERS: Final = _rows_of(WORKER_COLUMNS, "workers WHERE id {is_one}")
# (job, attempt) pairs.
NEEDED_ATTEMPTS: Final = _rows_of(
    ATTEMPT_COLUMNS,
    "attempts WHERE (job_id, attempt) {is_pair}",
)
NEEDED_FILES: Final = _rows_of(f"key, {FILE_COLUMNS}", "files WHERE key {is_one}")
NEEDED_SOURCE_FILES: Final = _rows_of(
    f"'sources/' || jobs.source_hash, {FILE_COLUMNS}",
    "jobs LEFT JOIN files ON files.key = 'sources/' || jobs.source_hash WHERE jobs.id {is_one}",
)
NEEDED_DOOMS: Final = _rows_of("key, state, tries, epoch, again", "doomed_objects WHERE key {is_one}")
# (hash of a source, path) pairs: which of its jobs have it among their further paths.
NEEDED_PATHS: Final = _rows_of(
    "jobs.source_hash, p.path, jobs.id",
    "jobs JOIN job_paths AS p ON p.job_id = jobs.id WHERE (jobs.source_hash, p.path) {is_pair}",
)
NEEDED_BATCHES: Final = _rows_of(BATCH_COLUMNS, "batches AS b WHERE id {is_one}")
NEEDED_CLAIM_KEYS: Final = _rows_of(
    "worker_id, claim_key, jobs",
    "claim_keys WHERE (worker_id, claim_key) {is_pair}",
)
NEEDED_CAUSES: Final = _rows_of("fingerprint, id", "failures WHERE fingerprint {is_one}")
NEEDED_LOADS: Final = _rows_of(
    "type, (SELECT coalesce(sum(n), 0) FROM job_counts WHERE status = 'running' AND job_counts.type = t.type), owed,"
    " owed_at",
    "type_settings AS t WHERE type {is_one}",
)
# How many were completed by hour, since the first failure in a row, and in the latest day: the clock may have been
# set back, and a row that begins now is of an earlier hour than the one before.
_ROW: Final = """
    asked.value, (SELECT state FROM breakers WHERE type = asked.value),
    (SELECT '' || json_group_array(json_array(slot, n)) FROM happenings
      WHERE step = 3600 AND type = asked.value AND what = 'completed'
        AND slot >= min(coalesce((SELECT hour FROM breakers WHERE type = asked.value), 9223372036854775807),
                        (SELECT max(slot) - 24 FROM happenings WHERE step = 3600)))"""
NEEDED_ROWS: Final = LoadPart(
    f"SELECT {_ROW} FROM (SELECT ? AS value) AS asked",
    f"(SELECT json_group_array(json_array({_ROW})) FROM json_each(?) AS asked)",
)
# By itself: an outcome has up to some MiB, and as JSON it would be there four times at once.
NEEDED_REPEATED: Final = """
    SELECT subject, key, fingerprint, outcome, created_at FROM idempotency
     WHERE (subject, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"""
# Which workers have failed each of these jobs, or could not do it, by the last of its attempts.
NEEDED_FAILED: Final = _rows_of(
    "job_id, worker_id",
    """(SELECT DISTINCT job_id, worker_id
           FROM (SELECT job_id, worker_id, outcome, kind,
                        row_number() OVER (PARTITION BY job_id ORDER BY attempt DESC) AS back
                   FROM attempts WHERE job_id {is_one})
          WHERE back <= ? AND (outcome = 'failed' OR (outcome = 'released' AND kind = 'trouble'))
          ORDER BY job_id, worker_id)""",
)
# (worker, JSON array of how its latest attempts have ended).
_LATEST: Final = f"""
    (SELECT '' || json_group_array(json_array(a.job_id, jobs.type, a.started_at, a.ended_at, a.outcome))
       FROM (SELECT * FROM attempts INDEXED BY attempts_by_worker WHERE worker_id = asked.value
              ORDER BY started_at DESC, job_id DESC, attempt DESC LIMIT {LATEST_ENDS}) AS a
       JOIN jobs ON jobs.id = a.job_id WHERE a.outcome IN ('completed', 'failed', 'lost'))"""
NEEDED_LATEST: Final = LoadPart(
    f"SELECT asked.value, {_LATEST} FROM (SELECT ? AS value) AS asked",
    f"(SELECT json_group_array(json_array(asked.value, {_LATEST})) FROM json_each(?) AS asked)",
)
NEEDED_SETS: Final = _rows_of("number, type, requires", "requirement_sets")
NEEDED_HIGHEST: Final = _rows_of("n", "(SELECT coalesce(max(seq), 0) AS n FROM sqlite_sequence WHERE name = 'jobs')")
ANY_KEPT: Final = """
    SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_kept WHERE status = 'pending' AND avoid IS NOT NULL)"""


# --- what a transaction has changed, each table in one statement: see `sets.py` for what is in braces
def _values(first: int, last: int) -> str:
    return ", ".join(f"{{{at}}}" for at in range(first, last))


@lru_cache(maxsize=256)
def move_jobs(columns: tuple[str, ...]) -> str:
    """Jobs that were read in that status and attempt (the first three values: id, status, attempt) get these columns.

    A column that is named is written to each index that has it, changed or not: so only those are that have changed.
    `+`: the status is in an index, too, and by that many more jobs would be looked at than by their ids.
    """
    moved = ", ".join(f"{column} = {{{at}}}" for at, column in enumerate(columns, start=3))
    return f"""
        UPDATE jobs SET {moved} {{set_from}}
         WHERE jobs.id = {{0}} AND +jobs.status = {{1}} AND jobs.attempt = {{2}}"""


JOB_STATES: Final = "SELECT id, status, attempt FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
INSERT_JOBS: Final = f"""
    INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path,
                      source_size, tags, metadata, submitter, output_bytes, options, options_hash, requires, lane,
                      not_before, of_group, turn, expires_at, batches, chain)
    {{row}} {_values(0, 24)} {{each}} {{in_order}}"""
INSERT_JOB_TAGS: Final = "INSERT OR IGNORE INTO job_tags (tag, job_id) {row} {0}, {1} {each}"
JOIN_BATCHES: Final = "INSERT OR IGNORE INTO batch_jobs (batch, job_id) {row} {0}, {1} {each}"
ADD_KIN: Final = """
    INSERT OR IGNORE INTO kin (parent, attempt, step, name, job_id, lent) {row} {0}, {1}, {2}, {3}, {4}, {5} {each}"""
COUNT_FAMILIES: Final = """
    INSERT INTO families (root, jobs) {row} {0}, {1} {each}
    ON CONFLICT (root) DO UPDATE SET jobs = jobs + excluded.jobs"""
LESSEN_FAMILIES: Final = "UPDATE families SET gone = gone + {1} {set_from} WHERE families.root = {0}"
DROP_FAMILIES: Final = "DELETE FROM families WHERE gone > jobs AND root IN ({row} {0} {each})"
LEAVE_BATCHES: Final = "DELETE FROM batch_jobs WHERE (batch, job_id) IN ({row} {0}, {1} {each})"
CHANGE_TEXTS: Final = """
    INSERT INTO texts_changed (job_id, large) {row} {0}, 0 {each} ON CONFLICT (job_id) DO UPDATE SET large = 0"""
START_BATCHES: Final = "UPDATE batches SET started_at = {1} {set_from} WHERE batches.id = {0} AND started_at IS NULL"
SAVE_BATCHES: Final = """
    UPDATE batches SET closed_at = {1}, ended_at = {2}, endings = {3} {set_from} WHERE batches.id = {0}"""
DELETE_JOB_TAGS: Final = "DELETE FROM job_tags WHERE (tag, job_id) IN ({row} {0}, {1} {each})"
ADD_JOB_PATHS: Final = "INSERT INTO job_paths (job_id, n, path) {row} {0}, {1}, {2} {each}"
# Their tags, paths, attempts and results go along.
DELETE_JOBS: Final = """
    DELETE FROM jobs WHERE id IN (
        SELECT jobs.id {each_and} jobs WHERE jobs.id = {0} AND +jobs.status = {1} AND jobs.attempt = {2})"""
# Attempts of a job are added in their order; the first one needs no look at others.
START_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, output_key, converter, ordinal)
    {{row}} {_values(0, 7)},
           CASE WHEN {{1}} = 1 THEN 1 ELSE
               1 + coalesce((SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = {{0}}
                              ORDER BY attempt DESC LIMIT 1), 0) END
      {{each}} {{in_order}}"""
# An update in disguise: where ANALYZE has seen a small table, an UPDATE ... FROM walks all of it, and CROSS JOIN is
# the one way to tell the planner what comes first.
END_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback,
                          log_tail, converter, failure, given_back)
    SELECT a.job_id, a.attempt, a.worker_id, a.lease, a.started_at, {_values(2, 11)}
      {{each_and}} attempts AS a WHERE a.job_id = {{0}} AND a.attempt = {{1}}
    ON CONFLICT (job_id, attempt) DO UPDATE SET ended_at = excluded.ended_at, outcome = excluded.outcome,
        kind = excluded.kind, error = excluded.error, traceback = excluded.traceback, log_tail = excluded.log_tail,
        converter = excluded.converter, failure = excluded.failure, given_back = excluded.given_back"""
DROP_RESULTS: Final = "DELETE FROM results WHERE (job_id, attempt) IN ({row} {0}, {1} {each})"
DROP_RESULTS_BUT: Final = """
    DELETE FROM results WHERE (job_id, attempt) IN (
        SELECT results.job_id, results.attempt {each_and} results
         WHERE results.job_id = {0} AND results.attempt IS NOT {1})"""
FORGET_FILES: Final = "DELETE FROM files WHERE key IN ({row} {0} {each})"
RECORD_FILES: Final = f"""
    INSERT INTO files (key, size, sha256, job_id, attempt, created_at, checked_at, etag, version, keeping)
    {{row}} {_values(0, 10)} {{each}}
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, checked_at = excluded.checked_at,
        etag = excluded.etag, version = excluded.version, keeping = excluded.keeping"""
KEEP_FILES: Final = "UPDATE files SET kept = {1}, keeping = 0 {set_from} WHERE files.key = {0}"
SAVE_WORKERS: Final = f"""
    INSERT INTO workers ({WORKER_COLUMNS}) {{row}} {_values(0, 23)} {{each}}
    ON CONFLICT (id) DO UPDATE SET type = excluded.type, status = excluded.status,
        updated_at = excluded.updated_at, name = excluded.name, enabled = excluded.enabled,
        last_heartbeat = excluded.last_heartbeat, metadata = excluded.metadata, labels = excluded.labels,
        version = excluded.version, token_id = excluded.token_id, secret_hash = excluded.secret_hash,
        drain = excluded.drain, registered = excluded.registered, instance = excluded.instance,
        contested_at = excluded.contested_at, contested_by = excluded.contested_by, accepts = excluded.accepts,
        converter = excluded.converter, quarantine = excluded.quarantine, readmitted_at = excluded.readmitted_at"""
BEAT_WORKERS: Final = """
    INSERT INTO workers (id, type, status, created_at, last_heartbeat, updated_at)
    SELECT w.id, w.type, w.status, w.created_at, {1}, {2} {each_and} workers AS w WHERE w.id = {0}
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat, updated_at = excluded.updated_at"""
SAVE_OWED: Final = "UPDATE type_settings SET owed = {1}, owed_at = {2} {set_from} WHERE type = {0}"
SAVE_ROWS: Final = """
    INSERT INTO breakers (type, hour, state) {row} {0}, {1}, {2} {each}
    ON CONFLICT (type) DO UPDATE SET hour = excluded.hour, state = excluded.state"""
SAVE_CLOCKS: Final = """
    INSERT INTO group_clocks (type, priority, now, alone) {row} {0}, {1}, {2}, {3} {each}
    ON CONFLICT (type, priority) DO UPDATE SET now = excluded.now, alone = excluded.alone"""
SAVE_TURNS: Final = """
    INSERT INTO group_turns (type, priority, of_group, turn) {row} {0}, {1}, {2}, {3} {each}
    ON CONFLICT (type, priority, of_group) DO UPDATE SET turn = excluded.turn"""
DELETE_WORKERS: Final = "DELETE FROM workers WHERE id IN ({row} {0} {each})"
FORGET_WORKER_TYPES: Final = "DELETE FROM worker_types WHERE worker_id IN ({row} {0} {each})"
ADD_WORKER_TYPES: Final = "INSERT OR IGNORE INTO worker_types (worker_id, type) {row} {0}, {1} {each}"
INSERT_CAUSES: Final = f"""
    INSERT INTO failures (id, fingerprint, kind, place, example, first_seen, last_seen, n)
    {{row}} {_values(0, 8)} {{each}}"""
SEE_CAUSES: Final = """
    UPDATE failures SET last_seen = max(last_seen, {3}), first_seen = min(first_seen, {2}), n = n + ({4}),
                        example = CASE WHEN {3} >= last_seen THEN {1} ELSE example END
      {set_from} WHERE failures.id = {0}"""
SAVE_CLAIM_KEYS: Final = f"""
    INSERT OR REPLACE INTO claim_keys (worker_id, claim_key, jobs, created_at)
    {{row}} {_values(0, 4)} {{each}} {{in_order}}"""
# One by one, for the same reason.
SAVE_REPEATED: Final = """
    INSERT OR REPLACE INTO idempotency (subject, key, fingerprint, outcome, created_at) VALUES (?, ?, ?, ?, ?)"""
SAVE_UNDOS: Final = f"""
    INSERT OR IGNORE INTO undos (token, job_id, was, became, at) {{row}} {_values(0, 5)} {{each}} {{in_order}}"""
INSERT_AUDIT: Final = f"""
    INSERT INTO audit (at, actor, name, address, action, subject, detail)
    {{row}} {_values(0, 7)} {{each}} {{in_order}}"""
INSERT_DELIVERIES: Final = f"""
    INSERT INTO deliveries (webhook, event, at, data, due_at, sealed)
    {{row}} {_values(0, 6)} {{each}} {{in_order}}"""
# Counters, each moved by the last value. Those that count what is there never fall below zero (the schema says so):
# an upsert of a negative number would be refused before it was added.
MOVE_JOB_COUNTS: Final = """
    INSERT INTO job_counts (status, type, priority, n, source_bytes, output_bytes)
    {row} {0}, {1}, {2}, {3} + coalesce((SELECT c.n FROM job_counts AS c
                                           WHERE c.status = {0} AND c.type = {1} AND c.priority = {2}), 0),
          {4}, {5} {each}
    ON CONFLICT (status, type, priority) DO UPDATE SET n = excluded.n,
        source_bytes = source_bytes + excluded.source_bytes, output_bytes = output_bytes + excluded.output_bytes"""
MOVE_TAG_COUNTS: Final = """
    INSERT INTO tag_counts (tag, n, source_bytes, output_bytes)
    {row} {0}, {1} + coalesce((SELECT c.n FROM tag_counts AS c WHERE c.tag = {0}), 0), {2}, {3} {each}
    ON CONFLICT (tag) DO UPDATE SET n = excluded.n, source_bytes = source_bytes + excluded.source_bytes,
        output_bytes = output_bytes + excluded.output_bytes"""
MOVE_BATCH_COUNTS: Final = """
    INSERT INTO batch_counts (batch, status, type, n)
    {row} {0}, {1}, {2}, {3} + coalesce((SELECT c.n FROM batch_counts AS c
                                           WHERE c.batch = {0} AND c.status = {1} AND c.type = {2}), 0) {each}
    ON CONFLICT (batch, status, type) DO UPDATE SET n = excluded.n"""
MOVE_CONVERTER_COUNTS: Final = """
    INSERT INTO converter_counts (made_by, status, type, priority, n)
    {row} {0}, {1}, {2}, {3}, {4} + coalesce((
              SELECT c.n FROM converter_counts AS c
               WHERE c.made_by = {0} AND c.status = {1} AND c.type = {2} AND c.priority = {3}), 0) {each}
    ON CONFLICT (made_by, status, type, priority) DO UPDATE SET n = excluded.n"""
MOVE_DEFERRED_COUNTS: Final = """
    INSERT INTO deferred_counts (type, priority, n)
    {row} {0}, {1}, {2} + coalesce((SELECT c.n FROM deferred_counts AS c
                                      WHERE c.type = {0} AND c.priority = {1}), 0) {each}
    ON CONFLICT (type, priority) DO UPDATE SET n = excluded.n"""
MOVE_FAILURE_COUNTS: Final = """
    INSERT INTO failure_counts (failure, status, n)
    {row} {0}, {1}, {2} + coalesce((SELECT c.n FROM failure_counts AS c
                                      WHERE c.failure = {0} AND c.status = {1}), 0) {each}
    ON CONFLICT (failure, status) DO UPDATE SET n = excluded.n"""
MOVE_WORKER_COUNTS: Final = """
    INSERT INTO worker_counts (status, n)
    {row} {0}, {1} + coalesce((SELECT c.n FROM worker_counts AS c WHERE c.status = {0}), 0) {each}
    ON CONFLICT (status) DO UPDATE SET n = excluded.n"""
ADD_HAPPENINGS: Final = f"""
    INSERT INTO happenings (step, slot, type, what, n) {{row}} {_values(0, 5)} {{each}}
    ON CONFLICT (step, slot, type, what) DO UPDATE SET n = n + excluded.n"""
# Sums over all types of slots that are not over by that time (seconds).
FORGET_SUMS_OF_HAPPENINGS: Final = "DELETE FROM happenings_of_all WHERE (slot + 1) * step > ?"
FORGET_SUMS_OF_DEPTHS: Final = "DELETE FROM depths_of_all WHERE (slot + 1) * step > ?"
ADD_WORKER_RATES: Final = f"""
    INSERT INTO worker_rates (hour, worker_id, outcome, n) {{row}} {_values(0, 4)} {{each}}
    ON CONFLICT (hour, worker_id, outcome) DO UPDATE SET n = n + excluded.n"""
ADD_SPLITS: Final = f"""
    INSERT INTO splits (step, slot, type, what, part, n) {{row}} {_values(0, 6)} {{each}}
    ON CONFLICT (step, slot, type, what, part) DO UPDATE SET n = n + excluded.n"""
NOTE_HOURS: Final = f"""
    INSERT INTO job_hours (hour, first_id, last_id) {{row}} {_values(0, 3)} {{each}}
    ON CONFLICT (hour) DO UPDATE SET first_id = min(first_id, excluded.first_id),
                                     last_id = max(last_id, excluded.last_id)"""
# Where a row that is alone needs less.
OF_ONE: Final = {
    END_ATTEMPTS: """
        UPDATE attempts SET ended_at = {2}, outcome = {3}, kind = {4}, error = {5}, traceback = {6}, log_tail = {7},
                            converter = {8}, failure = {9}, given_back = {10}
         WHERE job_id = {0} AND attempt = {1}""",
    BEAT_WORKERS: "UPDATE workers SET last_heartbeat = {1}, updated_at = {2} WHERE id = {0}",
}
NAME_INSTALLATION: Final = "INSERT OR IGNORE INTO installation (one, id) VALUES (1, ?)"
PAGES: Final = "SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count)"
FREE_PAGES: Final = "PRAGMA incremental_vacuum({most:d})"
AUTO_VACUUM: Final = "PRAGMA auto_vacuum=INCREMENTAL"
NO_JOURNAL: Final = "PRAGMA journal_mode=OFF"
VACUUM: Final = "VACUUM"
CHECKPOINT: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
TABLES: Final = """
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"""
SCHEMA_SIZE: Final = "SELECT count(*) FROM sqlite_schema"
COUNT_ROWS: Final = 'SELECT count(*) FROM "{table}"'
JOB_SPAN: Final = "SELECT min(created_at), max(created_at), max(updated_at) FROM jobs"
AUDIT_SPAN: Final = """
    SELECT (SELECT min(at) FROM audit), (SELECT max(at) FROM audit)"""

# --- the original's database: the columns are those that it has, as bytes where they are text
COLUMNS_OF: Final = "SELECT name FROM pragma_table_info(?)"
ORIGINAL_COLUMN: Final = "CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END"
ORIGINAL_ROWS: Final = "SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"

CACHE_SIZE: Final = "PRAGMA cache_size=-{kib:d}"
AUTO_CHECKPOINT: Final = "PRAGMA wal_autocheckpoint={pages:d}"

# --- a restored copy, attached as `copy`, beside the live database: what should be in it and is not
ATTACH_COPY: Final = "ATTACH DATABASE ? AS copy"
HIGHEST_JOB: Final = "SELECT coalesce(max(id), 0) FROM main.jobs"
NEXT_JOB: Final = "SELECT min(id) FROM main.jobs WHERE id > ?"
MISSING_JOBS: Final = """
    SELECT l.id FROM main.jobs AS l LEFT JOIN copy.jobs AS c ON c.id = l.id
     WHERE l.id > ? AND l.id <= ? AND l.updated_at <= ?
       AND (c.id IS NULL OR (c.status, c.attempt, c.attempts, c.losses, c.priority, c.updated_at)
                         <> (l.status, l.attempt, l.attempts, l.losses, l.priority, l.updated_at)
            OR c.lease IS NOT l.lease OR c.worker_id IS NOT l.worker_id OR c.output_key IS NOT l.output_key
            OR c.result IS NOT l.result OR c.result_size IS NOT l.result_size
            OR (l.result_size IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM copy.results AS r
                    WHERE r.job_id = l.id AND r.attempt = coalesce(l.kept_attempt, l.attempt))))"""
MISSING_ATTEMPTS: Final = """
    SELECT l.job_id FROM main.attempts AS l
      LEFT JOIN copy.attempts AS c ON c.job_id = l.job_id AND c.attempt = l.attempt
     WHERE l.job_id > ? AND l.job_id <= ? AND l.started_at <= ? AND (l.ended_at IS NULL OR l.ended_at <= ?)
       AND (c.job_id IS NULL OR c.lease <> l.lease OR (c.outcome IS NOT l.outcome AND l.ended_at IS NOT NULL))"""
MISSING_RECORDS: Final = (
    ("audit records", """SELECT l.id FROM main.audit AS l LEFT JOIN copy.audit AS c ON c.id = l.id
        WHERE l.at <= ? AND (c.id IS NULL OR c.action <> l.action OR c.at <> l.at)"""),
    ("API tokens", """SELECT l.name FROM main.tokens AS l LEFT JOIN copy.tokens AS c ON c.hash = l.hash
        WHERE l.created_at <= ? AND c.hash IS NULL"""),
    ("signing keys", """SELECT l.public_key FROM main.signing_keys AS l
        LEFT JOIN copy.signing_keys AS c ON c.public_key = l.public_key
        WHERE l.made_at <= ? AND c.public_key IS NULL"""),
    ("workers", """SELECT l.id FROM main.workers AS l LEFT JOIN copy.workers AS c ON c.id = l.id
        WHERE l.created_at <= ? AND c.id IS NULL"""),
    ("users", """SELECT l.id FROM main.users AS l LEFT JOIN copy.users AS c ON c.id = l.id
        WHERE l.created_at <= ? AND c.id IS NULL"""),
)  # fmt: skip
