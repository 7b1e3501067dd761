"""The metrics for Prometheus. No id is ever a label: labels are routes, status codes, and job types, of which there
are at most `BLOBFORGE_MAX_TYPES`."""
