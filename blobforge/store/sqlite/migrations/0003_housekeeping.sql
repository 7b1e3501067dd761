-- What is pruned is found by the time of its end. Ended jobs only: claims and submissions do not pay for it.
CREATE INDEX jobs_ended ON jobs (status, completed_at) WHERE completed_at IS NOT NULL;

-- Objects that nobody needs any more, to be deleted once the commit that says so is there; see docs/housekeeping.md.
--   waiting   until it is its turn; a submission that needs the object takes it off the list
--   deleting  the store is being told; whether it has happened is not known yet
--   gone      deleted: what was seen of the object before that is no longer believed. Sources only, for minutes
CREATE TABLE doomed_objects (
    key     TEXT    PRIMARY KEY,
    state   TEXT    NOT NULL CHECK (state IN ('waiting', 'deleting', 'gone')),
    due_at  INTEGER NOT NULL,            -- when it is tried (next), or forgotten if it is gone
    tries   INTEGER NOT NULL DEFAULT 0,
    epoch   INTEGER NOT NULL DEFAULT 0   -- gone: how many deletions this run had seen by then
) STRICT, WITHOUT ROWID;
CREATE INDEX doomed_objects_due ON doomed_objects (state, due_at);
