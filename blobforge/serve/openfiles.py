"""How many connections the process's limit of open files leaves room for.

A connection takes one. Were there room for more connections than files, a client that opens enough of them would keep
the database and the objects from being opened, and every upload from being stored.
"""

from __future__ import annotations

import resource

# For the database's connections, objects under way (two pools of 16 threads), S3, logs, and the unforeseen.
RESERVED = 128


def raise_limit(connections: int) -> int:
    """Raise this process's limit to what so many connections need, as far as it may be.

    Returns how many connections there is room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return room(connections)


def room(connections: int) -> int:
    """So many connections, or fewer: those that there are files for, with some left over."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(files - RESERVED, files // 2))
