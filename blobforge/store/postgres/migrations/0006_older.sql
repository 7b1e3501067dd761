-- Which turn was taken last by a server that knows schema `wrote_schema`: where the next one finds another turn in
-- between, or a smaller schema than its own, a server took it that does not keep all of the counters. `older` is the
-- last such turn; up to `recounted` they have been counted anew since, by a server that knows `recounted_schema`.
ALTER TABLE turn ADD COLUMN wrote BIGINT NOT NULL DEFAULT 0, ADD COLUMN wrote_schema INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN older BIGINT NOT NULL DEFAULT 0, ADD COLUMN recounted BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN recounted_schema INTEGER NOT NULL DEFAULT 0;
