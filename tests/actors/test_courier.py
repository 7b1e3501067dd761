"""What webhooks are told: the outbox is written with what it tells of, and delivered until the endpoint has it."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import trio

from blobforge.outward.calling import CallAnswer, CallError
from blobforge.webhook import retry_after
from tests.fixtures.local import LocalServer, open_local, virtual_now

EVERY = [
    "job.completed", "job.dead", "job.cancelled", "type.paused", "type.resumed", "worker.lost", "worker.quarantined",
    "backup.drill_failed", "batch.ended",
]  # fmt: skip
HOUR, DAY = 3600.0, 86_400.0


@dataclass
class Receiver:
    """Stands for the endpoints: what they were sent, and what they answer."""

    answer: Callable[[], CallAnswer] = lambda: CallAnswer(204, "")
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    takes: float = 0.0
    under_way: int = 0
    most: int = 0

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            self.at.append(trio.current_time())
            self.headers.append(headers)
            self.bodies.append(body)
            self.urls.append(url)
            await trio.sleep(self.takes)
            answer = self.answer()
        finally:
            self.under_way -= 1
        if answer.status < 300:
            told = json.loads(body)
            self.got.append((told["type"], told["data"]))
        return answer


def listen(local: LocalServer, **how: Any) -> Receiver:
    receiver = Receiver(**how)
    local.parts.courier.call = receiver.post
    return receiver


async def webhook(local: LocalServer, *events: str, **fields: Any) -> dict[str, Any]:
    body = {"url": "https://example.com/hook", "events": list(events) or EVERY} | fields
    status, made = await local.call("POST", "/api/admin/webhooks", body)
    assert status == 201, made
    return dict(made)


async def deliveries(local: LocalServer, number: int = 1) -> list[dict[str, Any]]:
    status, page = await local.call("GET", f"/api/admin/webhooks/{number}/deliveries")
    assert status == 200, page
    return list(page["deliveries"])


async def completed(local: LocalServer, content: bytes = b"a document", **fields: Any) -> int:
    await local.submit(content, **fields)
    claimed = await local.claim(job_types=[fields.get("type", "pdf")])
    job = int(claimed["job"]["id"])
    status, answer = await local.call("POST", f"/api/jobs/{job}/complete", {"worker_id": "w1", "result": {"a": 1}})
    assert status == 200, answer
    return job


async def test_an_endpoint_is_told_what_it_asked_for(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    made = await webhook(local)
    await local.register()
    job = await completed(local, tags=["a"], source_path="in/a.pdf")
    await local.call("POST", "/api/types/pdf/pause", {"reason": "broken"})
    await local.call("POST", "/api/types/pdf/resume")
    await local.call("POST", "/api/workers/w1/quarantine", {"reason": "smokes"})
    other = await local.submit(b"another")
    await local.call("POST", f"/api/jobs/{other}/cancel", {"reason": "not needed"})
    await trio.sleep(1000)  # the worker is silent
    assert sorted(event for event, _ in receiver.got) == [
        "job.cancelled", "job.completed", "type.paused", "type.resumed", "worker.lost", "worker.quarantined",
    ]  # fmt: skip
    told = dict(receiver.got)
    data = told["job.completed"]
    assert (data["job_id"], data["type"], data["status"], data["tags"], data["source_path"]) == (
        job, "pdf", "completed", ["a"], "in/a.pdf",
    )  # fmt: skip
    assert data["links"] == {"job": "http://blobforge.test/api/jobs/1", "page": "http://blobforge.test/jobs/1"}
    assert told["job.cancelled"]["error"] == "cancelled: not needed"
    assert told["type.paused"]["reason"] == "broken"
    assert told["worker.lost"] | {"links": 0} == {"worker_id": "w1", "type": "pdf", "links": 0}
    # Signed as the specification says.
    headers = receiver.headers[0]
    signed = standardwebhooks.Webhook(made["secret"]).sign(
        headers["webhook-id"],
        datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC),
        receiver.bodies[0].decode(),
    )
    assert headers["webhook-signature"] == signed
    assert len({each["webhook-id"] for each in receiver.headers}) == len(receiver.headers)


async def test_without_a_webhook_nothing_is_kept(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await completed(local)
    made = await webhook(local, "job.dead")
    await completed(local, b"another")
    assert await deliveries(local, made["id"]) == []


async def test_filters(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    await webhook(local, "job.completed", types=["ocr"])
    await webhook(local, "job.completed", tags=["x", "y"])
    await webhook(local, "job.completed", group="g", url="https://example.com/group")
    await webhook(local, "type.paused", tags=["x"])  # a type has no tags
    await local.register()
    await local.register("w1", "pdf")
    await completed(local, b"1")
    await completed(local, b"2", type="ocr")
    await completed(local, b"3", tags=["y", "z"])
    await local.call("POST", "/api/types/pdf/pause")
    await trio.sleep(5)
    assert [data["job_id"] for _, data in receiver.got] == [2, 3]


async def test_the_end_of_a_batch_and_what_is_in_it(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    _, made = await local.call("POST", "/api/batches", {"name": "scans"})
    await webhook(local, "job.completed", "batch.ended", batch=made["id"])
    await local.register()
    job = await completed(local, b"1", batch=made["id"])
    await completed(local, b"2")
    await local.call("POST", f"/api/batches/{made['id']}/close")
    await trio.sleep(5)
    assert [(event, data.get("job_id"), data.get("name")) for event, data in receiver.got] == [
        ("job.completed", job, None), ("batch.ended", None, "scans"),
    ]  # fmt: skip
    assert receiver.got[1][1]["links"] == {"batch": f"http://blobforge.test/api/batches/{made['id']}"}


async def test_an_endpoint_that_answers_5xx_for_an_hour_gets_everything_then(
    local: LocalServer, autojump_clock: Any
) -> None:
    began = trio.current_time()
    receiver = listen(local, answer=lambda: CallAnswer(503 if trio.current_time() - began < 3600 else 200, "not yet"))
    await webhook(local)
    await local.register()
    for number in range(3):
        await completed(local, b"%d" % number)
    await trio.sleep(60)
    waiting = await deliveries(local)
    assert {(each["state"], each["status"], each["error"], each["answer"]) for each in waiting} == {
        ("waiting", 503, "it answered 503", "not yet")
    }
    _, shown = await local.call("GET", "/api/admin/webhooks/1")
    assert shown["waiting"] == 3
    assert "failing_since" in shown
    await trio.sleep(3 * 3600)
    assert sorted(data["job_id"] for _, data in receiver.got if "job_id" in data) == [1, 2, 3]
    ids = [each["webhook-id"] for each in receiver.headers]
    assert len(ids) > 12
    assert len(set(ids)) == 4  # of three jobs and of the worker, which is silent by now
    first = [at - receiver.at[0] for at, id_ in zip(receiver.at, ids, strict=True) if id_ == ids[0]]
    waits = [later - earlier for earlier, later in itertools.pairwise(first)]
    assert waits == sorted(waits)
    _, shown = await local.call("GET", "/api/admin/webhooks/1")
    assert "failing_since" not in shown
    assert shown["waiting"] == 0


@pytest.mark.usefixtures("seldom")
async def test_an_endpoint_that_fails_for_days_is_disabled(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local, answer=lambda: CallAnswer(500, ""))
    await webhook(local, "job.completed")
    await local.register()
    await completed(local)
    await trio.sleep(4 * DAY)
    _, shown = await local.call("GET", "/api/admin/webhooks/1")
    assert not shown["enabled"]
    assert shown["disabled_why"] == "nothing was delivered for 3 days: it answered 500"
    tries = len(receiver.headers)
    assert tries == 13
    await local.register()
    await completed(local, b"not told")
    assert len(await deliveries(local)) == 1
    # Enabled again it is told of what happens from then on; what was given up, when it is asked for.
    receiver.answer = lambda: CallAnswer(200, "")
    status, shown = await local.call("PATCH", "/api/admin/webhooks/1", {"enabled": True})
    assert (status, shown["enabled"]) == (200, True)
    status, answer = await local.call("POST", "/api/admin/webhooks/1/deliveries/1/redeliver")
    assert status == 202, answer
    await trio.sleep(1)
    assert [data["job_id"] for _, data in receiver.got] == [1]
    assert len({each["webhook-id"] for each in receiver.headers}) == 1


async def test_an_endpoint_that_is_gone_says_so(local: LocalServer, autojump_clock: Any) -> None:
    listen(local, answer=lambda: CallAnswer(410, ""))
    await webhook(local, "job.dead")
    status, _ = await local.call("POST", "/api/admin/webhooks/1/test")
    assert status == 202
    await trio.sleep(1)
    _, shown = await local.call("GET", "/api/admin/webhooks/1")
    assert shown["disabled_why"] == "it answered 410 Gone"
    status, refused = await local.call("POST", "/api/admin/webhooks/1/test")
    assert (status, refused["type"]) == (409, "urn:blobforge:problem:webhook-disabled")


async def test_one_that_hangs_holds_up_no_other(local: LocalServer, autojump_clock: Any) -> None:
    made = {"https://slow.example/": 14.0, "https://fast.example/": 0.0}
    receiver = Receiver()

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        if url == "https://slow.example/":
            receiver.under_way += 1
            receiver.most = max(receiver.most, receiver.under_way)
            await trio.sleep(made[url])
            receiver.under_way -= 1
            return CallAnswer(204, "")
        return await receiver.post(url, body, headers)

    local.parts.courier.call = post
    for url in made:
        await webhook(local, "job.completed", url=url)
    await local.register()
    for number in range(10):
        await completed(local, b"%d" % number)
    await trio.sleep(10)
    assert len(receiver.got) == 10
    await trio.sleep(30)
    assert receiver.most == 4  # side by side


async def test_many_that_hang_have_one_place_each(local: LocalServer, autojump_clock: Any) -> None:
    """What has waited for a place until another server might have it is begun no more."""
    receiver, begun = Receiver(), list[tuple[str, float]]()

    async def post(url: str, body: bytes, headers: Mapping[str, str]) -> CallAnswer:
        if "fast" in url:
            return await receiver.post(url, body, headers)
        begun.append((url, trio.current_time()))
        await trio.sleep(15)
        raise CallError("it did not answer within 15 s")

    local.parts.courier.call = post
    for number in range(50):
        await webhook(local, "job.completed", url=f"https://slow.example/{number}")
    await webhook(local, "job.completed", url="https://fast.example/")
    await local.register()
    start = trio.current_time()
    for number in range(4):
        await completed(local, b"%d" % number)
    await trio.sleep(45)
    assert len(receiver.got) == 4
    assert {at - start for _, at in begun} == {0.0, 15.0, 30.0}
    await trio.sleep(300)
    start = trio.current_time()
    await completed(local, b"another")
    await trio.sleep(45)
    assert len(receiver.got) == 5


async def test_a_server_that_stops_in_mid_delivery_delivers_again_with_the_same_id(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with open_local(tmp_path / "data") as local:
        before = listen(local, takes=1000.0)
        await webhook(local, "job.completed")
        await local.register()
        await completed(local)
        await trio.sleep(1)
        assert before.under_way == 1
    async with open_local(tmp_path / "data") as local:
        receiver = listen(local)
        await trio.sleep(120)
        assert [data["job_id"] for _, data in receiver.got] == [1]
        assert receiver.headers[0]["webhook-id"] == before.headers[0]["webhook-id"]


async def test_secrets_are_rotated_with_an_overlap(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    first = await webhook(local, "job.dead")
    status, second = await local.call("POST", "/api/admin/webhooks/1/rotate", {"overlap": 3600})
    assert status == 200
    assert second["secret"] != first["secret"]
    for wait in (0, 4000):
        await trio.sleep(wait)
        await local.call("POST", "/api/admin/webhooks/1/test")
        await trio.sleep(1)

    def signed(at: int) -> list[bool]:
        headers = receiver.headers[at]
        moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        given = headers["webhook-signature"].split(" ")
        body = receiver.bodies[at].decode()
        return [
            standardwebhooks.Webhook(each["secret"]).sign(headers["webhook-id"], moment, body) in given
            for each in (first, second)
        ]

    assert signed(0) == [True, True]
    assert signed(1) == [False, True]


async def test_secrets_stand_nowhere(local: LocalServer, autojump_clock: Any) -> None:
    listen(local)
    secret = (await webhook(local))["secret"].removeprefix("whsec_")
    await local.call("POST", "/api/admin/webhooks/1/test")
    await trio.sleep(1)
    held = b"".join(path.read_bytes() for path in local.folder.glob("blobforge.db*"))
    assert secret.encode() not in held
    for path in ("/api/admin/webhooks", "/api/admin/webhooks/1/deliveries", "/api/admin/audit"):
        _, said = await local.call("GET", path)
        assert secret not in json.dumps(said)


async def test_a_range_is_delivered_again(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    await webhook(local, "job.completed")
    await local.register()
    began = virtual_now()
    for number in range(3):
        await completed(local, b"%d" % number)
    await trio.sleep(5)
    assert len(receiver.got) == 3

    def said(ms: int) -> str:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat()

    asked = {"since": said(began - 1), "until": said(virtual_now())}
    assert await local.call("POST", "/api/admin/webhooks/1/redeliver", asked) == (200, {"redelivered": 0})
    assert await local.call("POST", "/api/admin/webhooks/1/redeliver", asked | {"all": True}) == (
        200, {"redelivered": 3},
    )  # fmt: skip
    await trio.sleep(5)
    assert len(receiver.got) == 6
    assert len({each["webhook-id"] for each in receiver.headers}) == 3


async def test_results_are_sent_as_urls_where_they_are_asked_for(local: LocalServer, autojump_clock: Any) -> None:
    receiver = listen(local)
    await webhook(local, "job.completed", results=True)
    await local.register()
    await local.submit()
    claimed = await local.claim()
    await local.parts.services.objects.receive(  # type: ignore[attr-defined]
        claimed["output_key"], _bytes(b"a result"), max_size=100, expected_sha256=None
    )
    status, _ = await local.call(
        "POST", "/api/jobs/1/complete", {"worker_id": "w1", "output_key": claimed["output_key"]}
    )
    assert status == 200
    await trio.sleep(5)
    [(_, data)] = receiver.got
    [output] = data["outputs"]
    assert output["size"] == 8
    path = output["url"].removeprefix("http://blobforge.test")
    response = await local.http.get(path)
    assert await response.get_data(as_text=False) == b"a result"


async def _bytes(content: bytes) -> Any:
    yield content


@pytest.mark.usefixtures("seldom")
async def test_deliveries_are_kept_for_a_week_and_go_with_their_webhook(
    local: LocalServer, autojump_clock: Any
) -> None:
    listen(local)
    await webhook(local, "job.completed")
    await webhook(local, "job.completed")
    await local.register()
    await completed(local)
    await trio.sleep(5)
    assert await local.call("DELETE", "/api/admin/webhooks/2") == (200, {"status": "deleted"})
    status, _ = await local.call("GET", "/api/admin/webhooks/2/deliveries")
    assert status == 404
    await trio.sleep(2 * HOUR)
    kept, _ = await local.parts.reads.run(lambda reader: reader.webhooks.deliveries(2, before=99, limit=9))
    assert kept == []
    assert len(await deliveries(local)) == 1
    await trio.sleep(8 * DAY)
    assert await deliveries(local) == []


SECRET = "whsec_" + base64.b64encode(b"a secret of the caller's").decode()
CALLBACK = {"url": "https://build.example/done?key=shibboleth", "secret": SECRET}


@pytest.fixture
async def calling(tmp_path: Path) -> AsyncIterator[LocalServer]:
    """A server whose batches may call build.example."""
    async with open_local(tmp_path / "data", callback_hosts="other.example, Build.example") as opened:
        yield opened


async def test_a_batch_calls_back_each_time_that_it_ends(
    calling: LocalServer, autojump_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver = listen(calling)
    await calling.register()
    status, made = await calling.call("POST", "/api/batches", {"name": "scans", "callback": CALLBACK})
    assert status == 201
    await completed(calling, b"1", batch=made["id"])
    failed = await calling.submit(b"2", batch=made["id"])
    await calling.call("POST", f"/api/jobs/{failed}/cancel", {})
    await calling.call("POST", f"/api/batches/{made['id']}/close")
    await trio.sleep(5)
    await calling.call("POST", f"/api/jobs/{failed}/retry", {})
    await calling.call("POST", f"/api/jobs/{failed}/cancel", {})
    await trio.sleep(5)
    told = [(event, data["batch"], data["ending"], data["counts"]) for event, data in receiver.got]
    assert told == [("batch.ended", 1, ending, {"cancelled": 1, "completed": 1}) for ending in (1, 2)]
    assert set(receiver.urls) == {CALLBACK["url"]}
    headers = receiver.headers[0]
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    signed = standardwebhooks.Webhook(SECRET).sign(headers["webhook-id"], moment, receiver.bodies[0].decode())
    assert headers["webhook-signature"] == signed
    # Neither the secret nor the URL stands anywhere; the host does.
    _, batch = await calling.call("GET", "/api/batches/1")
    _, [endpoint] = await calling.call("GET", "/api/admin/webhooks")
    assert (batch["callback"], endpoint["callbacks_of"]) == ("build.example", "build.example")
    said = [str((await calling.call("GET", path))[1]) for path in (
        "/api/batches", "/api/batches/1/manifest", "/api/jobs/1", "/api/admin/webhooks", "/api/admin/audit",
        "/api/admin/webhooks/1/deliveries",
    )]  # fmt: skip
    held = b"".join(path.read_bytes() for path in calling.folder.glob("blobforge.db*"))
    for secret in ("shibboleth", SECRET.removeprefix("whsec_")):
        assert secret not in "".join(said) + capsys.readouterr().out
        assert secret.encode() not in held


async def test_callbacks_are_refused(calling: LocalServer, autojump_clock: Any) -> None:
    for callback, said in (
        (CALLBACK | {"url": "https://elsewhere.example/"}, "elsewhere.example is none of BLOBFORGE_CALLBACK_HOSTS"),
        (CALLBACK | {"url": "https://127.0.0.1/"}, "no public address"),
        (CALLBACK | {"url": "https://u@build.example/"}, "has a user"),
        (CALLBACK | {"secret": "whsec_" + "A" * 33}, "24 to 64 bytes"),
        (CALLBACK | {"secret": "not one"}, "callback.secret"),
    ):
        status, problem = await calling.call("POST", "/api/batches", {"name": "x", "callback": callback})
        assert status == 422
        assert said in json.dumps(problem), problem
    _, made = await calling.call("POST", "/api/batches", {"name": "x", "callback": CALLBACK})
    assert made["id"] == 1
    for method, path, body in (
        ("PATCH", "", {"url": "https://x.example/"}), ("DELETE", "", None), ("POST", "/rotate", {}),
        ("POST", "/test", None),
    ):  # fmt: skip
        status, problem = await calling.call(method, f"/api/admin/webhooks/1{path}", body)
        assert (status, "callbacks of batches to build.example" in problem["detail"]) == (422, True)


async def test_of_one_host_so_many_callbacks_and_no_more_at_once(
    calling: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.effects.webhooks.MOST_CALLBACKS", 8)
    receiver = listen(calling, takes=10)

    async def made(name: str, url: str = CALLBACK["url"], **more: Any) -> int:
        body = {"name": name, "callback": CALLBACK | {"url": url}} | more
        status, answer = await calling.call("POST", "/api/batches", body)
        assert status in (201, 409), answer
        return status if status == 201 else answer["type"]

    for number in range(8):
        await made(f"batch {number}", closed=number > 1)
    refused = await made("one too many")
    assert "callbacks-full" in str(refused)
    assert await made("of another", "https://other.example/") == 201
    await trio.sleep(30)
    assert receiver.most == 4


@pytest.mark.usefixtures("seldom")
async def test_a_callback_is_given_up_by_itself(tmp_path: Path, autojump_clock: Any) -> None:
    """One that wants no more, or that answers nothing for days, holds up no other to its host; and a host that may
    be called no longer is not."""
    async with open_local(tmp_path / "data", callback_hosts="build.example") as local:
        listen(local, answer=lambda: CallAnswer(410, ""))
        body = {"name": "x", "closed": True, "callback": CALLBACK}
        await local.call("POST", "/api/batches", body)
        await trio.sleep(5)
        [given_up] = await deliveries(local)
        assert (given_up["state"], given_up["tries"], given_up["status"]) == ("failed", 1, 410)
        receiver = listen(local, answer=lambda: CallAnswer(500, ""))
        await local.call("POST", "/api/batches", body)
        await trio.sleep(4 * DAY)
        assert len(receiver.at) == 13
        _, shown = await local.call("GET", "/api/admin/webhooks/1")
        assert shown["enabled"]
        await local.call("PATCH", "/api/admin/webhooks/1", {"enabled": False})
        await local.call("POST", "/api/batches", body)
    async with open_local(tmp_path / "data") as local:
        receiver = listen(local)
        await local.call("PATCH", "/api/admin/webhooks/1", {"enabled": True})
        await trio.sleep(3)
        assert (await deliveries(local))[0]["error"].startswith("build.example is none of BLOBFORGE_CALLBACK_HOSTS")
    async with open_local(tmp_path / "data", callback_hosts="build.example") as local:
        receiver = listen(local)
        await trio.sleep(60)
        assert len(receiver.got) == 1  # what happened while it was disabled waited


@pytest.mark.usefixtures("seldom")
async def test_a_receiver_may_ask_to_be_left_alone(local: LocalServer, autojump_clock: Any) -> None:
    answers = iter([CallAnswer(503, "", "120"), CallAnswer(429, "", "1"), CallAnswer(503, "", "999999999")])
    receiver = listen(local, answer=lambda: next(answers, CallAnswer(204, "")))
    await webhook(local, "batch.ended")
    await local.call("POST", "/api/batches", {"name": "x", "closed": True})
    await trio.sleep(DAY)
    waits = [later - earlier for earlier, later in itertools.pairwise(receiver.at)]
    assert [round(wait / 10) for wait in waits[:1]] == [12]
    assert 30 <= waits[1] < 35  # its own back-off is longer
    assert 4 * 3600 <= waits[2] < 4 * 3600 + 5
    assert len(receiver.got) == 1


def test_what_retry_after_says() -> None:
    at = 1_700_000_000_000
    date = "Tue, 14 Nov 2023 22:14:20 GMT"  # a minute later
    for text, wait in (
        ("30", 30_000), (date, 60_000), ("Tue, 14 Nov 2023 22:00:00 GMT", 0), ("9" * 50, 4 * 3_600_000),
        ("soon", None), ("-5", None), ("", None), ("Tue, 14 Nov 99999 22:00:00 GMT", None),
    ):  # fmt: skip
        assert retry_after(text, now=at) == wait, text
