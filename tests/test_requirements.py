"""What jobs require, and which labels hold it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from blobforge import requirements
from blobforge.options import PLAIN, QueueLine
from blobforge.requirements import (
    HIGHEST_SET,
    LONGEST,
    LONGEST_REMEMBERED,
    MOST_REQUIREMENTS,
    RequirementSet,
    RequirementSets,
    UnfitRequirement,
    canonical,
    holds,
    in_groups,
    judged,
    lacking,
    lane_of,
    parse,
)

HOLDS: list[tuple[Any, str]] = [
    (["gpu"], "gpu"),
    ({"gpu": True}, "gpu"),
    ({"gpu": 0}, "gpu"),  # it is there, and not false
    ({"gpu": "A100"}, "gpu"),
    ({"gpu": {"model": "A100"}}, "gpu"),
    ({"gpu": True}, "gpu=true"),
    (["zone=eu"], "zone = eu"),
    (["zone=eu", "zone=us"], "zone=us"),
    ({"zone": ["eu", "us"]}, "zone==us"),
    ({"memory_gib": 64}, "memory_gib>=32"),
    ({"memory_gib": 32}, "memory_gib>=32"),
    (["memory_gib=64"], "memory_gib > 32.5"),
    ({"memory_gib": 64.0}, "memory_gib=64"),
    ({"load": -3}, "load<0"),
    ({"share": "0.5"}, "share>0.25"),  # numbers, and not versions
    ({"version": "1.10"}, "version>=1.4"),  # a version, though both could be numbers
    ({"version": 1.4}, "version<=1.4.0"),
    (["cuda_version=12.4"], "cuda_version<12.10"),
    ({"driver": "550.54.14"}, "driver>=550.9"),  # what is no number is a version
    ({"version": "1.4rc1"}, "version<1.4"),
    ({"memory_bytes": 1e20}, "memory_bytes>=32"),  # as JSON has it, without an exponent and with one
    ({"share": 1e-7}, "share<0.5"),
    ({"serial": 9007199254740993}, "serial>9007199254740992"),  # which no float can tell apart
    ({"digits": "9" * 5000}, "digits>=1"),
]
HOLDS_NOT: list[tuple[Any, str]] = [
    (None, "gpu"),
    ([], "gpu"),
    ({"gpu": False}, "gpu"),
    ({"gpu": None}, "gpu"),
    ({"gpu": []}, "gpu"),
    (["gpu=false"], "gpu"),
    (["GPU"], "gpu"),
    ({"gpu": False}, "gpu=true"),
    ({"gpu": True}, "gpu>=1"),
    ({"zone": "eu"}, "zone=us"),
    ({"zone": {"eu": 1}}, "zone=eu"),
    ({"memory_gib": 9}, "memory_gib>=32"),  # 9 comes behind 32 as text
    ({"memory_gib": "much"}, "memory_gib>=32"),
    ({"serial": 9007199254740993}, "serial=9007199254740992"),
    ({"version": "9" * 5000}, "version>=1"),  # more digits than Python makes a number of
    ({"driver": "550.54." + "9" * 5000}, "driver>=550.9"),
    ({"version": "1.4"}, "version>=1.10"),
    ({"version": "nightly"}, "version>=1.4"),
    ("gpu", "gpu"),  # no labels at all: what an older client may have sent
]


@pytest.mark.parametrize(("labels", "requires"), HOLDS)
def test_it_holds(labels: Any, requires: str) -> None:
    assert holds(json.dumps(labels), canonical([requires]) or "")


@pytest.mark.parametrize(("labels", "requires"), HOLDS_NOT)
def test_it_does_not_hold(labels: Any, requires: str) -> None:
    assert not holds(None if labels is None else json.dumps(labels), canonical([requires]) or "")


def test_all_of_them_have_to_hold() -> None:
    both = canonical(["gpu", "memory_gib>=32"]) or ""
    assert holds('{"gpu":true,"memory_gib":64}', both)
    assert not holds('["gpu"]', both)
    assert lacking(both, ['["gpu"]', None]) == ("memory_gib>=32",)
    assert lacking(both, ['["gpu"]', '["memory_gib=64"]']) == (), "each is there, and no worker has both"


def test_a_set_has_one_spelling() -> None:
    assert canonical(["zone  ==  eu", "gpu", "gpu"]) == canonical(["gpu", "zone=eu"]) == '["gpu","zone=eu"]'
    assert canonical([]) is canonical(None) is canonical([None]) is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "=3", "a>=b", "a>", "a=", "a!=3", "a b", "a" * (LONGEST + 1), "-a", "a>=1\n", "a=\x00", "a=b=c"],
)
def test_what_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(UnfitRequirement, match=r"is no requirement|compares"):
        parse(text)


def test_a_job_has_a_bounded_number_of_them() -> None:
    assert canonical([f"l{number}" for number in range(MOST_REQUIREMENTS)])
    with pytest.raises(UnfitRequirement, match="17 requirements, and a job may have 16"):
        canonical([f"l{number}" for number in range(MOST_REQUIREMENTS + 1)])


def test_lanes_are_those_of_the_sets_and_fit_into_a_smallint() -> None:
    assert [lane_of(0, None), lane_of(0, "{}"), lane_of(1, None), lane_of(1, "{}")] == [0, 1, 2, 3]
    assert lane_of(HIGHEST_SET, "{}") == 2**15 - 1


def test_numbers_are_the_lowest_that_are_free() -> None:
    sets = RequirementSets([RequirementSet(1, "pdf", '["a"]'), RequirementSet(3, "pdf", '["b"]')])
    assert sets.free_number() == 2
    assert [line.lane for line in sets.lines(["pdf"], '["a","b"]', (0, 1))] == [2, 3, 6, 7]
    assert [line.lane for line in sets.lines(["pdf", "ocr"], '["b"]', (0,))] == [6]


@pytest.mark.parametrize("group", [False, True])
def test_the_lines_of_a_kind_of_worker_are_found_once(monkeypatch: pytest.MonkeyPatch, group: bool) -> None:
    """However many lanes there are: each of its claims asks. Those of long labels are not kept in memory."""
    called = in_groups if group else str
    sets = RequirementSets([RequirementSet(n, "pdf", called(f'["memory_gib>={n}"]')) for n in range(1, 201)])
    short, long = '{"memory_gib":100}', f'{{"memory_gib":100,"notes":"{"x" * 2_000}"}}'

    def lines(labels: str) -> Sequence[QueueLine]:
        if not group:
            return sets.lines(["pdf"], labels, [PLAIN])
        (of_pdf,) = sets.lines_in_turns(["pdf"], labels, [PLAIN])
        return of_pdf

    first = lines(short)
    assert len(first) == 100
    assert lines(long) == first
    assert lines(short) is first
    monkeypatch.setattr(requirements, "holds", lambda labels, required: required.strip() == '["memory_gib>=1"]')
    assert lines(short) is first
    assert len(lines(long)) == 1


def test_long_labels_are_judged_and_not_remembered() -> None:
    """A worker may register ever new ones, of 64 KiB each."""
    before = judged.cache_info().currsize
    for number in range(20):
        long = json.dumps({"gpu": True, "note": f"{number} " + "x" * LONGEST_REMEMBERED})
        assert holds(long, '["gpu"]')
        assert not holds(long, '["tpu"]')
    assert judged.cache_info().currsize == before
    assert holds('{"gpu":true,"of":"a test"}', '["gpu"]')
    assert judged.cache_info().currsize == before + 1
