-- URLs that batches tell of their ends (blobforge/webhook.py). An endpoint with a `host` stands for all of that host; each
-- batch, and each delivery to such an endpoint, has its URL and secret, encrypted under that of the server.
ALTER TABLE webhooks ADD COLUMN host TEXT;
ALTER TABLE deliveries ADD COLUMN sealed TEXT;
ALTER TABLE batches ADD COLUMN callback_to INTEGER;
ALTER TABLE batches ADD COLUMN callback TEXT;
CREATE INDEX batches_by_callback ON batches (callback_to) WHERE callback_to IS NOT NULL AND ended_at IS NULL;
