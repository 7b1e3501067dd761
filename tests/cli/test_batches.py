"""From a terminal: files are submitted for a batch, waited for and fetched as one thing, and followed as a whole."""

from __future__ import annotations

import json
from typing import cast

import pytest

from blobforge.cli.common import CliError
from blobforge.cli.naming import BatchCall, open_one
from blobforge.client import ApiError, AsyncClient, BatchInfo, BatchInfoPage
from tests.cli.conftest import Running

COPY = ("work", "--type", "pdf", "--exec", "cp {source} {output}", "--once", "--output-suffix", ".txt")


def test_files_are_one_thing_from_their_submission_to_their_results(running: Running) -> None:
    for name in ("a", "b", "c"):
        (running.folder / f"{name}.pdf").write_text(name)
    first = running.json("submit", "a.pdf", "--batch", "scans", "--open")
    assert running.json("jobs", "show", str(first["job_id"]))["batch"] == 1
    (batch,) = running.json("batches", "list", "--going")
    assert (batch["name"], batch["state"], batch["total"]) == ("scans", "open", 1)
    running.ok("ingest", ".", "--batch", "scans")
    shown = running.json("batches", "show", "scans")
    assert (shown["id"], shown["state"], shown["counts"]["pending"]) == (1, "closed", 3)
    assert "0/3" in running.ok("batches", "list")
    waits = running.start("batches", "watch", "scans")
    said = "batch 1 (scans) is closed: 0 of 3 ended: 3 pending (Unknown: pdf: no worker is online.)\n"
    assert waits.stderr.readline() == said  # type: ignore[union-attr]
    for _ in range(3):
        running.ok(*COPY)
    told, more = waits.communicate(timeout=60)
    assert (told, "is ended" in more) == ("batch 1 (scans) is ended: 3 of 3 ended: 3 completed\n", False)
    done = running.blobforge("ingest", ".", "--batch", "again", "--wait", "--download", "--to", "out")
    assert done.returncode == 0, done.stderr
    assert "batch 2 (again) is ended: 3 of 3 ended: 3 completed" in done.stderr
    assert len(list((running.folder / "out").rglob("*.txt"))) == 3, "of what was there already, too"
    assert running.ok("jobs", "list", "--batch", "2", "--quiet").split() == ["3", "2", "1"]
    running.ok("results", "download", "--batch", "scans", "--to", "elsewhere")
    assert len(list((running.folder / "elsewhere").rglob("*.txt"))) == 3
    lines = [json.loads(line) for line in running.ok("batches", "manifest", "again").splitlines()]
    assert [line["job_id"] for line in lines[1:-1]] == [1, 2, 3]
    assert running.blobforge("batches", "watch", "scans").returncode == 0


def test_as_a_whole(running: Running) -> None:
    (running.folder / "a.pdf").write_text("a")
    running.ok("submit", "a.pdf", "--batch", "scans")
    refused = running.blobforge("batches", "delete", "scans", "--yes")
    assert (refused.returncode, "jobs have not ended (1)" in refused.stderr) == (5, True)
    asked = running.blobforge("batches", "cancel", "scans")
    assert "Cancel what has not ended of batch 1 (scans): 1 job?" in asked.stderr
    running.ok("batches", "cancel", "scans", "--reason", "wrong", "--yes", "--wait")
    assert running.json("batches", "show", "1")["counts"]["cancelled"] == 1
    assert running.blobforge("batches", "watch", "1").returncode == 1
    running.ok("batches", "retry", "scans", "--cancelled", "--yes", "--wait")
    assert running.ok("batches", "show", "scans", "--quiet") == "closed\n"
    running.ok("batches", "cancel", "scans", "--yes", "--wait")
    running.ok("batches", "delete", "scans", "--results", "--yes", "--wait")
    gone = running.blobforge("batches", "show", "scans")
    assert (gone.returncode, "No batch is called 'scans'." in gone.stderr) == (5, True)
    assert running.ok("batches", "make", "next") == "2\n" == running.ok("batches", "make", "next")
    running.ok("batches", "close", "next")
    calls = running.blobforge("submit", "a.pdf", "--batch", "calls", "--callback-url", "https://build.example/")
    assert "set BLOBFORGE_CALLBACK_SECRET" in calls.stderr
    secret = "whsec_" + "A" * 32
    how = ("--callback-url", "https://build.example/", "--callback-secret", secret)
    calls = running.blobforge("submit", "a.pdf", "--batch", "calls", *how)
    assert "build.example is none of BLOBFORGE_CALLBACK_HOSTS" in calls.stderr
    missing = running.blobforge("submit", "a.pdf", "missing.pdf", "--batch", "scans")
    assert "stays open" in missing.stderr
    assert running.blobforge("submit", "a.pdf", "--open").returncode == 2
    for unset in (("submit", "a.pdf", "--batch", ""), ("batches", "close", ""), ("batches", "delete", " ", "--yes")):
        refused = running.blobforge(*unset)
        assert (refused.returncode, "the name is empty" in refused.stderr) == (2, True), "it is no batch's"
    assert running.blobforge("batches", "make", "12").returncode == 2


async def test_the_open_one_of_a_name_need_not_be_the_latest() -> None:
    pages = {
        None: BatchInfoPage(batches=[BatchInfo(id=3, state="ended"), BatchInfo(id=2, state="closed")], next_cursor=2),
        2: BatchInfoPage(batches=[BatchInfo(id=1, state="open")]),
    }

    class Server:
        async def list_batches(self, *, name: str, limit: int, cursor: int | None = None) -> BatchInfoPage:
            return pages[cursor]

        async def make_batch(self, name: str, **_: object) -> None:
            raise ApiError(409, "batch-exists", "Batch 1 is open, and is called scans.")

    assert await open_one(cast(AsyncClient, Server()), "scans") == 1
    with pytest.raises(CliError, match="calls no URL"):
        await open_one(cast(AsyncClient, Server()), "scans", BatchCall("https://build.example/", "whsec_x"))
