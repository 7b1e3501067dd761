"""Strangers' text on its way to a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blobforge.cli import output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x1b[0m\x1b[2Jc", "abc"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1b]52;never closed", "a52;never closed"),  # what follows is not swallowed
        ("a\x9b31mb\x1bcd\x1b", "abd"),
        ("a\x00\x07\x7fb", "ab"),
        ("exe.\u202efdp.pdf", "exe.fdp.pdf"),
        ("a\u2066b\u200fc", "abc"),
        ("Grüße, 日本", "Grüße, 日本"),
    ],
)
def test_what_moves_the_cursor_or_turns_the_line_is_taken_out(text: str, shown: str) -> None:
    assert output.many_lines(text) == shown
    assert output.one_line(text).replace(" ", "") == shown.replace(" ", "")


def test_lines_stay_in_a_log_and_nowhere_else() -> None:
    assert output.many_lines("a\tb\r\nc\rd\ne") == "a\tb\nc\nd\ne"
    assert output.one_line(" a\tb\r\nc\u2028d ") == "a b c d"
    assert output.one_line(None) == ""


def test_times_and_sizes_for_people() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert output.age(now - timedelta(minutes=3), now) == "3 minutes ago"
    assert output.age(now + timedelta(hours=2), now) == "2 hours from now"
    assert output.age(None) == ""
    assert [output.duration(seconds) for seconds in (None, 0.4, 180, 7200)] == ["", "0.4 s", "3 minutes", "2 hours"]
    assert output.span(180, 7200) == "3 minutes to 2 hours"
    assert output.span(180, 185) == "3 minutes"
    assert output.span(None, None) == ""
    assert output.size_text(1_572_864) == "1.5 MiB"
    assert [output.count(number, "job") for number in (0, 1, 2000)] == ["0 jobs", "1 job", "2,000 jobs"]


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"stage": "ocr", "percent": 40.4}, "ocr 40%"),
        ({"done": 1, "total": 3, "message": "page\x1b[2J 1"}, "1/3 page 1"),
        ({"done": 7}, "7"),
        ({}, ""),
        ("half\nof it", "half of it"),  # existing workers send any JSON
        (50, "50%"),
        (True, ""),
        ([], ""),
    ],
)
def test_progress(progress: object, shown: str) -> None:
    assert output.progress_text(progress) == shown


@pytest.mark.parametrize(("columns", "fits"), [(200, True), (120, True), (80, True), (40, False)])
def test_however_long_the_prose_and_narrow_the_terminal_ids_are_whole(
    columns: int, fits: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    headers = ("ID", "STATUS", "TYPE", "PRIO", "TRIES", "UPDATED", "SOURCE", "NOTE")
    row = (
        1234567,
        "pending",
        "pdf",
        3,
        "1/3",
        "8 minutes ago",
        "…/comics/obelix.pdf",
        "exit status 1: " + "no " * 80,
    )
    output.print_table(headers, [row, (*row[:7], "")])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == list(headers)
    for line in (first, second):
        assert line.split()[:8] == ["1234567", "pending", "pdf", "3", "1/3", "8", "minutes", "ago"]
    assert "…/c" in first
    assert "exit" in first
    assert ("obelix.pdf" in first) == (columns > 80)
    assert all((len(line.rstrip()) <= columns) == fits for line in (heading, first))


def test_letters_that_are_two_cells_wide_are_counted_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    output.print_table(("ID", "NAME"), [(1, "日本語の名前")])
    assert "日本語の名前" in capsys.readouterr().out
