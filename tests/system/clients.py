"""A process full of clients: submitters and workers that never give up, and write down what they saw.

    python -m tests.system.clients URL[,URL...] TOKEN FOLDER NAME WORKERS SEED

With several servers each client asks one, and the next one when that does not answer, or not now. They end when
FOLDER/end is there; submitters when FOLDER/enough is. The book is FOLDER/NAME.jsonl.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio

from blobforge.objects.keys import output_of
from tests.system.history import Book, Kind, Operation, now

WAIT = 0.3  # seconds that a claim is held open
UNCHANGED = "nothing was changed"
AGAIN = 0.1  # seconds until a request without an answer is repeated
AT_ONCE = 10  # submissions of a process that begin it
BETWEEN = 0.06  # seconds between two later ones, on average


class Client:
    """One client, with one request at a time. `server` is the number of the one that it asks."""

    def __init__(self, http: httpx.AsyncClient, book: Book, name: str, urls: Sequence[str], server: int) -> None:
        self._http = http
        self._book = book
        self._urls = urls
        self._server = server
        self.name = name

    async def ask(
        self,
        kind: Kind,
        path: str,
        body: Mapping[str, Any],
        learn: Callable[[Operation, Any], None] = lambda _operation, _answer: None,
        **known: Any,
    ) -> httpx.Response:
        """POST until there is an answer; each try is an operation of its own. `learn` fills in what was answered."""
        while True:
            began = now()
            try:
                response = await self._http.post(self._urls[self._server] + path, json=body)
            except httpx.TransportError:
                self._note(kind, began, returned=False, **known)
                await self._go_on()
                continue
            if response.status_code == 503:
                assert int(response.headers["Retry-After"]) > 0
                if UNCHANGED in response.text:
                    self._note(Kind.AWAY, began, status=503, said={"asked": kind})
                else:
                    self._note(kind, began, returned=False, **known)
                await self._go_on()
                continue
            operation = Operation(
                kind=kind, invoked=began, ended=now(), client=self.name, server=self._server,
                status=response.status_code, **known,
            )  # fmt: skip
            if response.status_code < 300:
                learn(operation, response.json())
            else:
                operation.said = {"problem": response.text[:300], "lost": True}
            self._book.note(operation)
            return response

    async def put(self, url: str, content: bytes, **known: Any) -> None:
        """Upload until it is acknowledged; of a source, it is noted. The path and its signature are good anywhere,
        but for those of S3."""
        is_s3 = "X-Amz-Signature" in url
        path = httpx.URL(url).raw_path.decode()
        headers = {"Content-Type": "application/octet-stream"}
        while True:
            began = now()
            try:
                where = url if is_s3 else self._urls[self._server] + path
                response = await self._http.put(where, content=content, headers=headers, auth=None)
            except httpx.TransportError:
                if known:
                    self._note(Kind.UPLOAD, began, returned=False, **known)
                await self._go_on()
                continue
            if known:
                self._note(Kind.UPLOAD, began, status=response.status_code, **known)
            response.raise_for_status()
            return

    async def _go_on(self) -> None:
        """To the next server, after a moment."""
        self._server = (self._server + 1) % len(self._urls)
        await trio.sleep(AGAIN)

    def _note(self, kind: Kind, began: int, **fields: Any) -> None:
        self._book.note(
            Operation(kind=kind, invoked=began, ended=now(), client=self.name, server=self._server, **fields)
        )


class Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class Submitter:
    def __init__(self, client: Client, dice: random.Random, enough: Path) -> None:
        self._client = client
        self._dice = dice
        self._enough = enough

    async def run(self) -> None:
        number = 0
        while not self._enough.exists():
            number += 1
            await self._submit(f"document {number} of {self._client.name}".encode())
            if number > AT_ONCE:
                await trio.sleep(self._dice.uniform(0, 2 * BETWEEN))

    async def _submit(self, content: bytes) -> None:
        source = hashlib.sha256(content).hexdigest()
        body = {"type": "pdf", "source_hash": source, "priority": self._dice.randint(1, 5)}
        answer = await self._client.ask(Kind.SUBMIT, "/api/jobs", body, _learn_job, source=source)
        answer.raise_for_status()
        if "upload_url" in answer.json():
            await self._client.put(answer.json()["upload_url"], content, source=source)
        if self._dice.random() < 0.2:  # somebody submits it again
            await self._client.ask(Kind.SUBMIT, "/api/jobs", body, _learn_job, source=source)


class Worker:
    def __init__(self, client: Client, dice: random.Random, end: Path) -> None:
        self._client = client
        self._dice = dice
        self._end = end
        self._name = client.name

    async def run(self) -> None:
        registered = None
        while registered is None:
            body = {"id": self._name, "type": "pdf"}
            registered = await self._client.ask(Kind.RULES, "/api/workers/register", body)
        registered.raise_for_status()
        turn = 0
        while not self._end.exists():
            turn += 1
            key = f"{self._name}-{turn}"
            claim = {"worker_id": self._name, "job_type": "pdf", "wait": WAIT, "claim_key": key}
            answer = await self._client.ask(
                Kind.CLAIM, "/api/jobs/claim", claim, _learn_claim, worker=self._name, key=key
            )
            answer.raise_for_status()
            given = answer.json()
            if given["job"] is not None:
                await self._work(given)

    async def _work(self, given: dict[str, Any]) -> None:
        job, attempt = _attempt(given)
        known = {"job": job, "attempt": attempt, "worker": self._name, "lease": given["lease"]}
        lease = {"worker_id": self._name, "lease": given["lease"]}
        for _ in range(self._dice.randint(0, 2)):
            await trio.sleep(self._dice.uniform(0, 0.1))
            beat = {"jobs": [{"job_id": job, "lease": given["lease"]}]}
            path = f"/api/workers/{self._name}/heartbeat"
            await self._client.ask(Kind.BEAT, path, beat, partial(_learn_beat, job), **known)
        roll = self._dice.random()
        if roll < 0.75:
            content = f"{self._name} made this of job {job} in attempt {attempt}".encode()
            await self._client.put(given["upload_url"], content)
            sha256 = hashlib.sha256(content).hexdigest()
            body = lease | {"output_key": given["output_key"], "checksum": sha256, "result": {"by": self._name}}
            await self._client.ask(Kind.COMPLETE, f"/api/jobs/{job}/complete", body, sha256=sha256, **known)
        elif roll < 0.85:
            body = lease | {"error": "cannot read it"}
            await self._client.ask(Kind.FAIL, f"/api/jobs/{job}/fail", body, _learn_failure, **known)
        elif roll < 0.93:
            await self._client.ask(Kind.RELEASE, f"/api/jobs/{job}/release", lease, **known)
        # else: it forgets the job, as a worker does that crashes.


def _attempt(given: dict[str, Any]) -> tuple[int, int]:
    output = output_of(given["output_key"])
    assert output.job_id == given["job"]["id"]
    return output.job_id, output.attempt


def _learn_job(operation: Operation, answer: Any) -> None:
    operation.job = answer["job_id"]
    operation.said = {"status": answer["status"]}


def _learn_claim(operation: Operation, answer: Any) -> None:
    if answer["job"] is not None:
        operation.job, operation.attempt = _attempt(answer)
        operation.lease = answer["lease"]


def _learn_beat(job: int, operation: Operation, answer: Any) -> None:
    operation.said = {"lost": job in answer["abandon"]}


def _learn_failure(operation: Operation, answer: Any) -> None:
    operation.said = {"will_retry": answer["will_retry"]}


async def main(urls: Sequence[str], token: str, folder: Path, name: str, workers: int, seed: int) -> None:
    dice = random.Random(f"{seed} {name}")
    book = Book(folder / f"{name}.jsonl")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with (
        httpx.AsyncClient(auth=Bearer(token), timeout=60, trust_env=False, limits=limits) as http,
        trio.open_nursery() as nursery,
    ):

        def client(role: str) -> tuple[Client, random.Random]:
            client = Client(http, book, f"{name}-{role}", urls, dice.randrange(len(urls)))
            return client, random.Random(dice.random())

        nursery.start_soon(Submitter(*client("s"), folder / "enough").run)
        for number in range(workers):
            nursery.start_soon(Worker(*client(f"w{number}"), folder / "end").run)
    book.close()


if __name__ == "__main__":
    _, place, secret, where, who, *numbers = sys.argv
    trio.run(partial(main, place.split(","), secret, Path(where), who, *map(int, numbers)))
