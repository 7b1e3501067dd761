-- The only type of jobs that a worker may ask for: what an administrator gave it a credential for. NULL: any.
-- Workers from before are not bound: some of them take other types, and go on.
ALTER TABLE workers ADD COLUMN bound_type TEXT;
