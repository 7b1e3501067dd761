-- How long (ms) a lease of a type's jobs lasts that no heartbeat renews; NULL: as for all types.
ALTER TABLE type_settings ADD COLUMN worker_timeout INTEGER;
