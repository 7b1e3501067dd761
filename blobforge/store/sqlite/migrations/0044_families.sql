-- How many jobs of a family were deleted, with the one that was submitted: its row goes with the last of them.
ALTER TABLE families ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
