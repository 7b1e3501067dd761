-- What follows the jobs of a type whose submission says nothing of it, as JSON (blobforge/typechain.py). NULL: not set.
ALTER TABLE type_settings ADD COLUMN then_steps TEXT;
