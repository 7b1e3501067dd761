"""What has changed between two results: by name, in counts, and line by line."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.comparison import Counts, Difference, OutputPair, lines_of, merged, text_diff
from blobforge.outputs import Output


def output(name: str, size: int | None = 1, sha256: str | None = "a") -> Output:
    return Output(name, size, sha256)


@pytest.mark.parametrize(
    ("former", "now", "change"),
    [
        (output("x"), output("x"), Difference.SAME),
        (output("x"), output("x", sha256="b"), Difference.CHANGED),
        (output("x"), None, Difference.GONE),
        (None, output("x"), Difference.NEW),
        (output("x", sha256=None), output("x"), Difference.UNPROVEN),
        (output("x", sha256=None), output("x", 2), Difference.CHANGED),
        (output("x", None, None), output("x", 2), Difference.UNPROVEN),
    ],
)
def test_an_output_by_what_is_on_record(former: Output | None, now: Output | None, change: Difference) -> None:
    compared = OutputPair(former, now)
    assert (compared.name, compared.change) == ("x", change)


@pytest.mark.parametrize(
    ("counts", "change"),
    [
        (Counts(), Difference.SAME),
        (Counts(same=3), Difference.SAME),
        (Counts(same=3, unproven=1), Difference.UNPROVEN),
        (Counts(same=3, changed=1, unproven=1), Difference.CHANGED),
        (Counts(gone=2), Difference.GONE),
        (Counts(new=2), Difference.NEW),
        (Counts(gone=1, new=1), Difference.CHANGED),
        (Counts(same=1, gone=1), Difference.CHANGED),
        (Counts(same=1, new=1), Difference.CHANGED),
        (Counts(unproven=1, new=1), Difference.CHANGED),
    ],
)
def test_a_whole_result_by_its_outputs(counts: Counts, change: Difference) -> None:
    assert counts.change is change


@given(st.sets(st.text("abcd", min_size=1, max_size=3)), st.sets(st.text("abcd", min_size=1, max_size=3)))
def test_pages_side_by_side_are_all_of_both(former: set[str], now: set[str]) -> None:
    """Read three at a time, each name comes once, in order, with what it has on both sides."""
    found: list[tuple[str, bool, bool]] = []
    after: str | None = ""
    while after is not None:
        sides = ([output(each) for each in sorted(side) if each > after][:3] for side in (former, now))
        page, after = merged(*sides, most=3)
        found += [(each.name, each.former is not None, each.now is not None) for each in page]
    assert found == [(name, name in former, name in now) for name in sorted(former | now)]


TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n"]), max_size=30)


@given(TEXTS, TEXTS)
def test_a_diff_is_that_of_diff(former: list[str], now: list[str]) -> None:
    """Applied to the former text it gives the text of now; and nothing is said where they are the same."""
    said = list(text_diff(former, now, names=("old", "new")))
    if former == now:
        assert said == []
        return
    assert said[:2] == ["--- old", "+++ new"]
    made: list[str] = []
    at = 0
    for line in said[2:]:
        if line.startswith("@@"):
            begin = int(line.split()[1].lstrip("-").partition(",")[0])
            begin -= not line.split()[1].endswith(",0")
            made += former[at:begin]
            at = begin
        elif line[0] in " -":
            assert former[at] == line[1:] + "\n"
            made += [former[at]] if line[0] == " " else []
            at += 1
        else:
            made.append(line[1:] + "\n")
    assert made + former[at:] == now


def test_a_small_change_in_a_long_text_is_found_at_once_and_said_as_diff_says_it() -> None:
    former = [f"line {number}\n" for number in range(200_000)]
    now = [*former]
    now[150_000] = "another\n"
    said = list(text_diff(former, now, names=("old", "new")))
    short = difflib.unified_diff(former[149_990:150_010], now[149_990:150_010], "old", "new")
    assert said[3:] == [line.rstrip("\n") for line in short][3:]
    assert said[2] == "@@ -149998,7 +149998,7 @@"


def test_a_long_line_is_cut_and_line_ends_are_not_shown() -> None:
    said = list(text_diff(lines_of("x\r\n"), lines_of("y" * 5000), names=("old", "new")))
    assert said[3] == "-x"
    assert len(said[4]) == 2001
