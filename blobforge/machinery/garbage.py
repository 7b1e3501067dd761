"""When Python looks for cyclic garbage, in the processes that serve.

What is not in a cycle goes at once, whatever is set here. A full search goes through every object that there is: with
thousands of connections that is half a second and more, in which no request is answered, and by default it comes
several times a minute. So what was there at the start is never looked at, and the searches come after more work: the
small ones, which are too short to be noticed, find nearly all; full ones come every few million objects.
"""

from __future__ import annotations

import gc

# New objects before a search among the newest; of these, before one among those that survived; of these, before a
# full one (which Python puts off further until a quarter of all objects is new).
SEARCHES = (20_000, 20, 20)


def settle() -> None:
    """Call this once everything has been imported and opened."""
    gc.freeze()
    gc.set_threshold(*SEARCHES)
