-- Who submitted a job, as logs name a caller (`token:7`): who may take it back while its source is awaited. Never guessed
-- for jobs from before.
ALTER TABLE jobs ADD COLUMN submitter TEXT;
