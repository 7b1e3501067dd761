"""The second yardstick: bare trio and httptools, with no limit, no time-out and no application. It is what a Python
server on this machine can do at most. Answers every request with the same JSON."""

from __future__ import annotations

import sys
from functools import partial

import httptools
import trio

BODY = b'{"job":null}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Requests:
    """Counts the requests that have come whole."""

    def __init__(self) -> None:
        self.ended = 0

    def on_message_complete(self) -> None:
        self.ended += 1


async def serve(stream: trio.SocketStream) -> None:
    requests = Requests()
    parser = httptools.HttpRequestParser(requests)
    answered = 0
    try:
        while data := await stream.receive_some(65536):
            parser.feed_data(data)
            if requests.ended > answered:
                await stream.send_all(ANSWER * (requests.ended - answered))
                answered = requests.ended
    except (trio.BrokenResourceError, httptools.HttpParserError):
        return


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)  # until the one that started us is gone
        nursery.cancel_scope.cancel()


trio.run(main)
