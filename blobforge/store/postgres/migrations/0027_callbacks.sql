-- As in SQLite's schema (blobforge/store/sqlite/migrations/0041_callbacks.sql). A server that knows none of it calls
-- nobody of the batches that end by it.
ALTER TABLE webhooks ADD COLUMN host TEXT COLLATE "C";
ALTER TABLE deliveries ADD COLUMN sealed TEXT;
ALTER TABLE batches ADD COLUMN callback_to BIGINT;
ALTER TABLE batches ADD COLUMN callback TEXT;
CREATE INDEX batches_by_callback ON batches (callback_to) WHERE callback_to IS NOT NULL AND ended_at IS NULL;
