-- How many attempts a job had when this one was made, itself included: the latest one's says how many there are, with
-- nothing counted. Attempts are numbered with gaps, after a restore for one; NULL: there was none, it is as the number.
ALTER TABLE attempts ADD COLUMN ordinal INTEGER;
UPDATE attempts SET ordinal = counted.n
  FROM (SELECT job_id, attempt, row_number() OVER (PARTITION BY job_id ORDER BY attempt) AS n FROM attempts) AS counted
 WHERE counted.job_id = attempts.job_id AND counted.attempt = attempts.attempt AND counted.n <> counted.attempt;
