"""The state machine: Hypothesis chooses messages, the writer and the model both get them, and both must say the same.

A failing plan shrinks to one that can be read, and is printed as a program.
"""

from __future__ import annotations

from tests.model.plans.canaries import Canaries
from tests.model.plans.people import People
from tests.model.plans.webhooks import Webhooks

__all__ = ["Coordinator"]


class Coordinator(Canaries, People, Webhooks):
    """All of it."""
