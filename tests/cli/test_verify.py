"""`blobforge results verify`, offline: each way to tamper with a manifest is found, and what is wrong in a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from blobforge.cli import main
from blobforge.installation import public_text
from blobforge.manifest import ManifestJob, ManifestMore, ManifestOutput
from blobforge.manifest_signature import ManifestWriter

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
RESULTS = {1: ("in/a.pdf", "a.md", b"first"), 2: ("in/b.pdf", "b.md", b"second"), 3: (None, "c.md", b"third")}


def listed(job_id: int, path: str | None, *outputs: ManifestOutput) -> ManifestJob:
    return ManifestJob(
        job_id=job_id,
        type="pdf",
        status="completed",
        source_hash=f"{job_id:064x}",
        source_path=path,
        attempts=1,
        created_at="2026-11-28T10:00:00.000Z",
        outputs_total=len(outputs),
        outputs=list(outputs),
    )


def output_of(name: str, content: bytes) -> ManifestOutput:
    return ManifestOutput(name, len(content), hashlib.sha256(content).hexdigest(), "text/markdown")


def signed(*lines: ManifestJob, key: Ed25519PrivateKey = KEY) -> bytes:
    writer = ManifestWriter(key, installation="bf0", began="2026-11-28T10:00:00.000Z", filter_={"type": "pdf"})
    body = [piece for line in lines for piece in writer.job(line)]
    return b"".join([writer.head, *body, writer.end(ended="2026-11-28T10:00:01.000Z")])


def all_listed(key: Ed25519PrivateKey = KEY) -> bytes:
    return signed(
        *(listed(id_, path, output_of(name, content)) for id_, (path, name, content) in RESULTS.items()), key=key
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    for path, name, content in RESULTS.values():
        target = root / Path(path or "").parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


Verify = Callable[..., Result]


@pytest.fixture
def verify(folder: Path, tmp_path: Path) -> Verify:
    def run(manifest: bytes, *options: str, key: str = public_text(KEY)) -> Result:
        file = tmp_path / "manifest.ndjson"
        file.write_bytes(manifest)
        return CliRunner().invoke(main, ["results", "verify", str(file), str(folder), "--key", key, *options])

    return run


def findings(result: Result) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[-1]["findings"] == len(lines) - 1
    return [(line["problem"], line["path"]) for line in lines[:-1]]


def test_a_folder_that_holds_all_and_nothing_else(verify: Verify, tmp_path: Path) -> None:
    done = verify(all_listed())
    assert (done.exit_code, done.stdout) == (0, "")
    assert "3 results of 3 jobs. 3 as signed, 0 findings." in done.stderr
    (tmp_path / "installation.pub").write_text(public_text(KEY) + "\n")
    assert verify(all_listed(), key=str(tmp_path / "installation.pub")).exit_code == 0


# ------------------------------------------------------------------ the manifest


def lines(change: Callable[[list[bytes]], Any]) -> Callable[[bytes], bytes]:
    def tamper(body: bytes) -> bytes:
        parts = body.splitlines(keepends=True)
        change(parts)
        return b"".join(parts)

    return tamper


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def tamper(body: bytes) -> bytes:
        assert old in body
        return body.replace(old, new, 1)

    return tamper


def swap(parts: list[bytes]) -> None:
    parts[1], parts[2] = parts[2], parts[1]


def carried_over(body: bytes) -> bytes:
    """The last line of another manifest of the same key."""
    last = signed(listed(9, None)).splitlines(keepends=True)[-1]
    return b"".join([*body.splitlines(keepends=True)[:-1], last])


def signed_anew(body: bytes) -> bytes:
    """By the other key, which says to be the right one."""
    forged = all_listed(OTHER).splitlines(keepends=True)[-1]
    ours = msgspec.json.decode(body.splitlines()[-1])["end"]["key"]
    theirs = msgspec.json.decode(forged)["end"]["key"]
    return b"".join([*body.splitlines(keepends=True)[:-1], forged.replace(theirs.encode(), ours.encode())])


TAMPERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a byte is another": (replaced(b'"size":5', b'"size":6'), "changed"),
    "a line is removed": (lines(lambda parts: parts.pop(2)), "changed"),
    "a line is added": (lines(lambda parts: parts.insert(2, parts[2])), "changed"),
    "two lines are swapped": (lines(swap), "changed"),
    "the end is cut off": (lines(lambda parts: parts.pop()), "truncated"),
    "it is cut off in its last line": (lambda body: body[:-20], "truncated"),
    "only the last line end is gone": (lambda body: body[:-1], "truncated"),
    "nothing is left": (lambda body: b"", "truncated"),
    "another key has signed it": (lambda body: all_listed(OTHER), "other-key"),
    "another key has signed it under this one's name": (signed_anew, "forged"),
    "the signature is of another manifest": (carried_over, "changed"),
    "the head is another": (replaced(b'"type":"pdf"}', b'"type":"PDF"}'), "changed"),
    "something stands behind it": (lambda body: body + b"\n", "trailing"),
    "a manifest stands behind it": (lambda body: body + all_listed(), "trailing"),
    "a path is another": (replaced(b"in/a.pdf", b"../a.pdf"), "changed"),
    "a member stands there twice": (replaced(b'"size":5', b'"size":5,"size":5'), "changed"),
    "a number is spelled otherwise": (replaced(b'"size":5', b'"size":5.0'), "changed"),
    "a space is added": (replaced(b'"size":5', b'"size": 5'), "changed"),
    "a character is escaped": (replaced(b"in/a.pdf", rb"in/\u0061.pdf"), "changed"),
    "line ends are Windows'": (lambda body: body.replace(b"\n", b"\r\n"), "truncated"),
    "a count in the last line is another": (replaced(b'"jobs":3', b'"jobs":4'), "forged"),
    "a number in the last line is spelled otherwise": (replaced(b'"jobs":3', b'"jobs":3.0'), "forged"),
    "a member of the last line stands there twice": (replaced(b'"jobs":3', b'"jobs":4,"jobs":3'), "forged"),
    "the last line has a member more": (replaced(b'{"end":{', b'{"end":{"x":1,'), "forged"),
    "the signature is none": (replaced(b'"signature":"', b'"signature":"!'), "forged"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found(how: str, verify: Verify) -> None:
    tamper, kind = TAMPERED[how]
    found = verify(tamper(all_listed()), "--json")
    assert found.exit_code == 1, found.output
    [told] = [json.loads(line) for line in found.stdout.splitlines()]
    assert (told["problem"], told["kind"]) == ("manifest", kind)
    assert "proves nothing" in found.stderr


def test_a_key_that_is_carried_inside_proves_nothing(verify: Verify, tmp_path: Path, folder: Path) -> None:
    forged = all_listed(OTHER)
    assert verify(forged, key=public_text(OTHER)).exit_code == 0, "what is proven is whose it is"
    assert verify(forged).exit_code == 1
    missing = CliRunner().invoke(main, ["results", "verify", str(tmp_path / "manifest.ndjson"), str(folder)])
    assert missing.exit_code == 2
    assert "--key" in missing.stderr
    for wrong in ("no key", public_text(KEY)[:-4], "SHA256:" + "a" * 43):
        assert verify(all_listed(), key=wrong).exit_code == 2


def test_lines_that_are_none_of_ours_are_refused_though_they_are_signed(verify: Verify) -> None:
    writer = ManifestWriter(KEY, installation="bf0", began="", filter_={})
    stray = writer._line(ManifestMore(2, [output_of("x", b"x")]))
    found = verify(b"".join([writer.head, stray, writer.end(ended="")]), "--json")
    assert json.loads(found.stdout.splitlines()[-1])["kind"] == "format"


# ------------------------------------------------------------------ the folder


def test_what_is_missing_changed_and_extra(verify: Verify, folder: Path) -> None:
    (folder / "in/a.md").unlink()
    (folder / "in/b.md").write_bytes(b"SECOND")
    (folder / "in/new.md").write_bytes(b"x")
    (folder / ".hidden").write_bytes(b"x")
    found = verify(all_listed(), "--json")
    assert found.exit_code == 1
    assert findings(found) == [
        ("missing", "in/a.md"), ("changed", "in/b.md"), ("extra", ".hidden"), ("extra", "in/new.md")
    ]  # fmt: skip
    assert "missing\tin/a.md\tjob 1\n" in verify(all_listed()).stdout


def test_a_job_with_very_many_outputs_has_several_lines(verify: Verify, folder: Path) -> None:
    names = [f"{n:04}.md" for n in range(1001)]
    for path in [*folder.rglob("*.md"), folder / "in"]:
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "job-1").mkdir()
    for name in names:
        (folder / "job-1" / name).write_bytes(name.encode())
    body = signed(listed(1, None, *(output_of(name, name.encode()) for name in names)))
    assert body.count(b"\n") == 5
    known = listed(1, None, *(output_of(name, name.encode()) for name in names))
    assert signed(replace(known, paths=[f"in/{n}" for n in range(999)])).count(b"\n") == 6
    assert findings(verify(body, "--json")) == []
    (folder / "job-1" / names[-1]).unlink()
    assert findings(verify(body, "--json")) == [("missing", f"job-1/{names[-1]}")]


def test_outputs_with_folders_in_their_names(verify: Verify, folder: Path) -> None:
    (folder / "in/d/img").mkdir(parents=True)
    (folder / "in/d/img/1.png").write_bytes(b"1")
    jobs = [listed(id_, path, output_of(name, content)) for id_, (path, name, content) in RESULTS.items()]
    several = listed(4, "in/d.pdf", output_of("d/main.md", b"main"), output_of("img/1.png", b"1"))
    assert findings(verify(signed(*jobs, several), "--json")) == [("missing", "in/d/d/main.md")]
    (folder / "in/d/d").mkdir()
    (folder / "in/d/d/main.md").write_bytes(b"main")  # the folder of the job, and that in the name
    assert findings(verify(signed(*jobs, several), "--json")) == []


def test_a_result_stands_at_all_paths_of_its_source(verify: Verify, folder: Path) -> None:
    jobs = [listed(id_, path, output_of(name, content)) for id_, (path, name, content) in RESULTS.items() if id_ > 1]
    jobs.insert(0, replace(listed(1, "in/a.pdf", output_of("a.md", b"first")), paths=["in/z.pdf", "copy/a.pdf"]))
    assert findings(verify(signed(*jobs), "--json")) == [("missing", "in/z.md"), ("missing", "copy/a.md")]
    (folder / "copy").mkdir()
    for path in ("in/z.md", "copy/a.md"):
        (folder / path).write_bytes(b"first")
    assert findings(verify(signed(*jobs), "--json")) == []


def test_a_link_is_no_result(verify: Verify, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"first")
    (folder / "in/a.md").unlink()
    (folder / "in/a.md").symlink_to(tmp_path / "elsewhere")
    assert findings(verify(all_listed(), "--json")) == [("changed", "in/a.md")]
    (tmp_path / "away").mkdir()
    os.rename(folder / "in", tmp_path / "away/in")
    (folder / "in").symlink_to(tmp_path / "away/in")
    assert findings(verify(all_listed(), "--json")) == [
        ("missing", "in/a.md"), ("missing", "in/b.md"), ("extra", "in")
    ]  # fmt: skip


def test_a_signed_path_leads_nowhere_out_of_the_folder(verify: Verify, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.md").write_bytes(b"x")
    body = signed(listed(1, "../../x.pdf", output_of("../evil.md", b"x")))
    assert ("missing", "evil.md") in findings(verify(body, "--json"))


def test_results_of_one_name_stand_apart_as_download_puts_them(verify: Verify, folder: Path) -> None:
    for path in list(folder.rglob("*.md")):
        path.unlink()
    (folder / "in/x.md").write_bytes(b"one")
    (folder / "in/X~2.md").write_bytes(b"two")
    (folder / "in/x~3.md").write_bytes(b"one")
    (folder / "in/x.md~").mkdir()
    (folder / "in/x.md~/y.md").write_bytes(b"deep")
    jobs = [
        listed(1, "in/1.pdf", output_of("x.md", b"one")),
        listed(2, "in/2.pdf", output_of("X.md", b"two")),
        listed(3, "in/3.pdf", output_of("x.md", b"one")),
        listed(4, "in/x.md/4.pdf", output_of("y.md", b"deep")),
    ]
    assert findings(verify(signed(*jobs), "--json")) == []
    assert findings(verify(signed(*jobs[1:]), "--json")) == [("extra", "in/x.md")]
    (folder / "in/x~3.md").unlink()
    assert findings(verify(signed(*jobs), "--json")) == [("missing", "in/x.md")], "one file is one result's"


def test_what_has_no_hash_is_compared_by_its_size_and_that_is_said(verify: Verify, folder: Path) -> None:
    jobs = [listed(id_, path, output_of(name, content)) for id_, (path, name, content) in RESULTS.items() if id_ > 1]
    body = signed(listed(1, "in/a.pdf", ManifestOutput("a.md", 5)), *jobs)
    found = verify(body)
    assert found.exit_code == 0
    assert "Of 1 result the manifest has no hash" in found.stderr
    (folder / "in/a.md").write_bytes(b"longer")
    assert verify(body).exit_code == 1


@pytest.mark.parametrize("layout", ["id", "hash"])
def test_layouts(layout: str, verify: Verify, folder: Path) -> None:
    for path in [*folder.rglob("*.md"), folder / "in"]:
        path.rmdir() if path.is_dir() else path.unlink()
    where = "7/a.md" if layout == "id" else f"00/{7:064x}/a.md"
    (folder / where).parent.mkdir(parents=True)
    (folder / where).write_bytes(b"x")
    body = signed(listed(7, "in/a.pdf", output_of("a.md", b"x")))
    assert findings(verify(body, "--json", "--layout", layout)) == []
    assert verify(body, "--json").exit_code == 1
