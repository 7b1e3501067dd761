"""What has changed between a result and the one that it took the place of: output by output, and line by line.

Outputs are compared by name, by what is on record of them: no object is read. Where each result has one output, those
two are compared, whatever they are called.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from blobforge.outputs import Output


class Difference(StrEnum):
    """What became of an output, or of a whole result."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"  # the former result had it, and this one has not
    NEW = "new"
    UNPROVEN = "unproven"  # the sizes are the same, and a hash is not on record


class OutputPair(msgspec.Struct, frozen=True):
    """`former` is None for what is new, `now` for what is gone."""

    former: Output | None
    now: Output | None

    @property
    def name(self) -> str:
        known = self.now or self.former
        assert known is not None
        return known.name

    @property
    def change(self) -> Difference:
        former, now = self.former, self.now
        if now is None:
            return Difference.GONE
        if former is None:
            return Difference.NEW
        if former.sha256 is not None and now.sha256 is not None:
            return Difference.SAME if former.sha256 == now.sha256 else Difference.CHANGED
        return (
            Difference.UNPROVEN if former.size == now.size or None in (former.size, now.size) else Difference.CHANGED
        )


class Counts(msgspec.Struct):
    """How many outputs became what."""

    same: int = 0
    changed: int = 0
    gone: int = 0
    new: int = 0
    unproven: int = 0

    def add(self, change: Difference) -> None:
        setattr(self, change, getattr(self, change) + 1)

    @property
    def change(self) -> Difference:
        """What became of the whole result that these are the outputs of."""
        if self.changed or (self.gone and (self.new or self.same or self.unproven)):
            return Difference.CHANGED
        if self.gone:
            return Difference.GONE
        if self.new:
            return Difference.CHANGED if self.same or self.unproven else Difference.NEW
        return Difference.UNPROVEN if self.unproven else Difference.SAME


def merged(
    former: Sequence[Output], now: Sequence[Output], *, most: int | None = None
) -> tuple[list[OutputPair], str | None]:
    """Both lists, sorted by name, side by side. `most`: of a list with so many there may be more; then the second
    value is the name up to which both are known."""
    ends = [each[-1].name for each in (former, now) if most is not None and len(each) >= most]
    end = min(ends, default=None)
    by_name = {each.name: each for each in former}, {each.name: each for each in now}
    names = sorted({*by_name[0], *by_name[1]})
    compared = [
        OutputPair(by_name[0].get(name), by_name[1].get(name)) for name in names if end is None or name <= end
    ]
    return compared, end


# ------------------------------------------------------------------ texts

LONGEST_LINE = 2_000  # characters that are shown of one
_CAREFUL = 2_000  # lines


def lines_of(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def differing(former: Sequence[str], now: Sequence[str]) -> tuple[int, int]:
    """So many lines at the beginning, and so many at the end, are the same in both."""
    shortest = min(len(former), len(now))
    head = 0
    while head < shortest and former[head] == now[head]:
        head += 1
    tail = 0
    while tail < shortest - head and former[-1 - tail] == now[-1 - tail]:
        tail += 1
    return head, tail


def text_diff(
    former: Sequence[str], now: Sequence[str], *, names: tuple[str, str], context: int = 3, careful: int = _CAREFUL
) -> Iterator[str]:
    """A unified diff of two texts, line by line, without line ends; nothing where they are the same.

    What is the same at the beginning and at the end is left out before the lines are compared, which takes the square
    of their number: most texts are compared in no time. Of more lines than `careful`, those that stand very often are
    not what the others are aligned by.
    """
    head, tail = differing(former, now)
    if head == len(former) == len(now):
        return
    begin = max(0, head - context)
    end = max(0, tail - context)
    old, new = former[begin : len(former) - end], now[begin : len(now) - end]
    yield f"--- {names[0]}"
    yield f"+++ {names[1]}"
    for group in difflib.SequenceMatcher(None, old, new, autojunk=len(old) > careful).get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(begin + first[1], begin + last[2])} +{_range(begin + first[3], begin + last[4])} @@"
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from (_line(" ", line) for line in old[old_from:old_to])
                continue
            yield from (_line("-", line) for line in old[old_from:old_to])
            yield from (_line("+", line) for line in new[new_from:new_to])


def _range(start: int, stop: int) -> str:
    """As in `diff -u`: lines are counted from one, and an empty range names the line before it."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _line(sign: str, line: str) -> str:
    text = line.rstrip("\r\n")
    return sign + (text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…")
