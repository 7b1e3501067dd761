"""The yardstick: an endpoint that decodes a JSON body and answers JSON, on the same Hypercorn and Quart-Trio."""

from __future__ import annotations

import sys

import hypercorn.trio
import msgspec
import trio
from hypercorn.config import Config
from quart import Response, request
from quart_trio import QuartTrio


class Body(msgspec.Struct):
    worker_id: str
    job_type: str


async def main() -> None:
    app = QuartTrio(__name__)
    decoder = msgspec.json.Decoder(Body)

    @app.post("/null")
    async def null() -> Response:
        body = decoder.decode(await request.get_data(cache=False))
        return Response(msgspec.json.encode({"job": None, "for": body.worker_id}), content_type="application/json")

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.keep_alive_max_requests = 10**9
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(hypercorn.trio.serve, app, config)
        print(addresses[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)  # until the parent is gone
        nursery.cancel_scope.cancel()


trio.run(main)
