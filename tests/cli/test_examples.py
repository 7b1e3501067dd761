"""The examples of docs/examples, whole: the very commands of their pages, by bash, one page after the other against
one server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Running

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"
SAMPLES = Path("blobforge") / "demo" / "samples"
# Once something fails, nothing that was started stays.
BEFORE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"


def commands_of(page: Path) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("running", [{"BLOBFORGE_WEBHOOK_ALLOW": "loopback"}], indirect=True)
def test_the_examples_do_what_they_say(running: Running, tmp_path: Path) -> None:
    assert shutil.which("pdfseparate") is not None, "install poppler-utils"
    shutil.copytree(ROOT / SAMPLES, tmp_path / SAMPLES)
    shutil.copytree(EXAMPLES, tmp_path / "docs" / "examples")
    token = (running.folder / "data" / "admin-token").read_text().strip()
    programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    more = {"PATH": programs, "BLOBFORGE_API_TOKEN": token, "PORT": str(free_port())}
    here = tmp_path / "docs" / "examples"
    said: dict[str, str] = {}
    for page in sorted(here.glob("*/README.md")):
        done = subprocess.run(
            ["bash", "-c", BEFORE + commands_of(page)],
            cwd=page.parent, env=running.environment(**more), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.parent.name}: {done.stdout}{done.stderr}"
        said[page.parent.name] = done.stdout
    tree = re.findall(r"^ *\d+  (\w+)  completed", said["split-convert-join"], re.MULTILINE)
    assert sorted(tree) == ["book", "page", "page", "page", "split"]
    assert "The last line of the last page" in said["split-convert-join"]
    summaries = sorted(
        path.read_text().splitlines()[-1] for path in (here / "ocr-summary" / "summaries").rglob("*.txt")
    )
    assert len(summaries) == 2
    assert all(each.endswith(" words") for each in summaries)
    told = json.loads((here / "nightly" / "told.json").read_text())
    assert (told["ending"], told["counts"]) == (1, {"completed": 2})
    assert "invoice.txt\nmenu.txt" in said["nightly"]
    assert "the canary says 11" in said["upgrade"]
    assert running.json("jobs", "list", "--made-by", "totext==2")["total"] == 2


def test_each_example_is_in_the_list_of_examples() -> None:
    listed = set(re.findall(r"\]\(([\w-]+)/README\.md\)", (EXAMPLES / "README.md").read_text()))
    assert listed == {page.parent.name for page in EXAMPLES.glob("*/README.md")}
