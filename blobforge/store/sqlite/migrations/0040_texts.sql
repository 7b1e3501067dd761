-- In which jobs a text is found: paths of their sources and tags, cut into trigrams (blobforge/texts.py). It is made
-- of what jobs say, behind their commits: all up to `upto` (0 where there is no row) are in it, but for
-- those in `texts_changed`.
CREATE VIRTUAL TABLE job_texts USING fts5 (
    text, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
);
-- What a transaction writes is merged into what is there later, and less of it at once.
INSERT INTO job_texts (job_texts, rank) VALUES ('automerge', 8);

CREATE TABLE texts_indexed (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    upto  INTEGER NOT NULL
) STRICT;

-- Jobs that are gone, or say something else than the index holds of them. `large` ones say too much for it: they are
-- looked at by each search.
CREATE TABLE texts_changed (
    job_id  INTEGER PRIMARY KEY,
    large   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX texts_to_index ON texts_changed (job_id) WHERE large = 0;
