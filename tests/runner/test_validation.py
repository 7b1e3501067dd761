"""What outputs must be: each rule passes what is good, and says what is wrong with the rest."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from blobforge.client import AsyncClient
from blobforge.runner import Job, JobFailed, RunEnd, Validation, Worker
from blobforge.runner.handlers import InWorker
from blobforge.runner.validation import CheckedOutput, media_type
from tests.runner.coordinator import Coordinator
from tests.runner.scripted import Scripted

SCHEMA = {"type": "object", "required": ["pages"], "properties": {"pages": {"type": "integer", "minimum": 1}}}


def made(folder: Path, **contents: bytes) -> list[CheckedOutput]:
    found = []
    for said_as, content in contents.items():
        name = said_as.replace("_", ".")
        (folder / name).write_bytes(content)
        found.append(CheckedOutput(name, folder / name))
    return found


async def said(validation: Validation, outputs: list[CheckedOutput]) -> tuple[str, str] | None:
    """The kind and the words of what does not pass."""
    try:
        await validation.validate(None, outputs)  # type: ignore[arg-type]  # no command is run
    except JobFailed as failure:
        return failure.kind, str(failure)
    return None


async def test_sizes(tmp_path: Path) -> None:
    outputs = made(tmp_path, a_md=b"x" * 10, b_log=b"")
    assert await said(Validation.of(min_size="*.md=10"), outputs) is None
    kind, words = await said(Validation.of(min_size=["*.md=11"]), outputs) or ("", "")
    assert (kind, words) == ("OutputTooSmall", "the output 'a.md' has 10 bytes, and 11 are wanted")
    kind, words = await said(Validation.of(min_size="1"), outputs) or ("", "")
    assert "'b.log' has 0 bytes" in words, "without a pattern: all of them"
    kind, words = await said(Validation.of(min_size="*.pdf=1"), outputs) or ("", "")
    assert (kind, words) == ("OutputMissing", "no output is called *.pdf, and there must be one")


def office(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
        archive.writestr("word/document.xml", "x")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.md", "# é".encode(), "text/markdown"),
        ("a.md", b"", "text/markdown"),
        ("a.md", b"<html><body>Error 500</body></html>", "text/html"),
        ("a.md", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        ("a.md", b"\0\1\2\3\4", "application/octet-stream"),
        ("a.pdf", b"%PDF-1.4\n", "application/pdf"),
        ("a.pdf", b"no more memory", "text/plain"),
        ("a.json", b'{"a": 1}', "application/json"),
        ("a", b"plain", "text/plain"),
        ("a.txt", "é".encode() * (1 << 15) + b"x", "text/plain"),
        ("a.txt", b"x" + "é".encode() * (1 << 15), "text/plain"),
    ],
)
def test_media_types_are_known_by_the_bytes(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert media_type(CheckedOutput(name, tmp_path / name)) == found


def test_a_format_inside_of_another_is_known(tmp_path: Path) -> None:
    office(tmp_path / "a.docx")
    assert media_type(CheckedOutput("a.docx", tmp_path / "a.docx")).endswith("wordprocessingml.document")


async def test_media_types(tmp_path: Path) -> None:
    outputs = made(tmp_path, a_md=b"# text", b_png=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert await said(Validation.of(media_type=["text/*", "image/png"]), outputs) is None
    kind, words = await said(Validation.of(media_type=["*.png=image/jpeg", "*.png=image/gif"]), outputs) or ("", "")
    assert kind == "OutputMediaType"
    assert words == "the output 'b.png' is image/png, and image/jpeg or image/gif is wanted"


async def test_schemas(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text(json.dumps(SCHEMA))
    validation = Validation.of(schema=str(tmp_path / "schema"))
    assert await said(validation, made(tmp_path, a_md=b"x", b_json=b'{"pages": 3}')) is None
    assert await said(validation, made(tmp_path, out=b'{"pages": 3}')) is None, "the only one, whatever its name"
    kind, words = await said(validation, made(tmp_path, out=b'{"pages": 0}')) or ("", "")
    assert kind == "OutputSchema"
    assert words.startswith(f"the output 'out' is not as {tmp_path / 'schema'} says: pages: 0 is less than")
    assert "is no JSON" in (await said(validation, made(tmp_path, out=b"{")) or ("", ""))[1]
    assert (await said(validation, made(tmp_path, a_md=b"x", b_txt=b"x")) or ("", ""))[0] == "OutputMissing"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"min_size": "much"}, "is no size"),
        ({"media_type": "markdown"}, "is no media type"),
        ({"schema": "/nowhere"}, "is no JSON schema"),
        ({"check": "no-such-program"}, "is not found"),
    ],
)
def test_a_rule_that_is_none_is_refused_at_the_start(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Validation.of(**rules)


@pytest.mark.parametrize("good", [True, False])
async def test_a_command_has_the_last_word(scripted: Scripted, good: bool) -> None:
    coordinator = Coordinator(scripted)
    coordinator.waiting = 1
    script = "import sys; sys.exit(None if open(sys.argv[1]).read() == 'good' else 'not good: page 3')"
    validation = Validation.of(check=f'{sys.executable} -c "{script}" {{output}}')

    def handler(job: Job) -> None:
        (job.outputs / "a.md").write_text("good" if good else "bad")

    async with AsyncClient(scripted.url, token="bf_x") as client:
        worker = Worker(client=client, worker_id="w", once=True, min_free=0)
        worker.add(["pdf"], InWorker(handler), validation=validation)
        assert await worker.run_async() == {RunEnd.COMPLETED if good else RunEnd.FAILED: 1}
    failed = coordinator.posted("/api/jobs/1/fail")
    if good:
        assert failed == []
        return
    (fail,) = failed
    assert fail["kind"] == "OutputCheck"
    assert fail["error"] == "the outputs were refused by --check: exit status 1: not good: page 3"
    assert "not good: page 3" in fail["log_tail"]
    assert scripted.to("PUT", "/output/1") == [], "and nothing of it was uploaded"
