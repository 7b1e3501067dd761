"""Moving over: out of the original BlobForge's database, and from one database of ours to another."""
