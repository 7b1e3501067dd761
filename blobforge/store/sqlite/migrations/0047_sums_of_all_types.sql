-- What happened, and how many jobs there were, of all types together (blobforge/store/figures.py): sums of `happenings`
-- and `depths`, made each minute of the slots that are over, so that a chart of all types reads as many rows whatever
-- their number. What is later than the last slot of a width (`step`) is read by type. The first samples sum what there is.
CREATE TABLE happenings_of_all (
    step  INTEGER NOT NULL,
    slot  INTEGER NOT NULL,
    what  TEXT    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (step, slot, what)
) STRICT, WITHOUT ROWID;
CREATE TABLE depths_of_all (
    step    INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    status  TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (step, slot, status)
) STRICT, WITHOUT ROWID;
