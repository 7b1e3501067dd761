-- Results too large to stand in the job itself, by the attempt that brought them: lists and claims read none of it.
-- `result_size`: the bytes of the job's own, where it is here.
ALTER TABLE jobs ADD COLUMN result_size INTEGER;
CREATE TABLE results (
    job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    result   TEXT    NOT NULL,
    PRIMARY KEY (job_id, attempt)
) STRICT;
