"""What a server must look like after it was sent nonsense: alive, its log without a fault, its tables as before."""

from __future__ import annotations

from typing import Any

from tests.fixtures.engines import TEXTS, contents, looked_into
from tests.fixtures.server import ServerProcess

# What a server writes by itself, or by being asked how it is.
# The index of texts is filled behind the commits, by itself.
BUSY = {"pulse", "depths", "depths_of_all", "happenings_of_all", "sqlite_sequence"} | TEXTS
FAULTS = (
    "unhandled error",
    "effect failed",
    "transaction failed",
    "Error in ASGI Framework",
    "Traceback",
    '"level": "error"',
)


def no_fault_in(server: ServerProcess) -> None:
    """It still answers, and has logged no exception and no answer of 5xx."""
    with server.client() as http:
        assert http.get("/api/health").status_code == 200
    for line in server.logged().splitlines():
        assert not any(fault in line for fault in FAULTS), line
        assert '"status": 5' not in line, line


def tables(server: ServerProcess) -> dict[str, list[Any]]:
    """All rows of all tables that only requests change; without when a credential was last used, which even a refusal
    may tell."""
    with looked_into(server.database) as database:
        return contents(database, but={*BUSY, "last_used_at"})
