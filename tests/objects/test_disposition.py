"""File names that strangers chose, in a header."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.objects.disposition import attachment, attachment_in_query

# RFC 6266 / 8187, as strict as browsers are lax
GRAMMAR = re.compile(
    r"attachment(?:; filename=\"(?P<plain>[\x20-\x21\x23-\x5b\x5d-\x7e]*)\"; "
    r"filename\*=UTF-8''(?P<full>(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+))?"
)


@pytest.mark.parametrize(
    ("filename", "plain", "full"),
    [
        ("report.pdf", "report.pdf", "report.pdf"),
        ("Übergröße.pdf", "Ubergro_e.pdf", "Übergröße.pdf"),
        ("日本.pdf", "__.pdf", "日本.pdf"),
        ("C:\\docs\\a b.pdf", "a b.pdf", "a b.pdf"),
        ("../../etc/passwd", "passwd", "passwd"),
        ('x"; filename="evil.exe', "x; filename=evil.exe", "x; filename=evil.exe"),
        ("a\r\nSet-Cookie: b", "aSet-Cookie: b", "aSet-Cookie: b"),
        ("photo\u202egpj.exe", "photogpj.exe", "photogpj.exe"),
        ("100%41.pdf", "100_41.pdf", "100%41.pdf"),
    ],
)
def test_names(filename: str, plain: str, full: str) -> None:
    match = GRAMMAR.fullmatch(attachment(filename))
    assert match is not None
    assert (match["plain"], unquote(match["full"])) == (plain, full)


@pytest.mark.parametrize("filename", [None, "", "/", "..", ". .", "a/..", "\r\n", '"'])
def test_no_name_is_plain_attachment(filename: str | None) -> None:
    assert attachment(filename) == "attachment"


def test_a_long_name_is_cut_but_keeps_its_suffix() -> None:
    for name in ("x" * 5000 + ".pdf", "日" * 5000 + ".pdf"):
        full = unquote(attachment(name).rsplit("''", 1)[1])
        assert full.endswith(".pdf")
        assert 150 < len(full.encode()) <= 180
    assert len(attachment("x." + "y" * 5000)) < 500


@given(st.text())
def test_any_text_gives_a_well_formed_header(filename: str) -> None:
    match = GRAMMAR.fullmatch(attachment(filename))
    assert match is not None, attachment(filename)
    full = unquote(match["full"] or "", errors="strict")
    assert "/" not in full
    assert full not in (".", "..")


@given(st.one_of(st.text(min_size=1), st.from_regex(r"[A-Za-z0-9._~-]{1,20}", fullmatch=True)))
def test_in_a_query_it_is_the_same(filename: str) -> None:
    assert unquote(attachment_in_query(filename)) == attachment(filename)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", attachment_in_query(filename))
