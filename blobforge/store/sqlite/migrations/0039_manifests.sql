-- What the source of a job that joins others says (blobforge/chain.py): as the object has it, by its SHA-256.
CREATE TABLE manifests (
    source_hash  TEXT PRIMARY KEY,
    manifest     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
