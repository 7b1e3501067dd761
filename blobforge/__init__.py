"""BlobForge Server: the coordinator of a distributed job queue over files."""
