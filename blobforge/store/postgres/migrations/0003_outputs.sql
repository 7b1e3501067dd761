-- As in SQLite's schema (blobforge/store/sqlite/migrations/0019_outputs.sql).
CREATE TABLE outputs (
    job_id      BIGINT   NOT NULL,
    attempt     BIGINT   NOT NULL,
    name        TEXT     COLLATE "C" NOT NULL,
    size        BIGINT,
    sha256      TEXT,
    media_type  TEXT,
    chosen      SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, attempt, name)
);
