"""Idempotency keys: what was answered is answered again, as long as it is kept."""

from __future__ import annotations

from typing import Any

from tests.model.world.state import State
from tests.model.world.things import Kept, No

COME_AGAIN = {"being-removed", "slow-down", "unavailable"}


class Repeats(State):
    def remembered(self, whose: str, key: str, fingerprint: bytes, now: int) -> Any:
        """What this key was answered; None: it is new, or was forgotten."""
        kept = self.kept.get((whose, key))
        if kept is None or kept.at < now - self.rules.window_ms:
            return None
        if kept.fingerprint != fingerprint:
            return No("idempotency-mismatch")
        if isinstance(kept.answer, tuple) and kept.answer[:2] == ("Granted", ()):
            return ("Granted", (), True, (), (), ())  # an old "no job" is no news
        if isinstance(kept.answer, tuple) and kept.answer[0] == "Granted":
            return (*kept.answer[:3], (), (), kept.answer[5])
        return kept.answer

    def remember(self, whose: str, key: str, fingerprint: bytes, answer: Any, now: int) -> None:
        """Refusals, too: the request was answered. But not one that says when to come again: it is asked anew."""
        if isinstance(answer, No) and answer.code in COME_AGAIN:
            return
        if isinstance(answer, tuple) and answer[0] == "WorkerRegistered" and answer[2] is not None:
            return
        self.kept[whose, key] = Kept(fingerprint, answer, now)

    def purge_repeats(self, now: int) -> None:
        old = now - self.rules.window_ms
        self.kept = {key: kept for key, kept in self.kept.items() if kept.at >= old}
        for claim in [claim for claim, at in self.claimed_at.items() if at < old]:
            del self.claim_keys[claim], self.claimed_at[claim]
