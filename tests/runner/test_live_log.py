"""What a converter prints is sent while it runs: in bounded pieces, without secrets, at the server's pace."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import ApiError, AsyncClient, ServerUnreachable
from blobforge.livelog import MOST_PIECE, MOST_SENT
from blobforge.runner import Command, Worker
from blobforge.runner.holdings import MOST_WORDS, Held, Holdings
from blobforge.runner.livelog import LiveLog, LogSender
from blobforge.runner.process import Tail
from blobforge.runner.redacting import Redactor, beginning, ending
from tests.runner.coordinator import LEASE_LOST, Coordinator
from tests.runner.scripted import Answer, Scripted, eventually

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAQAB\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize("before", [485, 3000])
async def test_what_is_too_long_is_cut_off_behind_what_is_taken_out(before: int) -> None:
    """Half of a secret is not known for one."""
    redactor = Redactor(["correct-horse-battery"])
    holdings = Holdings(redactor.line)
    held = Held(None, holdings._redact)  # type: ignore[arg-type]
    held.report({"message": "x" * before + " correct-horse-battery", "done": 1})
    assert "correct" not in held.progress["message"]
    assert len(held.progress["message"]) <= MOST_WORDS
    assert "correct" not in redactor.text(beginning("x" * before + " correct-horse-battery", before + 9))
    assert "battery" not in redactor.text(ending("correct-horse-battery " + "x" * before, before + 9))


def test_what_is_cut_off_at_a_length_keeps_what_it_can() -> None:
    listed = "Failed for these:\n" + "\n".join(f"/data/file{number}.pdf" for number in range(1000))
    assert len(beginning(listed, 8192)) > 8000
    assert ending(listed, 100).startswith("/data/file")
    assert [beginning("x" * 9, 5), ending("x" * 9, 5), beginning(" " * 9, 5), ending(" " * 9, 5)] == ["xxxxx"] * 2 + [
        ""
    ] * 2
    assert beginning("short", 5) == ending("short", 5) == "short"


def new_log(redactor: Redactor | None = None) -> LiveLog:
    return LiveLog(redactor or Redactor(), lambda: None)


def taken(log: LiveLog) -> str:
    _, text = log.piece(trio.current_time())
    log.taken()
    return text


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("password: hunter22, and more", "password: [redacted], and more"),
        ('{"api_key": "0123456789"}', '{"api_key": "[redacted]"}'),
        ('password="correct \\"horse\\", battery" x', 'password="[redacted]" x'),
        ("token: 'one, long one", "token: '[redacted]"),
        ("postgresql://user:p@ss@host/x", "postgresql://user:[redacted]@host/x"),
        ("one: second-line-of-it", "one: [redacted]"),
        ("OPENAI_API_KEY=abcdefgh", "OPENAI_API_KEY=[redacted]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [redacted]"),
        ("GET https://user:pass@host/x", "GET https://user:[redacted]@host/x"),
        ("PUT https://s3/x?X-Amz-Signature=abcd&y=1", "PUT https://s3/x?X-Amz-Signature=[redacted]&y=1"),
        ("with AKIAABCDEFGHIJKLMNOP and ghp_abcdefghijklmnopqrstuv", "with [redacted] and [redacted]"),
        ("bf_0123456789abcdefghij", "[redacted]"),
        ("the value s3cr3t-of-mine is there", "the value [redacted] is there"),
        ("order 12-34-56", "order [redacted]"),
        ("read 4096 tokens: 4096 tokens=17, page 3 of 9", "read 4096 tokens: 4096 tokens=17, page 3 of 9"),
    ],
)
def test_secrets_are_taken_out(line: str, left: str) -> None:
    redactor = Redactor.of(
        {"MY_TOKEN": "s3cr3t-of-mine\n second-line-of-it\n", "HOME": "and more"}, [r"\d\d-\d\d-\d\d"]
    )
    assert redactor.text(line + "\n") == left + "\n"


def test_a_text_that_begins_within_a_key_shows_none_of_it() -> None:
    assert Redactor().text(f"{KEY.partition(chr(10))[2]}after\n") == "[redacted]\nafter\n"


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        Redactor((), ["("])


async def test_a_key_is_taken_out_also_where_it_comes_in_pieces(autojump_clock: object) -> None:
    log = new_log()
    said = ""
    for line in f"before\n{KEY}after\n".splitlines(keepends=True):
        log.add("stderr", line.encode())
        said += taken(log)
    assert said == "before\n[redacted]\nafter\n"


async def test_lines_are_whole_and_harmless(autojump_clock: object) -> None:
    log = new_log()
    log.add("stdout", b"1 %\r50 %\r100 %\r\n\x1b[31mred\x1b[0m \x1b]0;title\x07caf\xc3")
    log.add("stderr", b"\xff\x00\x9b\n")
    log.add("stdout", b"\xa9\nan end that does not com")
    assert taken(log) == "100 %\n\ufffd\ufffd\ufffd\nred café\n"
    assert log.waits
    assert taken(log) == ""
    await trio.sleep(6)
    assert taken(log) == "an end that does not com\n"
    assert not log.waits


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ([b"the value s3cr3t-o", b"f-mine is there\n"], "the value \n[redacted] is there\n"),
        (
            [b"Authorization: Basic dXNl", b"cjpw, more", b" of it\n"],
            "Authorization: [redacted]\n[redacted]\n[redacted]\n",
        ),
        ([b"password: hun", b"ter22\n"], "password: hun\n[redacted]\n"),
        ([b"done: ..........", b"....\n"], "done: ..........\n....\n"),
        ([b"x" * 8_190 + b" s3cr3t-o", b"f-mine\n"], "x" * 8_190 + " \n[redacted]\n"),
    ],
)
async def test_no_half_of_a_secret_is_shown_of_a_line_that_comes_in_parts(
    autojump_clock: object, parts: list[bytes], left: str
) -> None:
    log = new_log(Redactor(["s3cr3t-of-mine"]))
    said = ""
    for part in parts:
        log.add("stdout", part)
        await trio.sleep(6)
        said += taken(log)
    assert said == left
    assert not log.waits


async def test_what_is_too_much_is_left_out_in_the_middle(autojump_clock: object) -> None:
    log = new_log()
    lines = [f"line {number:06}\n" for number in range(50_000)]
    for place in range(0, len(lines), 100):
        log.add("stdout", "".join(lines[place : place + 100]).encode())
    start, text = log.piece(0)
    assert (start, len(text) <= MOST_PIECE, len(text) > MOST_SENT * 0.9) == (0, True, True)
    assert text.startswith("line 000000\n")
    assert text.endswith("line 049999\n")
    (mark,) = [line for line in text.splitlines() if not line.startswith("line ")]
    left_out = len("".join(lines)) - len(text.replace(mark + "\n", ""))
    assert mark == f"[... {left_out:,} characters left out ...]"
    assert log.piece(0) == (start, text), "until it is taken"
    log.taken()
    assert log.piece(0) == (len(text), "")
    log.add("stdout", b"x" * 1_000_000)
    assert len(taken(log)) <= MOST_PIECE
    log.add("stdout", "".join(lines).encode())
    at_once = taken(log)
    assert at_once.startswith("line 000000\n")
    assert len(at_once) > MOST_SENT * 0.9


def test_a_tail_begins_with_a_whole_line() -> None:
    tail = Tail(10)
    tail.add(b"password=hunter22\nabcdefg\n")
    assert tail.text() == "abcdefg\n"
    tail.add(b"x" * 30)
    assert tail.text() == "x" * 10
    long = Tail()
    long.add(b"x" * 490 + b" s3cr3t-of-mine\n")
    assert long.last_line() == "x" * 490


class Server:
    """Takes pieces; `answers` are given in turn, the last one for ever: seconds to the next one, or an error."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.pieces: list[tuple[float, int, str]] = []

    async def send(self, start: int, text: str) -> float:
        self.pieces.append((round(trio.current_time()), start, text))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_pieces_are_sent_at_the_servers_pace(nursery: trio.Nursery, autojump_clock: object) -> None:
    server, sender = Server(15.0, 1.0), LogSender(Redactor())
    nursery.start_soon(sender.run)
    log = sender.begin(server.send)
    began = round(trio.current_time())
    for number in range(40):
        log.add("stdout", b"%d\n" % (number % 10))
        await trio.sleep(0.5)
    times = [at - began for at, _, _ in server.pieces]
    assert times[:4] == [0, 15, 16, 17], "the first at once, the second when it is wanted"
    assert "".join(text for _, _, text in server.pieces).startswith("0\n1\n2\n")
    assert [start for _, start, _ in server.pieces][1] == len(server.pieces[0][2])
    sent = len(server.pieces)
    sender.end(log)
    log.add("stdout", b"more\n")
    await trio.sleep(100)
    assert len(server.pieces) == sent


async def test_a_lost_answer_repeats_the_piece_and_a_refusal_ends_the_log(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    server, sender = (
        Server(ServerUnreachable("x", "away"), 1.0, ApiError(409, "lease-lost", "lost")),
        LogSender(Redactor()),
    )
    nursery.start_soon(sender.run)
    log = sender.begin(server.send)
    log.add("stdout", b"one\n")
    await trio.sleep(5)
    log.add("stdout", b"two\n")
    await trio.sleep(100)
    assert [piece[1:] for piece in server.pieces] == [(0, "one\n"), (0, "one\n"), (4, "two\n")]
    log.add("stdout", b"three\n")
    await trio.sleep(100)
    assert len(server.pieces) == 3


async def test_a_server_of_an_earlier_release_is_asked_once(nursery: trio.Nursery, autojump_clock: object) -> None:
    server, sender = Server(ApiError(404, "no-such-route", "nothing")), LogSender(Redactor())
    nursery.start_soon(sender.run)
    for _ in range(3):
        log = sender.begin(server.send)
        log.add("stdout", b"one\n")
        await trio.sleep(60)
    assert len(server.pieces) == 1


@pytest.mark.parametrize("live_log", [True, False])
async def test_of_a_command_the_live_log_and_the_record_hold_no_secret(
    scripted: Scripted, tmp_path: Path, live_log: bool
) -> None:
    coordinator = Coordinator(scripted)
    coordinator.waiting = 1
    pieces: list[Any] = []

    def take(request: Any) -> Answer:
        pieces.append(request.json)
        (tmp_path / "seen").touch()
        return Answer({"status": "ok", "next_seconds": 0.25})

    if live_log:
        scripted.scripts["POST", "/api/jobs/1/log"] = take
    else:
        (tmp_path / "seen").touch()
    program = (
        "import os, sys, time; print('page 1, key=K-123456', flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'seen')!r}): time.sleep(0.01)\n"
        "sys.exit('failed: password=hunter22')"
    )
    command = Command(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}")
    async with AsyncClient(coordinator.url, token="bf_x") as client:
        worker = Worker(
            client=client,
            worker_id="w",
            once=True,
            min_free=0,
            redact=["K-\\d+"],
            live_log=live_log,
            workdir=tmp_path,
        )
        worker.add(["pdf"], command)
        await worker.run_async()
    (failure,) = coordinator.posted("/api/jobs/1/fail")
    assert failure["error"] == "exit status 1: failed: password=[redacted]"
    assert failure["log_tail"].splitlines() == [
        "--- stderr ---", "failed: password=[redacted]", "--- stdout ---", "page 1, key=[redacted]",
    ]  # fmt: skip
    if live_log:
        first = pieces[0]
        assert (first["worker_id"], first["lease"], first["start"]) == ("w", "lease-1", 0)
        assert first["text"] == "page 1, key=[redacted]\n"
    else:
        assert not scripted.to("POST", "/api/jobs/1/log")


async def test_a_refused_log_costs_the_job_nothing(scripted: Scripted, tmp_path: Path) -> None:
    coordinator = Coordinator(scripted)
    coordinator.waiting = 1
    scripted.on("POST", "/api/jobs/1/log", LEASE_LOST)
    done = tmp_path / "done"
    command = Command(
        f"""sh -c 'echo one; while ! [ -e {done} ]; do sleep 0.01; done; echo text > "$BLOBFORGE_OUTPUT"'"""
    )
    async with AsyncClient(coordinator.url, token="bf_x") as client, trio.open_nursery() as nursery:

        async def let_go() -> None:
            await eventually(lambda: scripted.to("POST", "/api/jobs/1/log"))
            done.touch()

        nursery.start_soon(let_go)
        worker = Worker(client=client, worker_id="w", once=True, min_free=0, workdir=tmp_path)
        worker.add(["pdf"], command)
        await worker.run_async()
    assert coordinator.outputs == {"/output/1": b"text\n"}
