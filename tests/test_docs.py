"""The documentation says what the code does: tables, diagrams, module lists and examples are held to it here."""

from __future__ import annotations

import ast
import hashlib
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
import pytest

from blobforge.access import Scope
from blobforge.cli import main as command_line
from blobforge.config import Settings, describe
from blobforge.environment import CLIENT_VARIABLES, RETIRED_VARIABLES
from blobforge.job import JobStatus
from blobforge.life import TRANSITIONS
from blobforge.runner import PLACEHOLDERS
from tests.fixtures.server import ServerProcess
from tests.generated import PACKAGES, STATE, between_marks, command_of, commands, described, path_of, sections
from web.app import routes

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
LIFE = ROOT / "docs" / "life-of-a-job.md"
WORKERS = ROOT / "docs" / "writing-workers.md"
COMMANDS = ROOT / "docs" / "cli.md"
SIGNING_IN = ROOT / "docs" / "signing-in.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLE = ROOT / "blobforge" / "demo" / "samples" / "letter.pdf"


def example(page: Path, language: str) -> str:
    """The code block behind `<!-- tested -->`."""
    found = re.search(rf"<!-- tested -->\n```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    assert found is not None, f"{page.name} has no tested {language} block"
    return found[1]


def without_fences(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("page", "mark"), sections(), ids=lambda each: getattr(each, "name", each))
def test_what_is_generated_is_up_to_date(page: Path, mark: str) -> None:
    assert between_marks(page, mark)[0] == sections()[page, mark], f"{page.name}, {mark}: run `make docs`"


def test_owned_state_is_said_in_one_form() -> None:
    """Where a docstring of a module says it in other words, the table of modules does not have it."""
    other = re.compile(r"\bOwns?\b|[Oo]wned by|owned here(?!: )|State:|No state\b")
    found = [
        f"{path_of(path)}: {said.group()!r}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (said := other.search(" ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())))
    ]
    assert found == [], f"say '{STATE}...'"


def test_every_module_says_what_it_is() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path_of(path) for path in modules if not described(path)[0]] == []


def test_the_configuration_table_has_every_group() -> None:
    assert re.findall(r"<!-- config:(\w+) -->", README.read_text()) == list(
        dict.fromkeys(variable.group for variable in describe(Settings()))
    )


def test_the_variables_of_clients_are_listed() -> None:
    text = README.read_text()
    assert [name for name in sorted(CLIENT_VARIABLES) if f"| `{name}` |" not in text] == []


def test_every_action_of_the_audit_log_is_listed() -> None:
    login = (ROOT / "web" / "auth" / "login.py").read_text()
    known = set(re.findall(r'"(sign-[a-z]+(?:\.[a-z]+)?)"', login))
    known |= {route.audit for route in routes() if route.audit is not None}
    rows = between_marks(SIGNING_IN, "audit")[0].splitlines()[2:]
    listed = re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in rows))
    assert sorted(listed) == sorted(known)


def test_every_scope_is_explained() -> None:
    section = SIGNING_IN.read_text().split("| Scope | May |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(Scope)


def listed_commands(section: str) -> list[str]:
    """The commands in the first columns of the tables."""
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return sorted(re.findall(r"`([^`]+)`", " ".join(cells)))


def test_every_command_is_in_the_readme_and_the_other_way_round() -> None:
    section = README.read_text().split("## Command line")[1].split("| Exit code")[0]
    assert listed_commands(section) == sorted(commands(command_line))


def test_every_command_is_in_its_own_page_and_the_other_way_round() -> None:
    section = COMMANDS.read_text().split("## Commands")[1].split("## Options of each command")[0]
    assert listed_commands(section) == sorted(commands(command_line))


@pytest.mark.parametrize("page", [README, COMMANDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_exit_code_is_told(page: Path) -> None:
    told = re.findall(r"^ *(\d+)  \S", command_line.help or "", re.MULTILINE)
    told += re.findall(r"  (\d+)  \S", command_line.help or "")
    section = page.read_text().split("| Exit code")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| (\d+) \|", section, re.MULTILINE)) == set(told)


def typed(text: str) -> Iterator[list[str]]:
    """The command lines of ours in the shell examples of a page or of a help text."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.strip()
        if words.startswith("blobforge "):
            lexer = shlex.shlex(words, posix=True, punctuation_chars="|&<>;")
            lexer.whitespace_split = True
            yield list(itertools.takewhile(lambda word: not word or set(word) - set("|&<>;"), lexer))[1:]


def understood(words: list[str]) -> None:
    """Parse a command line as the command itself would. Raises click's errors; files need not be there."""
    command: click.Command = command_line
    context = click.Context(command_line, info_name="blobforge")
    while isinstance(command, click.Group):
        if command.invoke_without_command and words and words[0].startswith("-"):
            break  # the group's own options
        name, found, words = command.resolve_command(context, words)
        assert name is not None
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    try:
        command.make_context(context.info_name, list(words), parent=context.parent)
    except click.MissingParameter:
        raise
    except click.BadParameter as error:
        if error.param is None or not isinstance(error.param.type, click.Path):
            raise


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_the_command_lines_of_the_examples_are_understood(page: Path) -> None:
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for block in blocks:
        for words in typed(block):
            understood(words)


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "deploy").rglob("*.y*ml")], ids=lambda page: page.name)
def test_a_converter_that_is_given_a_path_is_given_one_that_is_looked_at(page: Path) -> None:
    """What it leaves elsewhere than at {output} or below {outputs} is not found, and the job fails."""
    commands = re.findall(r"""--exec[",' ]+([^"'`]*\{source\}[^"'`]*)""", page.read_text())
    assert [each for each in commands if "{output" not in each] == []


def test_the_command_lines_of_the_help_texts_are_understood() -> None:
    count = 0
    for name in commands(command_line):
        for block in (command_of(name).help or "").split("\n\n"):
            if block.lstrip(" ").startswith("\b"):
                for words in typed(block):
                    understood(words)
                    count += 1
    assert count > 10


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{page.name} names {sorted(named - targets)}"


def test_the_state_diagram_is_the_table_of_transitions() -> None:
    drawn = re.findall(r"^    (\S+) --> (\S+): (\S+)$", LIFE.read_text(), re.MULTILINE)
    begins = [arrow for arrow in drawn if arrow[0] == "[*]"]
    assert begins == [("[*]", JobStatus.UPLOADING, "submit"), ("[*]", JobStatus.PENDING, "submit")]
    expected = {(before, after, verb) for (verb, before), afters in TRANSITIONS.items() for after in afters}
    arrows = set(drawn) - set(begins)
    missing = "\n".join(f"    {before} --> {after}: {verb}" for before, after, verb in sorted(expected - arrows))
    assert arrows == expected, f"not drawn:\n{missing}\ndrawn, but not in the table: {sorted(arrows - expected)}"


def test_variables_that_are_named_exist() -> None:
    given_to_commands = {f"BLOBFORGE_{name.upper()}" for name in PLACEHOLDERS}
    known = (
        CLIENT_VARIABLES
        | RETIRED_VARIABLES.keys()
        | given_to_commands
        | {variable.name for variable in describe(Settings())}
    )
    for page in PAGES:
        named = set(re.findall(r"BLOBFORGE_[A-Z0-9_]*[A-Z0-9]\b(?!_)", page.read_text())) - {"BLOBFORGE_S3"}
        assert named <= known, f"{page.name} names {sorted(named - known)}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}"


# Of the user's cache folder, of the one who deploys, and what a benchmark leaves behind.
ELSEWHERE = {"blobforge/hashes.sqlite3", "deploy/.env", "bench/results/local"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """Decisions alone may name what is gone: it was there when they were made."""
    named = set(re.findall(r"`((?:\.ci|actors|bench|blobforge|deploy|docs|tests|web)/[\w./-]*\w)", page.read_text()))
    gone = {name for name in named - ELSEWHERE if not (ROOT / name).exists()}
    assert not gone or page.parent.name == "adr"


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


# ------------------------------------------------------------------ the examples


def submit(client: httpx.Client, content: bytes, type_: str) -> int:
    """Submit a document and upload it; returns the job's id once it may be claimed."""
    body = {"type": type_, "source_hash": hashlib.sha256(content).hexdigest(), "source_path": f"a.{type_}"}
    job = client.post("/api/jobs", json=body).raise_for_status().json()
    upload = {"Content-Type": "application/octet-stream"}
    httpx.put(job["upload_url"], content=content, headers=upload, trust_env=False).raise_for_status()
    return int(job["job_id"])


def output_of(client: httpx.Client, job_id: int) -> bytes:
    url = client.get(f"/api/files/{job_id}/output/url").raise_for_status().json()["url"]
    return httpx.get(url, trust_env=False).raise_for_status().content


def wait_for(client: httpx.Client, job_id: int, status: str, seconds: float = 30) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while True:
        job: dict[str, object] = client.get(f"/api/jobs/{job_id}").raise_for_status().json()
        if job["status"] == status:
            return job
        assert time.monotonic() < deadline, f"job {job_id} did not become {status}: {job}"
        time.sleep(0.05)


def environment(**variables: str) -> dict[str, str]:
    """Ours, without any setting or proxy of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BLOBFORGE_") and not name.lower().endswith("_proxy")
    }
    return kept | variables


@contextmanager
def running(script: str, folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    path = folder / "worker.py"
    path.write_text(script)
    process = subprocess.Popen([sys.executable, str(path)], env=variables, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_example_worker_completes_fails_comes_back_and_leaves(server: ServerProcess, tmp_path: Path) -> None:
    variables = environment(
        BLOBFORGE_SERVER_URL=server.url, BLOBFORGE_API_TOKEN=server.token, BLOBFORGE_WORKER_ID="words"
    )
    with (
        server.client() as client,
        running(example(WORKERS, "python"), tmp_path, variables) as worker,
    ):
        good = submit(client, b"one two three", "txt")
        wait_for(client, good, "completed")
        assert output_of(client, good) == b"3\n"

        bad = submit(client, b"\xff\xfe", "txt")
        job = wait_for(client, bad, "failed")
        assert "codec" in str(job["last_error"])

        client.delete("/api/workers/words").raise_for_status()
        after = submit(client, b"four", "txt")
        assert wait_for(client, after, "completed")["worker_id"] == "words"

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        (listed,) = client.get("/api/workers").json()
        assert (listed["id"], listed["status"]) == ("words", "offline")


@pytest.mark.parametrize("waiting", [True, False], ids=["a job waits", "there is none"])
def test_the_worker_of_the_readme_works_as_it_stands(server: ServerProcess, tmp_path: Path, waiting: bool) -> None:
    # Not skipped: `make test` installs them on Debian, and what the README shows first must not go untested.
    missing = [tool for tool in ("bash", "curl", "jq", "pdftotext") if shutil.which(tool) is None]
    assert missing == [], "install these (Debian: bash, curl, jq, poppler-utils)"
    script = example(README, "bash")
    if not waiting:
        script = script.replace('"wait": 30', '"wait": 0')
    with server.client() as client:
        job = submit(client, SAMPLE.read_bytes(), "pdf") if waiting else None
        ended = subprocess.run(
            ["bash", "-c", script],
            check=False,
            env=environment(BLOBFORGE=server.url, TOKEN=server.token),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        if job is not None:
            wait_for(client, job, "completed")
            assert output_of(client, job) == (tmp_path / "output.txt").read_bytes()
