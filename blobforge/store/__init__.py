"""How state is kept, as a contract: questions and answers as plain types, and what an engine can be asked.

Nothing in here knows SQL or an engine's exceptions. Each engine is a package below, and `blobforge/serve/engines.py`
is the one place that chooses one.
"""
