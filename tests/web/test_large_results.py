"""Finished work is never refused for the size of its result: a large one is kept aside, and got whole elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from werkzeug.exceptions import RequestTimeout

from blobforge.store.sqlite.check import check
from tests.fixtures.house import House, open_house
from tests.web.calls import assert_problem, finish, put_output, raw, state
from tests.web.test_kept_results import unreachable
from web.bodies import Body

ASIDE = {"filename": "book.md", "content_type": "text/markdown", "pages": ["lorem ipsum " * 10] * 1_000}
LARGE = ASIDE | {"pages": ["lorem ipsum " * 10] * 20_000}


def size(result: Any) -> int:
    return len(msgspec.json.encode(result))


async def completed(house: House, result: Any, content: bytes = b"a document", **fields: Any) -> int:
    await house.register()
    job_id = await house.submit(content)
    await finish(house, result=result, **fields)
    return job_id


async def whole(house: House, job_id: int) -> Any:
    return await house.call("GET", f"/api/jobs/{job_id}/result")


async def listed(house: House) -> Any:
    return (await house.call("GET", "/api/jobs"))[1]["jobs"][0]


def kept_aside(house: House) -> list[str]:
    """The rows of the table, by job and attempt."""
    return [line.partition(", '")[0] for line in state(house).splitlines() if line.startswith("results ")]


@pytest.mark.parametrize("result", ["x" * (64 * 1024 - 2), {"pages": 3}, [1, {"a": None}]])
async def test_a_small_one_stands_in_the_job(house: House, autojump_clock: Any, result: Any) -> None:
    job_id = await completed(house, result)
    job = await house.job(job_id)
    assert job["result"] == result == (await listed(house))["result"]
    assert not {"result_size", "result_url"} & job.keys()
    assert await whole(house, job_id) == (200, result)


@pytest.mark.parametrize(("result", "shown"), [("x" * (64 * 1024 - 1), True), (ASIDE, True), (LARGE, False)])
async def test_a_large_one_is_kept_aside(house: House, autojump_clock: Any, result: Any, shown: bool) -> None:
    """Lists stay light; the job alone has it up to a bound; its own address has it whole."""
    job_id = await completed(house, result)
    job = await house.job(job_id)
    assert job["status"] == "completed"
    assert job.get("result") == (result if shown else None)
    assert job["result_size"] == size(result)
    assert await house.call("GET", job["result_url"]) == (200, result)
    row = await listed(house)
    assert (row["result_size"], row["result_url"], "result" in row) == (size(result), job["result_url"], False)
    page = await (await raw(house, "GET", f"/jobs/{job_id}")).get_data()
    assert f'href="{job["result_url"]}"'.encode() in page
    assert len(page) < 100_000
    await house.call("POST", f"/api/jobs/{job_id}/retry", {})
    again = await house.claim()
    assert (again["job"]["result_size"], "result" in again["job"]) == (size(result), False)


async def test_its_output_keeps_the_name_that_the_worker_gave(house: House, autojump_clock: Any) -> None:
    job_id = await completed(house, ASIDE)
    url = (await house.call("GET", f"/api/files/{job_id}/output/url"))[1]["url"]
    assert "book.md" in url
    assert (await house.call("GET", f"/api/jobs/{job_id}/preview"))[1]["kind"] == "markdown"


async def test_what_has_no_result_says_so(house: House, autojump_clock: Any) -> None:
    assert_problem(await whole(house, 77), 404, "no-such-job")
    assert_problem(await whole(house, await house.submit()), 404, "no-such-object")


async def test_the_former_one_is_kept_while_the_job_is_tried_again(house: House, autojump_clock: Any) -> None:
    job_id = await completed(house, ASIDE)
    for _ in range(3):
        await house.call("POST", f"/api/jobs/{job_id}/retry", {})
        assert await whole(house, job_id) == (200, ASIDE)
        await house.claim()
        assert ((await house.job(job_id))["result"], (await whole(house, job_id))[1]) == (ASIDE, ASIDE)
        await house.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "no", "retryable": False})
    assert (await house.job(job_id))["result_attempt"] == 1
    for number in (5, 6, 7):
        await house.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True})
        await finish(house, result=ASIDE | {"number": number})
        assert (await whole(house, job_id))[1]["number"] == number
    assert kept_aside(house) == [f"results ({job_id}, 6", f"results ({job_id}, 7"], "and none from before those"
    await house.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True})
    await finish(house, result={"small": True})
    job = await house.job(job_id)
    assert (job["result"], "result_size" in job) == ({"small": True}, False)
    assert check(house.parts.services.settings.database) == []
    assert (await house.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    assert kept_aside(house) == []


async def test_it_comes_back_with_an_undone_retry_and_a_revoked_completion(house: House, autojump_clock: Any) -> None:
    job_id = await completed(house, ASIDE)
    status, answer = await house.call("POST", f"/api/jobs/{job_id}/retry", {"undo": True})
    assert status == 200
    assert (await house.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[0] == 200
    assert ((await house.job(job_id))["status"], (await whole(house, job_id))[1]) == ("completed", ASIDE)

    await house.call("POST", f"/api/jobs/{job_id}/retry", {})
    grant = await house.claim()

    store: Any = house.parts.services.objects
    found, store.find = store.find, unreachable
    done = {"worker_id": "w1", "output_key": grant["output_key"], "result": LARGE}
    assert (await house.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == 200
    assert (await whole(house, job_id))[1] == LARGE
    store.find = found
    await trio.sleep(30)
    job = await house.job(job_id)
    assert (job["status"], job["result_attempt"], job["result"]) == ("pending", 1, ASIDE)
    assert kept_aside(house) == [f"results ({job_id}, 1"]


@pytest.mark.parametrize(
    "path", ["/api/jobs/{}/complete", "/api/jobs/{}/fail", "/api/jobs/complete", "/api/jobs/fail"]
)
async def test_what_ends_attempts_has_a_limit_of_its_own(house: House, autojump_clock: Any, path: str) -> None:
    """16 MiB; all else stays at that of any body."""
    await house.register()
    job_id = await house.submit()
    await house.claim()
    text = "x" * (15 << 20)
    body: Any = {"worker_id": "w1"} | ({"result": text} if "complete" in path else {"error": text})
    if "{}" not in path:
        body = {"jobs": [body | {"job_id": job_id}]}
    address = path.format(job_id)
    problem = assert_problem(
        await house.call("POST", address, msgspec.json.encode(body) + b" " * (2 << 20)), 413, "too-large"
    )
    assert "BLOBFORGE_MAX_RESULT" in problem["detail"]
    assert (await house.call("POST", address, body))[0] == 200
    job = await house.job(job_id)
    if "complete" in path:
        assert (job["status"], job["result_size"]) == ("completed", len(text) + 2)
        assert (await whole(house, job_id))[1] == text
    else:
        assert (job["status"], len(job["last_error"])) == ("failed", 8_192)
    problem = assert_problem(await house.call("POST", "/api/jobs/claim", body), 413, "too-large")
    assert "BLOBFORGE_MAX_BODY" in problem["detail"]


async def test_the_limit_is_a_setting(tmp_path: Any, autojump_clock: Any) -> None:
    async with open_house(tmp_path / "data", max_result=100_000, max_body=50_000) as house:
        await house.register()
        job_id = await house.submit()
        await house.claim()
        for length, status in ((100_000, 413), (99_000, 200)):
            done = {"worker_id": "w1", "result": "x" * length}
            assert (await house.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == status


@pytest.mark.parametrize(
    "nothing", [b'{"worker_id":"w1","claim_next":null,"result":%s}', b'{"worker_id":"w1","result":%s}']
)
async def test_members_that_are_null_change_nothing_of_it(house: House, autojump_clock: Any, nothing: bytes) -> None:
    await house.register()
    job_id = await house.submit()
    await house.claim()
    result = {"a": None, "text": "größe"}
    assert (await house.call("POST", f"/api/jobs/{job_id}/complete", nothing % msgspec.json.encode(result)))[0] == 200
    assert (await house.job(job_id))["result"] == result


async def test_a_result_that_is_null_is_none(house: House, autojump_clock: Any) -> None:
    job_id = await completed(house, None)
    assert "result" not in await house.job(job_id)


async def test_numbers_beyond_all_bounds_spoil_no_download(house: House, autojump_clock: Any) -> None:
    await house.register()
    job_id = await house.submit()
    grant = await house.claim()
    await put_output(house, grant["output_key"])
    done = b'{"worker_id":"w1","output_key":"%s","result":{"share":1e999}}' % grant["output_key"].encode()
    assert (await house.call("POST", f"/api/jobs/{job_id}/complete", done))[0] == 200
    assert (await house.call("GET", f"/api/files/{job_id}/output/url"))[0] == 200


async def test_so_many_large_ones_are_in_memory_at_once_and_others_wait(house: House, autojump_clock: Any) -> None:
    """They are not refused, and no small one waits behind them."""
    await house.register()
    ids = [await house.submit(name) for name in (b"one", b"two")]
    await house.claim(limit=2)
    places = house.parts.services.large_bodies
    places.total_tokens = 1
    answers: dict[int, int] = {}

    async def complete(job_id: int, result: Any) -> None:
        done = msgspec.json.encode({"worker_id": "w1", "result": result})
        told = {"Authorization": f"Bearer {house.parts.admin_token}", "Content-Length": str(len(done))}
        answers[job_id] = (await house.call("POST", f"/api/jobs/{job_id}/complete", done, headers=told))[0]

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
