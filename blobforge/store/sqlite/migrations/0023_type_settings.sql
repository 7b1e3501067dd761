-- What is set for a type of jobs beside the environment's settings; no row: nothing is. While `paused_at` is there, no
-- worker is given a job of the type. `retry_backoff` is in ms.
CREATE TABLE type_settings (
    type           TEXT PRIMARY KEY,
    paused_at      INTEGER,
    paused_by      TEXT,
    reason         TEXT,
    max_attempts   INTEGER,
    retry_backoff  INTEGER
) STRICT, WITHOUT ROWID;
