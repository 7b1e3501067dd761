"""A coordinator that can be broken: the healthy answers to one worker, over the scripted server."""

from __future__ import annotations

import hashlib
from typing import Any

import trio

from tests.runner.scripted import Answer, Request, Scripted, eventually

SOURCE = b"the source"
HASH = hashlib.sha256(SOURCE).hexdigest()
OK = Answer({"status": "ok"})
LEASE_LOST = Answer({"type": "https://blobforge.example/problems/lease-lost", "detail": "lost"}, 409)


class Coordinator:
    """The healthy answers to one worker `w`, for tests to break. Job ids count up from 1."""

    def __init__(self, scripted: Scripted) -> None:
        self.scripted = scripted
        self.url = scripted.url
        self.waiting = 0
        self.handed_out = 0
        self.outputs: dict[str, bytes] = {}
        on = scripted.scripts
        on["POST", "/api/workers/register"] = lambda _: Answer({"status": "registered", "heartbeat_interval": 0.05})
        on["POST", "/api/workers/w/heartbeat"] = lambda _: OK
        on["POST", "/api/workers/w/unregister"] = lambda _: OK
        on["POST", "/api/jobs/claim"] = self.claim
        on["GET", "/source"] = lambda _: Answer(SOURCE)
        for number in range(1, 5):
            on["PUT", f"/output/{number}"] = self.put
            on["POST", f"/api/jobs/{number}/complete"] = lambda _: OK
            on["POST", f"/api/jobs/{number}/fail"] = lambda _: Answer({"status": "failed", "will_retry": True})
            on["POST", f"/api/jobs/{number}/release"] = lambda _: OK

    async def claim(self, request: Request) -> Answer:
        count = min(self.waiting, request.json["limit"])
        if not count:
            await trio.sleep(min(request.json["wait"], 0.05))
        self.waiting -= count
        jobs = [self.claimed() for _ in range(count)]
        return Answer({"jobs": jobs})

    def claimed(self) -> dict[str, Any]:
        self.handed_out += 1
        number = self.handed_out
        job = {"id": number, "type": "pdf", "status": "running", "source_hash": HASH, "source_path": "in/a.pdf"}
        return {
            "job": job,
            "source_url": f"{self.url}/source?signature=1",
            "upload_url": f"{self.url}/output/{number}?signature=1",
            "output_key": f"outputs/{number}/1/output",
            "lease": f"lease-{number}",
        }

    def put(self, request: Request) -> Answer:
        self.outputs[request.path.partition("?")[0]] = request.body
        return Answer(b"")

    def posted(self, path: str) -> list[Any]:
        """The bodies that were posted, without what is in each: the instance of the process."""
        bodies = [request.json for request in self.scripted.to("POST", path)]
        return [{name: value for name, value in body.items() if name != "instance"} for body in bodies]

    def instances(self, path: str) -> list[str]:
        """The instance in each body that was posted."""
        return [request.json["instance"] for request in self.scripted.to("POST", path)]

    async def seen(self, path: str, method: str = "POST") -> Request:
        """The first request to a route, once it has come."""
        await eventually(lambda: self.scripted.to(method, path))
        return self.scripted.to(method, path)[0]
