"""Names that strangers chose become paths inside a folder, on any file system."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PureWindowsPath
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.resultnames import Layout, apart, key, place
from blobforge.safenames import LONGEST_NAME, safe

HASH = "ab" * 32


def path_of(source_path: str | None, filename: str = "out.md", layout: Layout = "path") -> str:
    return "/".join(place(layout, job_id=7, source_hash=HASH, source_path=source_path, filename=filename))


@pytest.mark.parametrize(
    ("source_path", "path"),
    [
        ("books/comics/obelix.pdf", "books/comics/out.md"),
        ("obelix.pdf", "out.md"),
        (None, "out.md"),
        ("/archive/2026/a.pdf", "archive/2026/out.md"),
        ("C:\\scans\\new\\a.pdf", "C/scans/new/out.md"),
        ("\\\\server\\share\\a.pdf", "server/share/out.md"),
        ("./a/./b//c.pdf", "a/b/out.md"),
        ("a/../b/c.pdf", "b/out.md"),
        ("../../etc/cron.d/x", "etc/cron.d/out.md"),
        ("../..", "out.md"),
        ("..\\..\\Windows\\x.pdf", "Windows/out.md"),
        (".ssh/x.pdf", "%2Essh/out.md"),
        ("a\nb/\x1b[2J/x.pdf", "a%0Ab/%1B[2J/out.md"),
        ("nul/con.txt/Aux /lpt9.x.y/com\u00b2/x.pdf", "%6Eul/%63on.txt/%41ux%20/%6Cpt9.x.y/%63om\u00b2/out.md"),
        ("console/null/x.pdf", "console/null/out.md"),
        ("a./b /c. ./x.pdf", "a%2E/b%20/c. %2E/out.md"),
        ('what?/"is"/<it>|*/x.pdf', "what%3F/%22is%22/%3Cit%3E%7C%2A/out.md"),
        ("\u05d3\u05d5\u05d7/x.pdf", "\u05d3\u05d5\u05d7/out.md"),  # right to left
        ("a\u202efdp.exe/x", "a%E2%80%AEfdp.exe/out.md"),  # would be shown as a.exe.pdf
        ("a\u061cb.exe/x", "a%D8%9Cb.exe/out.md"),
    ],
)  # fmt: skip
def test_a_sources_folder_is_rebuilt_below_ours(source_path: str | None, path: str) -> None:
    assert path_of(source_path) == path


def test_layouts() -> None:
    assert path_of("a/b.pdf", layout="id") == "7/out.md"
    assert path_of("a/b.pdf", layout="hash") == f"ab/{HASH}/out.md"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_stay_as_they_came(form: str) -> None:
    name = unicodedata.normalize(form, "Müller/é.md")
    assert path_of(name, unicodedata.normalize(form, "é.md")) == name


def test_two_names_of_one_file_have_one_key() -> None:
    assert key((unicodedata.normalize("NFC", "Ä"), "B.md")) == key((unicodedata.normalize("NFD", "ä"), "b.MD"))
    assert key(("a", "b")) != key(("a", "c"))


def test_long_names_keep_their_beginning_and_their_suffix() -> None:
    name = "ü" * 300 + ".md"
    short = safe(name)
    assert len(short.encode()) <= LONGEST_NAME
    assert (short[:50], short[-3:]) == ("ü" * 50, ".md")
    assert safe("ü" * 301 + ".md") != short, "and are not taken for each other"
    assert len(apart(short, 10**18).encode()) <= LONGEST_NAME
    assert apart("report.md", 17) == "report~17.md"
    assert safe("x" + "." * 300 + "y").endswith(".y")
    deep = path_of("/".join(["d" * 100] * 40) + "/x.pdf")
    assert deep.startswith("~")
    assert path_of("/".join(["d" * 100] * 39) + "/x.pdf") != deep


HOSTILE = st.text(st.sampled_from("./\\:%~ \x00\n\u202eaCON\u00e9\ud800"), max_size=40) | st.text(max_size=600)


@given(path=HOSTILE, name=HOSTILE, layout=st.sampled_from(get_args(Layout)))
def test_nothing_leads_out_of_the_folder(path: str, name: str, layout: Layout) -> None:
    names = place(layout, job_id=7, source_hash=HASH, source_path=path, filename=name)
    for each in (*names, apart(names[-1], 2**63)):
        assert each not in ("", ".", "..")
        assert not set(each) & set('/\\:*?"<>|\x00\n\u202e')
        assert each[0] != "."
        assert each[-1] not in ". "
        assert len(each.encode()) <= LONGEST_NAME
        assert not PureWindowsPath(each).is_reserved()
        assert safe(each) == each, "what was made safe is left alone"
    joined = os.path.normpath(Path("/to").joinpath(*names))
    assert joined.startswith("/to/")
    assert len(joined.encode()) < 3000
