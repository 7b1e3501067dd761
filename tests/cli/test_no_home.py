"""A user without HOME and without an entry in passwd, as in a bare container: nothing is kept, and all else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, pwd, sys
for name in [name for name in os.environ if name in ("HOME", "USER") or name.startswith("XDG_")]:
    del os.environ[name]
def nobody(_uid):
    raise KeyError("no such user")
pwd.getpwuid = nobody
sys.argv = ["blobforge", *sys.argv[1:]]
from blobforge.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["work", "--type", "pdf", "--exec", "true {output}", "--once"], 3, "cannot reach"),
        (["stats"], 3, "cannot reach"),
        (["doctor"], 3, "cannot reach"),
        (["ingest", ".", "--type", "pdf"], 2, "no .pdf file"),
        (["logout"], 0, "There was no login"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_no_command_needs_a_home(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "BLOBFORGE_SERVER_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "This is a bug" not in answer.stderr
    assert said in answer.stderr + answer.stdout
    assert answer.returncode == code
    assert list(tmp_path.iterdir()) == []
