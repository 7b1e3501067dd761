"""Chains: the jobs that an accepted result starts, each with one of its outputs as the source.

A job carries the steps that follow it (`then`). When its result is accepted, each output whose name a step's pattern
matches becomes the source of a new job of the step's type: the very object, kept as long as that job needs it. All
jobs that come of one that was submitted are its family. Pure: what is found and written is the effects'
(`actors/effects/chains.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

import msgspec

MOST_DEEP: Final = 8  # steps behind each other
MOST_STEPS: Final = 32  # in all, of one submission
MOST_BYTES: Final = 16 * 1024  # of JSON, of the steps of one submission
MOST_IN_FAMILY: Final = 100_000  # jobs, with the first one, and with those that were deleted
MOST_AT_ONCE: Final = 1_000  # jobs that are made in the transaction that accepts the result; more, in pieces
A_PIECE: Final = 100  # jobs that are made in one turn of the writer, where there are more: some 20 ms
LONGEST_PATTERN: Final = 200  # characters
LONGEST_PATH: Final = 1_000  # characters of the path that a child's source is shown under
UNPROVEN: Final = "unproven/"


class Join(msgspec.Struct, frozen=True, omit_defaults=True):
    """One more job, of this type with these options, when all jobs that the step has made of one result have ended;
    its source is the manifest of their outputs (`stage.py`). `then` is as that of a step."""

    type: str
    options: str | None = None
    then: tuple[Step, ...] | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each output whose name `outputs` matches (`*` and `?`, which go over slashes, too, and `[...]`) becomes the
    source of a job of this type with these options (canonical JSON), followed by `then`. None: by what is set for
    the type (`typechain.py`), and of a job that was submitted, which has all that follows it, by nothing."""

    type: str
    outputs: str = "*"
    options: str | None = None
    then: tuple[Step, ...] | None = None
    join: Join | None = None


class Rest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is still to be made of a result that starts very many jobs: of `left` outputs, those of `step` behind the
    output called `after`, and those of the steps behind that one. `operation` makes them, piece by piece. The stages
    of the steps `unjoined` have too many jobs to be joined."""

    operation: int
    step: int
    after: str
    left: int
    unjoined: tuple[int, ...] = ()


class Unjoined(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stage, by its step, of which nothing was joined when it had ended, and why. `cut`: what came of the parent
    was cancelled; an undo of that joins the stage."""

    step: int
    why: str
    cut: bool = False


class ChainPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of a job in its chain: what follows it, and where it comes from.

    `parent` is the job whose output is its source, `family` the one that was submitted and that all of it came of,
    `depth` how many steps it is behind that. `source` is the key of the object that is its source, where that is an
    output, and `version` which of it, where the store has versions. `proven`: the bytes of that object have been
    read, or the store vouches for them; until then no worker is given the job, and its hash is none. `stopped` says
    why its result has started less than its steps say. A job that was there before, and is the same as one that a
    step would have made, is `adopted`. `joined`: a job waits for the end of this one; `joins`: it is such a job.
    `rest`: what its result has not started yet, and will. `unjoined`: the stages of its result that have ended and
    are not joined.
    """

    then: tuple[Step, ...] = ()
    parent: int | None = None
    family: int | None = None
    depth: int = 0
    source: str | None = None
    version: str | None = None
    proven: bool = False
    stopped: str | None = None
    adopted: bool = False
    joined: bool = False
    joins: bool = False
    rest: Rest | None = None
    unjoined: tuple[Unjoined, ...] = ()

    @property
    def said(self) -> str | None:
        """Why less than its steps say has come of its result (`then_stopped`)."""
        stopped = (self.stopped,) if self.stopped is not None else ()
        return "; ".join(dict.fromkeys((*stopped, *(each.why for each in self.unjoined)))) or None

    @property
    def waits_for_proof(self) -> bool:
        return self.source is not None and not self.proven


FamilyPlace = tuple[int, int, int, str]
"""Where a walk through what came of jobs stands: behind this attempt, step and name of what came of that parent."""
FIRST_PLACE: Final = (0, 0, "")


class Kin(msgspec.Struct, frozen=True):
    """A job that came of one output of an accepted attempt, by a step (its number among those of the parent). `lent`:
    the output is the source of the job; else the job was there before, with a source of its own."""

    parent: int
    attempt: int
    step: int
    name: str
    job_id: int
    lent: bool


class LinkedOutput(msgspec.Struct, frozen=True):
    """An output that may become a source. `sha256` is None where it is not proven."""

    name: str
    key: str
    size: int | None = None
    sha256: str | None = None
    version: str | None = None


def unproven_hash(parent: int, attempt: int, step: int, name: str) -> str:
    """The text in the place of the hash of a source that is not proven: no SHA-256, and no other job's."""
    return f"{UNPROVEN}{parent}/{attempt}/{step}/{name}"


def whence(source_hash: str) -> tuple[int, int, int, str]:
    """The parent, its attempt, the step and the name of the output that such a hash was made of."""
    parent, attempt, step, name = source_hash.removeprefix(UNPROVEN).split("/", 3)
    return int(parent), int(attempt), int(step), name


def join_step(step: int) -> int:
    """The number by which the job that joins a stage is on record: below all steps."""
    return -1 - step


def known_hash(source_hash: str) -> str:
    """The hash as it is told: empty where the source is not proven."""
    return "" if source_hash.startswith(UNPROVEN) else source_hash


def matching(step: Step, links: Sequence[LinkedOutput]) -> Iterator[LinkedOutput]:
    """The outputs that this step takes, in their order."""
    return (link for link in links if fnmatchcase(link.name, step.outputs))


def wrong_steps(type_: str, options: str | None, then: Sequence[Step]) -> str | None:
    """Why a job of this type, with these options, cannot be followed by these steps; None: it can."""
    total = sum(1 for _ in _all(then))
    if total > MOST_STEPS:
        return f"there are {total} steps, and a chain has at most {MOST_STEPS}"
    if len(msgspec.json.encode(then)) > MOST_BYTES:
        return f"it has more than {MOST_BYTES} bytes of JSON; give the converters less to read in their options"
    return _wrong(((type_, options),), then)


def _wrong(above: tuple[tuple[str, str | None], ...], then: Sequence[Step] | None) -> str | None:
    if then and len(above) > MOST_DEEP:
        return f"it is more than {MOST_DEEP} steps deep"
    for step in then or ():
        if (step.type, step.options) in above:
            words = " -> ".join(type_ for type_, _ in (*above, (step.type, step.options)))
            return f"it goes in a circle: {words}, with the same options. End it, or give that step other options"
        below = (*above, (step.type, step.options))
        if (wrong := _wrong(below, step.then)) is not None:
            return wrong
        joining = (Step(step.join.type, "*", step.join.options, step.join.then),) if step.join is not None else ()
        if (wrong := _wrong(below, joining)) is not None:
            return wrong
    return None


def _all(then: Sequence[Step] | None) -> Iterator[Step | Join]:
    for step in then or ():
        yield step
        yield from _all(step.then)
        if step.join is not None:
            yield step.join
            yield from _all(step.join.then)


def source_path(of_parent: str | None, name: str, *, several: bool) -> str | None:
    """The path under which a child's source is shown: beside the parent's, or, of several outputs, in a folder that
    is called as the parent is."""
    if of_parent is None:
        path = name
    else:
        place = PurePosixPath(of_parent.replace("\\", "/"))
        path = str((place.with_suffix("") if several and place.name else place.parent) / name)
    return path if len(path) <= LONGEST_PATH else name[:LONGEST_PATH]


def too_many(left_out: int, why: str) -> str:
    """The words (`then_stopped`) of a job whose result has started less than its steps say."""
    outputs = "1 output has" if left_out == 1 else f"{left_out:,} outputs have"
    return f"{outputs} started nothing: {why}"
