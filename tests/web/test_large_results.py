"""Finished work is never refused for the size of its result: a large one is kept aside, and got whole elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from werkzeug.exceptions import RequestTimeout

from blobforge.store.sqlite.check import check
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem, finish, put_output, raw, state
from tests.web.test_kept_results import unreachable
from web.bodies import Body

ASIDE = {"filename": "book.md", "content_type": "text/markdown", "pages": ["lorem ipsum " * 10] * 1_000}
LARGE = ASIDE | {"pages": ["lorem ipsum " * 10] * 20_000}


def size(result: Any) -> int:
    return len(msgspec.json.encode(result))


async def completed(local: LocalServer, result: Any, content: bytes = b"a document", **fields: Any) -> int:
    await local.register()
    job_id = await local.submit(content)
    await finish(local, result=result, **fields)
    return job_id


async def whole(local: LocalServer, job_id: int) -> Any:
    return await local.call("GET", f"/api/jobs/{job_id}/result")


async def listed(local: LocalServer) -> Any:
    return (await local.call("GET", "/api/jobs"))[1]["jobs"][0]


def kept_aside(local: LocalServer) -> list[str]:
    """The rows of the table, by job and attempt."""
    return [line.partition(", '")[0] for line in state(local).splitlines() if line.startswith("results ")]


@pytest.mark.parametrize("result", ["x" * (64 * 1024 - 2), {"pages": 3}, [1, {"a": None}]])
async def test_a_small_one_stands_in_the_job(local: LocalServer, autojump_clock: Any, result: Any) -> None:
    job_id = await completed(local, result)
    job = await local.job(job_id)
    assert job["result"] == result == (await listed(local))["result"]
    assert not {"result_size", "result_url"} & job.keys()
    assert await whole(local, job_id) == (200, result)


@pytest.mark.parametrize(("result", "shown"), [("x" * (64 * 1024 - 1), True), (ASIDE, True), (LARGE, False)])
async def test_a_large_one_is_kept_aside(local: LocalServer, autojump_clock: Any, result: Any, shown: bool) -> None:
    """Lists stay light; the job alone has it up to a bound; its own address has it whole."""
    job_id = await completed(local, result)
    job = await local.job(job_id)
    assert job["status"] == "completed"
    assert job.get("result") == (result if shown else None)
    assert job["result_size"] == size(result)
    assert await local.call("GET", job["result_url"]) == (200, result)
    row = await listed(local)
    assert (row["result_size"], row["result_url"], "result" in row) == (size(result), job["result_url"], False)
    page = await (await raw(local, "GET", f"/jobs/{job_id}")).get_data()
    assert f'href="{job["result_url"]}"'.encode() in page
    assert len(page) < 100_000
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    again = await local.claim()
    assert (again["job"]["result_size"], "result" in again["job"]) == (size(result), False)


async def test_its_output_keeps_the_name_that_the_worker_gave(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await completed(local, ASIDE)
    url = (await local.call("GET", f"/api/files/{job_id}/output/url"))[1]["url"]
    assert "book.md" in url
    assert (await local.call("GET", f"/api/jobs/{job_id}/preview"))[1]["kind"] == "markdown"


async def test_what_has_no_result_says_so(local: LocalServer, autojump_clock: Any) -> None:
    assert_problem(await whole(local, 77), 404, "no-such-job")
    assert_problem(await whole(local, await local.submit()), 404, "no-such-object")


async def test_the_former_one_is_kept_while_the_job_is_tried_again(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await completed(local, ASIDE)
    for _ in range(3):
        await local.call("POST", f"/api/jobs/{job_id}/retry", {})
        assert await whole(local, job_id) == (200, ASIDE)
        await local.claim()
        assert ((await local.job(job_id))["result"], (await whole(local, job_id))[1]) == (ASIDE, ASIDE)
        await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "no", "retryable": False})
    assert (await local.job(job_id))["result_attempt"] == 1
    for number in (5, 6, 7):
        await local.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True})
        await finish(local, result=ASIDE | {"number": number})
        assert (await whole(local, job_id))[1]["number"] == number
    assert kept_aside(local) == [f"results ({job_id}, 6", f"results ({job_id}, 7"], "and none from before those"
    await local.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True})
    await finish(local, result={"small": True})
    job = await local.job(job_id)
    assert (job["result"], "result_size" in job) == ({"small": True}, False)
    assert check(local.parts.services.settings.database) == []
    assert (await local.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    assert kept_aside(local) == []


async def test_it_comes_back_with_an_undone_retry_and_a_revoked_completion(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await completed(local, ASIDE)
    status, answer = await local.call("POST", f"/api/jobs/{job_id}/retry", {"undo": True})
    assert status == 200
    assert (await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[0] == 200
    assert ((await local.job(job_id))["status"], (await whole(local, job_id))[1]) == ("completed", ASIDE)

    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    grant = await local.claim()

    store: Any = local.parts.services.objects
    found, store.find = store.find, unreachable
    done = {"worker_id": "w1", "output_key": grant["output_key"], "result": LARGE}
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == 200
    assert (await whole(local, job_id))[1] == LARGE
    store.find = found
    await trio.sleep(30)
    job = await local.job(job_id)
    assert (job["status"], job["result_attempt"], job["result"]) == ("pending", 1, ASIDE)
    assert kept_aside(local) == [f"results ({job_id}, 1"]


@pytest.mark.parametrize(
    "path", ["/api/jobs/{}/complete", "/api/jobs/{}/fail", "/api/jobs/complete", "/api/jobs/fail"]
)
async def test_what_ends_attempts_has_a_limit_of_its_own(local: LocalServer, autojump_clock: Any, path: str) -> None:
    """16 MiB; all else stays at that of any body."""
    await local.register()
    job_id = await local.submit()
    await local.claim()
    text = "x" * (15 << 20)
    body: Any = {"worker_id": "w1"} | ({"result": text} if "complete" in path else {"error": text})
    if "{}" not in path:
        body = {"jobs": [body | {"job_id": job_id}]}
    address = path.format(job_id)
    problem = assert_problem(
        await local.call("POST", address, msgspec.json.encode(body) + b" " * (2 << 20)), 413, "too-large"
    )
    assert "BLOBFORGE_MAX_RESULT" in problem["detail"]
    assert (await local.call("POST", address, body))[0] == 200
    job = await local.job(job_id)
    if "complete" in path:
        assert (job["status"], job["result_size"]) == ("completed", len(text) + 2)
        assert (await whole(local, job_id))[1] == text
    else:
        assert (job["status"], len(job["last_error"])) == ("failed", 8_192)
    problem = assert_problem(await local.call("POST", "/api/jobs/claim", body), 413, "too-large")
    assert "BLOBFORGE_MAX_BODY" in problem["detail"]


async def test_the_limit_is_a_setting(tmp_path: Any, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_result=100_000, max_body=50_000) as local:
        await local.register()
        job_id = await local.submit()
        await local.claim()
        for length, status in ((100_000, 413), (99_000, 200)):
            done = {"worker_id": "w1", "result": "x" * length}
            assert (await local.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == status


@pytest.mark.parametrize(
    "nothing", [b'{"worker_id":"w1","claim_next":null,"result":%s}', b'{"worker_id":"w1","result":%s}']
)
async def test_members_that_are_null_change_nothing_of_it(
    local: LocalServer, autojump_clock: Any, nothing: bytes
) -> None:
    await local.register()
    job_id = await local.submit()
    await local.claim()
    result = {"a": None, "text": "größe"}
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", nothing % msgspec.json.encode(result)))[0] == 200
    assert (await local.job(job_id))["result"] == result


async def test_a_result_that_is_null_is_none(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await completed(local, None)
    assert "result" not in await local.job(job_id)


async def test_numbers_beyond_all_bounds_spoil_no_download(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    job_id = await local.submit()
    grant = await local.claim()
    await put_output(local, grant["output_key"])
    done = b'{"worker_id":"w1","output_key":"%s","result":{"share":1e999}}' % grant["output_key"].encode()
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == 200
    assert (await local.call("GET", f"/api/files/{job_id}/output/url"))[0] == 200


async def test_so_many_large_ones_are_in_memory_at_once_and_others_wait(
    local: LocalServer, autojump_clock: Any
) -> None:
    """They are not refused, and no small one waits behind them."""
    await local.register()
    ids = [await local.submit(name) for name in (b"one", b"two")]
    await local.claim(limit=2)
    places = local.parts.services.large_bodies
    places.total_tokens = 1
    answers: dict[int, int] = {}

    async def complete(job_id: int, result: Any) -> None:
        done = msgspec.json.encode({"worker_id": "w1", "result": result})
        told = {"Authorization": f"Bearer {local.parts.admin_token}", "Content-Length": str(len(done))}
        answers[job_id] = (await local.call("POST", f"/api/jobs/{job_id}/complete", done, headers=told))[0]

    async with trio.open_nursery() as nursery, places:
        nursery.start_soon(complete, ids[0], LARGE)
        nursery.start_soon(complete, ids[1], ASIDE)
        await trio.sleep(60)
        assert answers == {ids[1]: 200}
    assert answers == {ids[1]: 200, ids[0]: 200}


async def test_a_larger_body_has_as_much_more_time(autojump_clock: Any) -> None:
    class Slow:
        left = 20

        async def part(self) -> bytes:
            await trio.sleep(10)
            self.left -= 1
            return b"x" * 10 if self.left >= 0 else b""

        def at_hand(self) -> None: ...

        def watch(self, told: Any, /) -> None: ...

        def forget(self) -> None: ...

    with pytest.raises(RequestTimeout):
        await Body(Slow(), 200, largest=200, patience=30).whole()
    body = Body(Slow(), 200, largest=20, patience=30)
    body.allow(1000, "BLOBFORGE_MAX_RESULT")
    assert len(await body.whole()) == 200
