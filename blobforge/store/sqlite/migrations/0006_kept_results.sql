-- A result stays while its job is tried again. `kept_attempt`: the attempt that made it, in a job that is not completed.
-- `replaced`: the result that the latest completion took the place of (JSON), should that be revoked.
ALTER TABLE jobs ADD COLUMN kept_attempt INTEGER;
ALTER TABLE jobs ADD COLUMN replaced TEXT;
