"""Failures of one cause have one fingerprint, whatever is different each time; others have another."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.failures import LONGEST_KIND, LONGEST_PLACE, cause, normalised

PYTHON = """Traceback (most recent call last):
  File "/srv/{where}/worker.py", line {line}, in run
    convert(page)
  File "/srv/{where}/pdf/convert.py", line {other}, in convert
    raise ValueError("page {line} of {where}")
ValueError: page {line} of {where}
"""
CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in read
    open(name)
FileNotFoundError: [Errno 2] No such file or directory: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in convert
    read(name)
ConversionError: cannot read
"""
JAVA = """java.lang.IllegalStateException: cannot convert
    at org.example.Convert.run(Convert.java:17)
    at org.example.Main.main(Main.java:3)
Caused by: java.io.IOException: page 7 is damaged
    at org.example.Page.read(Page.java:88)
    at org.example.Convert.run(Convert.java:15)
    ... 1 more
"""
NODE = """Error: page 3 is damaged
    at readPage (/home/u/app/page.js:10:11)
    at Object.<anonymous> (/home/u/app/index.js:3:1)
"""

numbers = st.integers(0, 10**9)
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


@given(numbers, numbers, words, numbers, numbers, words)
def test_a_traceback_is_known_by_kind_file_and_function(
    line: int, other: int, where: str, line2: int, other2: int, where2: str
) -> None:
    """Not by the line (a new release), the folder (another machine), or the message."""
    one = cause("ValueError", f"page {line}", PYTHON.format(line=line, other=other, where=where))
    two = cause("ValueError", f"row {line2}", PYTHON.format(line=line2, other=other2, where=where2))
    assert one == two
    assert (one.kind, one.place) == ("ValueError", "convert.py in convert")


@pytest.mark.parametrize(
    ("traceback", "place"),
    [
        (CHAINED, "b.py in convert"),
        (JAVA, "Page.java in org.example.Page.read"),
        (NODE, "page.js in readPage"),
        ("the converter said nothing useful", None),
        ("", None),
    ],
)
def test_the_innermost_frame(traceback: str, place: str | None) -> None:
    assert cause("Broken", "it broke", traceback).place == (place or "it broke")


def test_another_function_is_another_cause() -> None:
    text = PYTHON.format(line=1, other=2, where="x")
    assert cause("ValueError", "", text) != cause("ValueError", "", text.replace("in convert", "in render"))
    assert cause("ValueError", "", text) != cause("KeyError", "", text)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("page 17 of 203 is damaged", "page # of # is damaged"),
        ("cannot open /tmp/job-17/in.pdf: no such file", "cannot open <path>: no such file"),
        ("cannot open C:\\Users\\me\\in.pdf: denied", "cannot open <path>: denied"),
        ("GET https://example.org/a?b=1 gave 503", "GET <url> gave #"),
        ("object at 0x7f33aa is gone", "object at # is gone"),
        ("checksum e3b0c44298fc1c149afbf4c8996fb924 differs", "checksum # differs"),
        ("job 123e4567-e89b-12d3-a456-426614174000 failed", "job # failed"),
        ("font 'Arial' and \"DejaVu\" are missing", "font <text> and <text> are missing"),
        ("took 12.5 s at 10:30:01", "took # s at #"),
        ("\n\n  out   of\tmemory \nmore", "out of memory"),
        ("cafe and decade are words", "cafe and decade are words"),
        ("it can't be, it won't", "it can't be, it won't"),
    ],
)
def test_an_error_without_what_is_different_each_time(error: str, expected: str) -> None:
    assert normalised(error) == expected


@given(numbers, numbers, st.text("0123456789abcdef", min_size=32, max_size=64), words)
def test_the_same_error_about_another_document_is_the_same(one: int, two: int, digest: str, name: str) -> None:
    template = "cannot convert '{}' (/data/{}.pdf, sha256 {}): page {} of {} is damaged"
    first = cause("Damaged", template.format(name, name, "0" * 64, one, two), None)
    assert first == cause("Damaged", template.format("other", "other", "1" + digest, two, one), None)


def test_the_kind_is_read_off_the_error_where_nobody_told_it() -> None:
    assert cause(None, "ValueError: no such page", None).kind == "ValueError"
    assert cause(None, "subprocess.TimeoutExpired", None).kind == "Error"
    assert cause("", "", "").kind == "Error"
    assert cause(None, None, None).place == "no message"


@given(st.text(max_size=3000), st.text(max_size=3000), st.text(max_size=3000))
def test_whatever_a_worker_sends(kind: str, error: str, traceback: str) -> None:
    """Never an exception; one line of bounded length; the same again for the same."""
    found = cause(kind, error, traceback)
    assert found == cause(kind, error, traceback)
    assert len(found.fingerprint) == 16
    assert 0 < len(found.kind) <= LONGEST_KIND
    assert 0 < len(found.place) <= LONGEST_PLACE
    assert found.kind.isprintable()
    assert found.place.isprintable()


@pytest.mark.parametrize("letter", ["a", "0", "/", '"', "'", "“", " ", "\\", ":", 'File "x", line 1, in y\n'])
def test_hostile_texts_cost_little(letter: str) -> None:
    """Quadratic patterns would take minutes here; the suite's timeout would tell."""
    text = letter * 60_000
    found = cause(text, text, text), cause(text, "ERROR " + text + "!", "  at " + text + "(" + text)
    assert all(len(each.place) <= LONGEST_PLACE for each in found)


def test_an_error_of_opening_quotes_costs_little() -> None:
    """Twenty milliseconds each on the writer's thread, and a batch has a thousand."""
    began = time.process_time()
    for _ in range(200):
        cause("E", "“" * 8192, None)
    assert time.process_time() - began < 0.5
