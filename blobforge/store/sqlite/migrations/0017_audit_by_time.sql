-- Ids are not in the order of time: a clock may have been set back. What is old is found by its time.
CREATE INDEX audit_by_time ON audit (at);
