-- As in SQLite's schema (blobforge/store/sqlite/migrations/0043_then.sql). A server that knows none of it takes
-- submissions that say nothing of what follows as those of jobs that nothing does.
ALTER TABLE type_settings ADD COLUMN then_steps TEXT COLLATE "C";
