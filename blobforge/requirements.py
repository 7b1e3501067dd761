"""What a job requires of the worker that runs it, and the labels of workers that this is held against.

A requirement is a label that is there (`gpu`), equal (`zone=eu`) or compared (`memory_gib>=32`, `version>=1.4`).
A worker may run a job when its labels hold all of them. Jobs of one type with the same set of requirements stand in
one lane of the queue, so that a worker is held against the few sets that there are, and never against jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import msgspec
from packaging.version import Version

from blobforge.options import PLAIN, WITH_OPTIONS, Lane, LineGroup, QueueLine

MOST_REQUIREMENTS: Final = 16  # of one job
LONGEST: Final = 200  # characters of one requirement
# Bytes of those of one job together, as JSON: with its type they are a key of an index, of which PostgreSQL takes
# 2,704 at most.
LONGEST_SET: Final = 2_000
# Distinct sets that jobs have, over all types: a claim looks into each lane that its worker may have jobs from.
MOST_SETS: Final = 1000
NOTHING: Final = "none"  # in a filter
HIGHEST_SET: Final = 16_383  # the number of a lane is a smallint of PostgreSQL
MOST_JUDGED: Final = 50_000  # judgements that are remembered
KINDS_REMEMBERED: Final = 64  # of workers, by their types and labels: each may have a thousand lines
LONGEST_REMEMBERED: Final = 1_000  # characters of labels with which they are: a worker may have 64 KiB of them

_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE: Final = r"[^ <>=!\x00-\x1f\x7f](?:[^<>=!\x00-\x1f\x7f]*[^ <>=!\x00-\x1f\x7f])?"
# A number, or a version (PEP 440) without what only a published one may have.
_COMPARED: Final = (
    r"(?:-?[0-9]+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?)"
)
_COMPARABLE: Final = re.compile(_COMPARED)
_REQUIREMENT: Final = re.compile(rf"({_NAME}) *(?:(>=|<=|>|<|==?) *({_VALUE}))?")
PATTERN: Final = rf"^{_NAME}(?: *(?:==? *{_VALUE}|[<>]=? *{_COMPARED}))?\Z"
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")


class UnfitRequirement(ValueError):
    """This is no requirement, or there are too many, for the reason that it says."""


class Requirement(NamedTuple):
    """`operator` is empty where the label has to be there, and no more; else `=`, `>=`, `<=`, `>` or `<`."""

    label: str
    operator: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{self.value}"

    @property
    def of_versions(self) -> bool:
        """Whether values are compared as versions, also where they could be numbers: 1.10 comes after 1.4."""
        return self.label.lower().endswith("version")


def parse(text: str) -> Requirement:
    """One requirement. Raises UnfitRequirement."""
    found = _REQUIREMENT.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise UnfitRequirement(
            f"{text[:LONGEST]!r} is no requirement: name a label (gpu), or compare one (zone=eu, memory_gib>=32, "
            f"version>=1.4), in at most {LONGEST} characters"
        )
    label, operator, value = found[1], found[2] or "", found[3] or ""
    requirement = Requirement(label, "=" if operator == "==" else operator, value)
    if operator not in ("", "=", "==") and not _COMPARABLE.fullmatch(value):
        raise UnfitRequirement(f"{text!r} compares {label} with what is neither a number nor a version (PEP 440)")
    return requirement


def canonical(said: Iterable[str | None] | None) -> str | None:
    """The one text of a set of requirements: a JSON array, sorted, each once; None: there are none. Raises
    UnfitRequirement."""
    each = sorted({str(parse(text)) for text in said or () if text is not None})
    if len(each) > MOST_REQUIREMENTS:
        raise UnfitRequirement(f"{len(each)} requirements, and a job may have {MOST_REQUIREMENTS}")
    if not each:
        return None
    text = json.dumps(each, ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode(errors="replace"))) > LONGEST_SET:
        raise UnfitRequirement(
            f"the requirements of a job may have {LONGEST_SET:,} bytes in all, these have {size:,}"
        )
    return text


@lru_cache(maxsize=4 * MOST_SETS)
def requirements(canonical_text: str) -> tuple[Requirement, ...]:
    """The requirements of a canonical text."""
    return tuple(map(parse, msgspec.json.decode(canonical_text, type=list[str])))


def words(canonical_text: str | None) -> tuple[str, ...]:
    """The requirements of a job as they are written; none where it has none."""
    return tuple(map(str, requirements(canonical_text))) if canonical_text is not None else ()


@lru_cache(maxsize=4 * MOST_SETS)
def about(canonical_text: str | None, wanted: str) -> bool:
    """Whether a job that requires this (canonical) is one that a filter takes: by a label alone, jobs that require
    anything of it; by a comparison, those that require just that; by NOTHING, those that require nothing. Raises
    UnfitRequirement."""
    if wanted == NOTHING:
        return canonical_text is None
    each = parse(wanted)
    if canonical_text is None:
        return False
    return any(has == each if each.operator else has.label == each.label for has in requirements(canonical_text))


@lru_cache(maxsize=512)
def labels_of(text: str | None) -> Mapping[str, tuple[Any, ...]]:
    """The labels of a worker by name, each with its values, of the JSON that it registered with: an object, or an
    array of names and of `name=value`."""
    said = msgspec.json.decode(text) if text is not None else None
    found: dict[str, tuple[Any, ...]] = {}
    if isinstance(said, dict):
        return {name: tuple(value) if isinstance(value, list) else (value,) for name, value in said.items()}
    for item in said if isinstance(said, list) else ():
        if isinstance(item, str):
            name, is_equal, value = item.partition("=")
            found[name.strip()] = (*found.get(name.strip(), ()), value.strip() if is_equal else True)
    return found


def holds(labels: str | None, required: str) -> bool:
    """Whether a worker with these labels may run a job that requires this (canonical)."""
    return judged(labels, required) if is_remembered(labels) else judged.__wrapped__(labels, required)


def is_remembered(labels: str | None) -> bool:
    """Whether what is found of a worker with these labels is."""
    return labels is None or len(labels) <= LONGEST_REMEMBERED


@lru_cache(maxsize=MOST_JUDGED)
def judged(labels: str | None, required: str) -> bool:
    """The same, remembered."""
    named = labels_of(labels)
    return all(any(_is_met(each, value) for value in named.get(each.label, ())) for each in requirements(required))


def lacking(required: str, labels: Iterable[str | None]) -> tuple[str, ...]:
    """Those of the requirements (canonical) that not one of these workers holds, even alone."""
    all_ = list(labels)
    alone = {each: canonical([each]) or "" for each in words(required)}
    return tuple(each for each, one in alone.items() if not any(holds(of_worker, one) for of_worker in all_))


def _is_met(required: Requirement, value: Any) -> bool:
    if not required.operator:
        return value is not None and value is not False and str(value).lower() != "false"
    if value is None or isinstance(value, dict | list):
        return False
    if isinstance(value, bool):
        return required.operator == "=" and required.value.lower() == str(value).lower()
    text = str(value)
    if required.operator == "=" and text == required.value:
        return True
    sides: tuple[Any, Any] = (_number(value), _number(required.value))
    if required.of_versions or None in sides:
        sides = (_version(text), _version(required.value))
    is_, wanted = sides
    if is_ is None or wanted is None:
        return False
    match required.operator:
        case ">=":
            return bool(is_ >= wanted)
        case "<=":
            return bool(is_ <= wanted)
        case ">":
            return bool(is_ > wanted)
        case "<":
            return bool(is_ < wanted)
        case _:
            return bool(is_ == wanted)


def _number(value: Any) -> Decimal | None:
    """Exact: a float is 2 to the power of 53 where it should be that and one."""
    text = str(value)
    return Decimal(text) if isinstance(value, int | float) or _NUMBER.fullmatch(text) else None


def _version(text: str) -> Version | None:
    """None, too, where a part has more digits than Python makes a number of: workers may say anything."""
    try:
        return Version(text)
    except ValueError:
        return None


def lane_of(set_number: int, options: str | None) -> Lane:
    """The lane of jobs with this set of requirements (0: none), with or without options."""
    return lane_beside(set_number, PLAIN if options is None else WITH_OPTIONS)


def lane_beside(set_number: int, lane: Lane) -> Lane:
    """The lane of jobs with this set of requirements that else would stand in that lane."""
    return 2 * set_number + lane


def in_groups(requires: str | None) -> str:
    """What the set of jobs with these requirements (canonical) that have a group is called: they stand in lanes of
    their own, in the order of their turns. It is the same JSON, behind a space: a server that knows nothing of groups
    reads it as the requirements that it is."""
    return f" {requires or '[]'}"


def _is_in_groups(called: str) -> bool:
    return called.startswith(" ")


class RequirementSet(NamedTuple):
    """`number` is never 0; `requires` is canonical, or what `in_groups` makes of that."""

    number: int
    type: str
    requires: str


class RequirementSets:
    """The distinct sets of requirements that jobs have, by their type."""

    def __init__(self, sets: Iterable[RequirementSet] = ()) -> None:
        self._by_type: dict[str, dict[str, int]] = {}
        self._in_groups: dict[str, dict[str, int]] = {}
        self._numbers: set[int] = set()
        for each in sets:
            by_type = self._in_groups if _is_in_groups(each.requires) else self._by_type
            by_type.setdefault(each.type, {})[each.requires] = each.number
            self._numbers.add(each.number)
        # Workers are of few kinds, and each of their claims asks.
        self._lines = lru_cache(maxsize=KINDS_REMEMBERED)(partial(_lines, self._by_type))
        self._lines_in_groups = lru_cache(maxsize=KINDS_REMEMBERED)(partial(_lines, self._in_groups))

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[RequirementSet]:
        for by_type in (self._by_type, self._in_groups):
            for type_, sets in by_type.items():
                for requires, number in sets.items():
                    yield RequirementSet(number, type_, requires)

    def number(self, type_: str, requires: str) -> int | None:
        by_type = self._in_groups if _is_in_groups(requires) else self._by_type
        return by_type.get(type_, {}).get(requires)

    @property
    def any_in_groups(self) -> bool:
        """Whether jobs of any type have groups."""
        return bool(self._in_groups)

    def free_number(self) -> int:
        """The lowest one that no set has."""
        return next(number for number in range(1, HIGHEST_SET + 1) if number not in self._numbers)

    def with_one(self, new: RequirementSet) -> RequirementSets:
        return RequirementSets([*self, new])

    def lines(self, types: Iterable[str], labels: str | None, accepted: Iterable[Lane]) -> tuple[QueueLine, ...]:
        """The lines of jobs with requirements, and without a group, that a worker with these labels may have jobs
        from; `accepted` are the lanes without requirements that it takes jobs from."""
        if not self._by_type:
            return ()
        judge = self._lines if is_remembered(labels) else self._lines.__wrapped__
        return judge(tuple(types), labels, tuple(accepted))

    def lines_in_turns(
        self, types: Iterable[str], labels: str | None, accepted: Iterable[Lane]
    ) -> tuple[LineGroup, ...]:
        """The same of jobs that have a group, the lines of each type together."""
        judge = self._lines_in_groups if is_remembered(labels) else self._lines_in_groups.__wrapped__
        each = (judge((type_,), labels, tuple(accepted)) for type_ in types if type_ in self._in_groups)
        return tuple([lines for lines in each if lines])


def _lines(
    sets: Mapping[str, Mapping[str, int]], types: Iterable[str], labels: str | None, accepted: Iterable[Lane]
) -> LineGroup:
    return tuple([
        QueueLine(type_, lane_beside(number, lane))
        for type_ in types
        for requires, number in sets.get(type_, {}).items()
        if holds(labels, requires)
        for lane in accepted
    ])  # fmt: skip


NO_SETS: Final = RequirementSets()
