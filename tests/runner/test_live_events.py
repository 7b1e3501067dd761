"""Following `/events` over connections that break: what is asked for again, and what the follower is told."""

from __future__ import annotations

import json
import socket

import pytest
import trio

from blobforge.client import ApiError, AsyncClient, ServerEvent, ServerUnreachable, UnexpectedAnswer
from tests.runner.scripted import LOSE, Answer, Scripted

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
PING = b"event: ping\ndata: connected\n\n"
RESYNC = ServerEvent("resync")


def frame(number: int, name: str = "job_updated", **data: object) -> bytes:
    text = json.dumps(data, ensure_ascii=False).encode()
    return b"id: run-%d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), text)


def stream(*frames: bytes) -> Answer:
    return Answer(PING + b"".join(frames), headers=SSE)


async def read(scripted: Scripted, count: int) -> list[ServerEvent]:
    async with AsyncClient(scripted.url) as client, client.events(types=("job_updated",), job=7) as events:
        return [await events.next() for _ in range(count)]


async def test_the_first_thing_is_to_fetch_the_state_and_comments_are_nothing(scripted: Scripted) -> None:
    scripted.on("GET", "/events", stream(b": still here\n\n", frame(1, job_id=7), b": still here\n\n", frame(2)))
    first, second, third = await read(scripted, 3)
    assert first == RESYNC
    assert second == ServerEvent("job_updated", {"job_id": 7}, "run-1")
    assert third.id == "run-2"
    (request,) = scripted.to("GET", "/events?types=job_updated&job=7")
    assert "last-event-id" not in request.headers


async def test_a_stream_that_ends_is_gone_on_with_where_it_ended(scripted: Scripted) -> None:
    scripted.on("GET", "/events", stream(frame(1)), LOSE, stream(frame(2)), stream(frame(2, "resync")))
    told = []
    async with (
        AsyncClient(scripted.url) as client,
        client.events(on_break=lambda error, pause: told.append(str(error))) as events,
    ):
        names = [(await events.next()).name for _ in range(4)]
    assert names == ["resync", "job_updated", "job_updated", "resync"]
    asked = [request.headers.get("last-event-id") for request in scripted.to("GET", "/events")]
    assert asked == [None, "run-1", "run-1", "run-2"]
    assert len(told) == 2
    assert "the stream ended" in told[0]


async def test_a_stream_that_broke_before_any_event_means_fetching_the_state_again(scripted: Scripted) -> None:
    scripted.on("GET", "/events", stream(), stream(frame(1)))
    assert [event.name for event in await read(scripted, 3)] == ["resync", "resync", "job_updated"]


async def test_an_event_in_pieces_and_with_what_unicode_takes_for_lines(scripted: Scripted) -> None:
    text = "a\u2028b\u0085c\x0bd"
    whole = stream(frame(1, error=text))
    scripted.on("GET", "/events", whole)
    assert (await read(scripted, 2))[1].data == {"error": text}


async def test_who_is_not_let_in_again_is_told(scripted: Scripted) -> None:
    scripted.on("GET", "/events", stream(frame(1)), Answer({"detail": "Who are you?"}, 401))
    with pytest.raises(ApiError, match="Who are you"):
        await read(scripted, 3)


async def test_what_is_no_event_stream_is_no_answer(scripted: Scripted) -> None:
    scripted.on("GET", "/events", Answer(b"<html>hello</html>", headers={"Content-Type": "text/html"}, foreign=True))
    async with AsyncClient(scripted.url).with_patience(0) as client, client.events() as events:
        with pytest.raises(UnexpectedAnswer, match="text/html"):
            await events.next()


async def test_a_stream_with_what_is_no_event_is_opened_anew(scripted: Scripted) -> None:
    garbage = stream(b"id: run-1\nevent: job_updated\ndata: {oh\n\n")
    scripted.on("GET", "/events", stream(frame(1)), garbage, stream(frame(2)))
    assert [event.name for event in await read(scripted, 3)] == ["resync", "job_updated", "job_updated"]


async def test_a_server_that_is_not_there_at_first_is_not_waited_for_for_ever() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with AsyncClient(url).with_patience(0) as client, client.events() as events:
            with pytest.raises(ServerUnreachable):
                await events.next()


async def test_a_stream_that_is_left_in_the_middle_leaves_nothing_open(scripted: Scripted) -> None:
    async def endless(_request: object) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    scripted.scripts["GET", "/events"] = endless
    async with AsyncClient(scripted.url) as client, client.events() as events:
        with trio.move_on_after(0.05) as scope:
            await events.next()
        assert scope.cancelled_caught
