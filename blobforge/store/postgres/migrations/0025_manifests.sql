-- As in SQLite's schema (blobforge/store/sqlite/migrations/0039_manifests.sql).
CREATE TABLE manifests (
    source_hash  TEXT COLLATE "C" PRIMARY KEY,
    manifest     TEXT COLLATE "C" NOT NULL
);
