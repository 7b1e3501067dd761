"""`--exec`: what a command is given, and what its end is read as."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import Job as JobRecord
from blobforge.runner import Command, Job, JobFailed, WorkerTrouble
from blobforge.runner.guard import Guard
from tests.runner.test_process import alive

PYTHON = sys.executable


def given(tmp_path: Path, source_path: str = "in/a book.pdf") -> Job:
    source = tmp_path / "source.pdf"
    source.write_text("bytes")

    def report(news: Mapping[str, Any]) -> None:
        del news

    record = JobRecord(id=7, type="pdf", status="running", source_hash="0" * 64, source_path=source_path)
    (tmp_path / "outputs").mkdir(exist_ok=True)
    return Job(record, tmp_path, source, report)


async def test_placeholders_and_environment(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "names = ['JOB_ID', 'JOB_TYPE', 'SOURCE', 'OUTPUT', 'WORKDIR', 'SOURCE_PATH']\n"
        "said = [os.environ['BLOBFORGE_' + name] for name in names]\n"
        "open(sys.argv[2], 'w').write('\\n'.join([os.getcwd(), *sys.argv[1:], '--', *said]))\n"
    )
    job = given(tmp_path, "in/$(touch x); 'q'.pdf")
    await Command(
        f"{PYTHON} {script} {{source}} {{output}} {{workdir}} job-{{job_id}} {{source_path}} {{{{other}}}}"
    )(job)
    source, output = str(job.source), str(job.output)
    assert job.output.read_text().splitlines() == [
        str(tmp_path),
        *(source, output, str(tmp_path), "job-7", "in/$(touch x); 'q'.pdf", "{other}"),
        "--",
        *("7", "pdf", source, output, str(tmp_path), "in/$(touch x); 'q'.pdf"),
    ]


async def test_the_workers_credentials_stay_out_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOBFORGE_API_TOKEN", "bf_secret")
    monkeypatch.setenv("BLOBFORGE_WORKER_SECRET", "bfw_secret")
    job = given(tmp_path)
    await Command("sh -c 'env > {output}'")(job)
    assert "secret" not in job.output.read_text()


async def test_an_exit_status_fails_with_the_last_line_of_stderr_and_both_tails(tmp_path: Path) -> None:
    script = "sh -c 'echo page 1; echo first >&2; echo Syntax Error: no xref table >&2; exit 3'"
    with pytest.raises(JobFailed) as failure:
        await Command(script)(given(tmp_path))
    assert failure.value.kind == "ExitStatus"
    assert str(failure.value) == "exit status 3: Syntax Error: no xref table"
    assert failure.value.log_tail == ("--- stderr ---\nfirst\nSyntax Error: no xref table\n--- stdout ---\npage 1\n")
    assert failure.value.retryable


async def test_a_signal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as failure:
        await Command("sh -c 'kill -9 $$'")(given(tmp_path))
    assert failure.value.kind == "Signal"
    assert str(failure.value) == "killed by SIGKILL (out of memory?)"


async def test_a_long_log_says_that_its_beginning_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as failure:
        await Command("sh -c 'seq 1 100000 >&2; exit 1'")(given(tmp_path))
    assert failure.value.log_tail is not None
    assert failure.value.log_tail.startswith("--- stderr, the end of 588,895 bytes ---\n")
    assert len(failure.value.log_tail) < 17_000
    assert str(failure.value) == "exit status 1: 100000"


async def test_a_full_disk_is_told_in_the_commands_own_words(tmp_path: Path) -> None:
    says = 'echo starting >&2; echo "cp: output: No space left on device" >&2; echo 17 of 20 copied >&2; exit 1'
    with pytest.raises(WorkerTrouble, match=r"^the disk is full: cp: output: No space left on device$"):
        await Command(f"sh -c '{says}'")(given(tmp_path))


async def test_a_program_that_vanished_is_the_workers_trouble(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = Command(str(program))
    program.unlink()
    with pytest.raises(WorkerTrouble, match="cannot start"):
        await command(given(tmp_path))


@pytest.mark.parametrize(
    ("template", "words"), [("", "empty"), ("no-such-program {source}", "not found"), ("echo 'x", "quotation")]
)
def test_a_template_that_cannot_work_is_refused_at_once(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Command(template)


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ("cat {sourse} {output}", r"did you mean \{source\}\?"),
        ("cat {sourse}{nothing_like_it}", "is no placeholder: there are cwd, source"),
        ("cat {source} | sort", r"'\|' is for a shell, and there is none: write bash -c"),
        ("cat {source} > {output}", "'>' is for a shell"),
        ("cat {source} 2>&1", "'2>&1' is for a shell"),
        ("cat {source} >out.txt", "'>out.txt' is for a shell"),
        ("cat < {source}", "'<' is for a shell"),
        ("cat {source} && true", "'&&' is for a shell"),
        ("cat {source}; true", "';'|'{source};' is for a shell"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(template: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Command(template)


@pytest.mark.parametrize(
    "template",
    [
        "sh -c 'cat {source} | sort > {output}'",
        'sh -c "cat ${HOME} {{x}} > {output}"',
        "printf '|' '>' ';' '{{a}}'",
        "echo a|b x;y",
    ],
)
def test_what_a_shell_is_asked_for_is_let_through(template: str) -> None:
    assert Path(Command(template)._argv[0]).name == template.split(maxsplit=1)[0]


async def test_a_program_is_looked_up_where_the_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, folder = tmp_path / "start", tmp_path / "job"
    start.mkdir()
    folder.mkdir()
    script = start / "ocr.sh"
    script.write_text('#!/bin/sh\necho "$2 $BLOBFORGE_CWD" > "$1"\n')
    monkeypatch.chdir(start)
    with pytest.raises(ValueError, match="cannot be executed: make it executable"):
        Command("./ocr.sh {output} {cwd}")
    script.chmod(0o755)
    command = Command("./ocr.sh {output} {cwd}")
    monkeypatch.chdir("/")
    job = given(folder)
    await command(job)
    assert job.output.read_text() == f"{start} {start}\n"


async def test_what_is_written_to_stdout_is_the_output(tmp_path: Path) -> None:
    job = given(tmp_path)
    await Command("sh -c 'echo page 1 >&2; seq 1 100000'", stdout=True)(job)
    assert job.output.read_text().splitlines() == [str(number) for number in range(1, 100001)]
    assert job.output_tail() == "--- stderr ---\npage 1\n"
    with pytest.raises(JobFailed, match="wrote nothing to stdout"):
        await Command("true", stdout=True)(job)
    with pytest.raises(ValueError, match=r"leave \{output\} out"):
        Command("cat {output}", stdout=True)
    monkey = tmp_path / "output"
    monkey.unlink()
    monkey.symlink_to("/dev/full")
    with pytest.raises(WorkerTrouble, match="cannot be written"):
        await Command("seq 1 100000", stdout=True)(job)


async def test_a_daemon_with_a_clean_environment_ends_with_its_job(tmp_path: Path) -> None:
    """It leaves the group, the session and its parent, and wipes the cookie: it is still below the supervisor."""
    daemon = f"env -i setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' &"
    script = tmp_path / "script.sh"
    script.write_text(f"({daemon})\nwhile [ ! -s {tmp_path}/pid ]; do sleep 0.01; done\necho x > {tmp_path}/output\n")
    await Command(f"sh {script}")(given(tmp_path))
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_process_has_no_more_memory_than_its_limit(tmp_path: Path) -> None:
    needs = f"{PYTHON} -c 'print(len(bytearray(300_000_000)))'"
    await Command(needs)(given(tmp_path))
    with pytest.raises(JobFailed, match="MemoryError"):
        await Command(needs, max_memory=200_000_000)(given(tmp_path))


async def test_what_cannot_be_started_is_the_machines_fault(tmp_path: Path) -> None:
    program = tmp_path / "gone"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(WorkerTrouble, match=r"cannot start .*gone: No such file"):
        await Command(str(program))(given(tmp_path))


async def test_a_file_of_the_starts_folder_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    """The command runs elsewhere: an interpreter would not find its script. It may be meant for a result's name."""
    monkeypatch.chdir(tmp_path)
    for name in ("ocr.py", "txt"):
        (tmp_path / name).touch()
    command = Command(f"{PYTHON} ./ocr.py --format txt {{source}} {{cwd}}/ocr.py {tmp_path}/ocr.py new.txt")
    await command.prepare(nursery, Guard())
    (told,) = [record.getMessage() for record in caplog.records if record.name == "blobforge.runner"]
    assert "'./ocr.py'" in told
    assert "{cwd}/ocr.py is this one" in told
