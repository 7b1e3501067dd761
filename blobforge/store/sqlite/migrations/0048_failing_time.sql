-- How long an endpoint has been failing (blobforge/webhook.py): its last failure, and how much of the time up to that counts.
ALTER TABLE webhooks ADD COLUMN failed_at INTEGER;
ALTER TABLE webhooks ADD COLUMN failing_ms INTEGER NOT NULL DEFAULT 0;
