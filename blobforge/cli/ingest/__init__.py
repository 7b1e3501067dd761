"""The work behind `submit` and `ingest`: from files on a disk to jobs, thousands side by side in bounded memory.

    find -> hash -> submit by the thousand -> upload

Each stage is a file here, and `pipeline.py` puts them together; bounded channels between them let each run as far
ahead of the next as its channel is long, and no further.
"""
