"""Chains by what is set for types: what follows a job whose submission, or whose step, says nothing of it.

All of it is settled when the job is submitted: its chain has each step then, and what is set for a type later is for
jobs that are submitted later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from blobforge.chain import MOST_STEPS, Join, Step, wrong_steps

ThenByType = Mapping[str, Sequence[Step]]
"""What is set to follow jobs of a type. Types for which nothing is are not there."""
_Following = TypeVar("_Following", Step, Join)


class EndlessChain(Exception):
    """What is set for types leads to a chain that has no end, or is longer than one may be; the message says why."""


def followed_by(
    type_: str, options: str | None, then: Sequence[Step] | None, by_type: ThenByType
) -> tuple[Step, ...] | str:
    """All that follows a job of this type with these options, of which `then` is said (None: nothing); or why there
    can be no such chain."""
    try:
        steps = _Completion(by_type).steps(type_, then, ())
    except EndlessChain as error:
        return str(error)
    if (wrong := wrong_steps(type_, options, steps)) is None:
        return steps
    return wrong


def wrong_for_type(by_type: ThenByType) -> str | None:
    """Why these cannot be set together: a job of some type could not be submitted then. None: they can."""
    for type_ in sorted(by_type):
        found = followed_by(type_, None, None, by_type)
        if isinstance(found, str):
            return f"of a job of type {type_!r}: {found}"
    return None


class _Completion:
    """Puts what is set for types where steps say nothing; `left` bounds how many steps that may come to."""

    def __init__(self, by_type: ThenByType) -> None:
        self._by_type = by_type
        self._left = MOST_STEPS

    def steps(self, type_: str, then: Sequence[Step] | None, above: tuple[str, ...]) -> tuple[Step, ...]:
        """`above`: the types whose settings have led here, the first one first."""
        if then is None:
            then = self._by_type.get(type_, ())
            if then and type_ in above:
                circle = " -> ".join((*above[above.index(type_) :], type_))
                raise EndlessChain(f"what is set for types goes in a circle: {circle}. End it with an empty `then`")
            above = (*above, type_)
        return tuple(self._step(each, above) for each in then)

    def _step(self, step: Step, above: tuple[str, ...]) -> Step:
        self._count()
        then = self.steps(step.type, step.then, above)
        if step.join is None:
            return _with(step, then)
        self._count()
        join = _with(step.join, self.steps(step.join.type, step.join.then, above))
        return _with(replace(step, join=join) if join is not step.join else step, then)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise EndlessChain(f"with what is set for types it has more than {MOST_STEPS} steps, the most of a chain")


def _with(step: _Following, then: tuple[Step, ...]) -> _Following:
    return step if then == (step.then or ()) else replace(step, then=then)
