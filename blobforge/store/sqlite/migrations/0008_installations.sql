-- Which database this is: its id is in the keys of its objects. Made when the database is first opened.
CREATE TABLE installation (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   TEXT    NOT NULL
) STRICT;

-- The key that each attempt writes to, as it was given out. NULL: by a release that had them all alike.
ALTER TABLE attempts ADD COLUMN output_key TEXT;
-- The latest attempt's, beside its lease. `write_once` 1: no URL that it was given writes over an object.
ALTER TABLE jobs ADD COLUMN upload_key TEXT;
ALTER TABLE jobs ADD COLUMN write_once INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET upload_key = 'outputs/' || id || '/' || attempt || '/output' WHERE lease IS NOT NULL;

-- What the store said of an object when it was accepted, to know it again: its ETag, its version (a bucket that keeps
-- versions). `kept`: the key under which the accepted bytes are served, where that is another. `keeping` 1: they are
-- to be put where no URL to upload reaches them; so are those that may still be written by URLs of the last release.
ALTER TABLE files ADD COLUMN etag TEXT;
ALTER TABLE files ADD COLUMN version TEXT;
ALTER TABLE files ADD COLUMN kept TEXT;
ALTER TABLE files ADD COLUMN keeping INTEGER NOT NULL DEFAULT 0;
UPDATE files SET keeping = 1 WHERE job_id IS NOT NULL AND created_at > (unixepoch() - 604800) * 1000;
CREATE INDEX files_keeping ON files (key) WHERE keeping = 1;

-- `later`: to be deleted when no URL to upload or fetch it is good any more. `again` 1: it was deleted once, and is
-- deleted again then: until that, a URL to upload it may have brought it back.
CREATE TABLE doomed (
    key     TEXT    PRIMARY KEY,
    state   TEXT    NOT NULL CHECK (state IN ('later', 'waiting', 'deleting', 'gone')),
    due_at  INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    epoch   INTEGER NOT NULL DEFAULT 0,
    again   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO doomed (key, state, due_at, tries, epoch) SELECT key, state, due_at, tries, epoch FROM doomed_objects;
DROP TABLE doomed_objects;
ALTER TABLE doomed RENAME TO doomed_objects;
CREATE INDEX doomed_objects_due ON doomed_objects (state, due_at);
