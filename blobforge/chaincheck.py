"""What a chain would start, told before it does: its stages in order, and which outputs each of them would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from blobforge.chain import MOST_IN_FAMILY, LinkedOutput, Step, matching, source_path, too_many
from blobforge.stage import MOST_INPUTS

SHOWN = 5  # names of outputs, and paths, of one stage


class PlannedStage(msgspec.Struct, frozen=True):
    """The jobs of one step, `depth` steps behind those that the result starts; one job where it `joins` those of the
    stage above. `matched`: how many of the outputs that are known it would take, of which `names` are the first, and
    `paths` those of their jobs; None: they are not known. `refused`: why they cannot be joined."""

    depth: int
    type: str
    outputs: str
    options: str | None
    joins: bool = False
    matched: int | None = None
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    refused: str | None = None


def stages_of(then: Sequence[Step], names: Sequence[str] | None, path: str | None) -> list[PlannedStage]:
    """The stages, each before what follows it. `names`: of the outputs that the first ones take; None: not known."""
    links = [LinkedOutput(each, "") for each in names] if names is not None else None

    def taken(step: Step) -> tuple[int | None, tuple[str, ...], tuple[str, ...]]:
        if links is None:
            return None, (), ()
        found = [each.name for each in matching(step, links)]
        shown = tuple(found[:SHOWN])
        paths = [source_path(path, each, several=len(links) > 1) or each for each in shown]
        return len(found), shown, tuple(paths)

    def nothing(_: Step) -> tuple[None, tuple[str, ...], tuple[str, ...]]:
        return None, (), ()

    return list(_below(then, 0, taken, nothing))


_Taken = Callable[[Step], tuple[int | None, tuple[str, ...], tuple[str, ...]]]


def _below(then: Sequence[Step] | None, depth: int, taken: _Taken, deeper: _Taken) -> Iterator[PlannedStage]:
    for step in then or ():
        matched, names, paths = taken(step)
        yield PlannedStage(depth, step.type, step.outputs, step.options, False, matched, names, paths)
        yield from _below(step.then, depth + 1, deeper, deeper)
        if step.join is not None:
            wide = f"at most {MOST_INPUTS:,} outputs are joined" if (matched or 0) > MOST_INPUTS else None
            yield PlannedStage(depth + 1, step.join.type, "*", step.join.options, joins=True, refused=wide)
            yield from _below(step.join.then, depth + 2, deeper, deeper)


def left_out(stages: Sequence[PlannedStage]) -> str | None:
    """The words of a job whose outputs would start less than its steps say, by their number alone."""
    beyond = sum(each.matched or 0 for each in stages) - (MOST_IN_FAMILY - 1)
    return too_many(beyond, f"its family has {MOST_IN_FAMILY:,} jobs") if beyond > 0 else None
