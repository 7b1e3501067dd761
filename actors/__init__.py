"""The actors: each owns one piece of state and is reached by messages (see messages.py)."""
