"""How an effect is undone in memory. State owned here: what each change of a working set has taken the place of."""

from __future__ import annotations

from typing import Any, Final

_ABSENT: Final = object()


class Journal:
    """Every change to a mapping or list of a working set goes through here, and can be taken back, the last first."""

    __slots__ = ("_undo",)

    def __init__(self) -> None:
        self._undo: list[tuple[Any, Any, Any]] = []  # (mapping, key, former value), or (list, None, None)

    def put(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((mapping, key, mapping.get(key, _ABSENT)))
        mapping[key] = value

    def drop(self, mapping: dict[Any, Any], key: Any) -> None:
        """Remove the key where it is there."""
        if key in mapping:
            self._undo.append((mapping, key, mapping.pop(key)))

    def add(self, items: list[Any], item: Any) -> None:
        """Append to a list that only grows."""
        self._undo.append((items, None, None))
        items.append(item)

    def __len__(self) -> int:
        """Where the journal stands: what `undo` goes back to."""
        return len(self._undo)

    def undo(self, mark: int) -> None:
        """Take back all that was changed since."""
        undo = self._undo
        while len(undo) > mark:
            changed, key, former = undo.pop()
            if type(changed) is list:
                changed.pop()
            elif former is _ABSENT:
                changed.pop(key, None)
            else:
                changed[key] = former

    def clear(self) -> None:
        self._undo.clear()
