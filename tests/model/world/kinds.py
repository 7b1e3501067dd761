"""What is set for types of jobs."""

from __future__ import annotations

from typing import Any

from tests.model.world.state import State
from tests.model.world.things import No

UNCHANGED = ...


class Kinds(State):
    def change_type(self, type_: str, by: str, now: int, **wanted: Any) -> Any:
        """What is left out stays, None takes away."""
        was = self.set_for.get(type_, (None, None, None, None, None))
        since, whose, reason, tries, backoff = was
        paused = wanted.get("paused", since is not None)
        if not paused and wanted.get("reason"):
            return No("invalid")
        if not paused:
            since = whose = reason = None
        elif "paused" in wanted or "reason" in wanted:
            since, whose, reason = (now if since is None else since), by, wanted.get("reason") or None
        is_now = (since, whose, reason, wanted.get("max_attempts", tries), wanted.get("retry_backoff", backoff))
        if is_now != was:
            known = type_ in self.set_for or any(job.type == type_ for job in self.jobs.values())
            if not known and len(self.set_for) >= self.rules.max_types:
                return No("invalid")
            self.set_for[type_] = is_now
            if not any(value is not None for value in is_now):
                del self.set_for[type_]
        return ("TypeChanged", type_, is_now)

    def paused(self, type_: str) -> bool:
        return type_ in self.set_for and self.set_for[type_][0] is not None

    def max_attempts(self, type_: str) -> int:
        own = self.set_for[type_][3] if type_ in self.set_for else None
        return own or self.rules.max_attempts

    def back_off(self, type_: str, times: int) -> int:
        """Milliseconds of wait after so many failures in a row."""
        own = self.set_for[type_][4] if type_ in self.set_for else None
        first = self.rules.backoff_ms if own is None else own
        return min(first * 2 ** (times - 1), max(self.rules.backoff_max_ms, own or 0))
