-- Lists of jobs by the size of their source, by how long the attempt took that completed them, and by how often they
-- were tried (blobforge/store/sorting.py). By their end there is `jobs_ended`. Of the sizes only those are in it that are
-- of 8 MiB or more: each in it costs a submission a fifth, and most documents are smaller.
CREATE INDEX jobs_by_size ON jobs (source_size, id) WHERE source_size >= 8388608;
CREATE INDEX jobs_by_duration ON jobs (completed_at - started_at, id) WHERE status = 'completed';
CREATE INDEX jobs_by_tries ON jobs (attempts, id) WHERE attempts > 1;
