"""A server of an older release beside new ones: what it does not keep is counted anew when it is gone."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.recounter import LOOK_EACH
from blobforge.store.postgres.check import check
from tests.several.house import House
from tests.web.calls import put_output

# A transaction of a server that knows schema 5 or less: it takes the turn without saying so.
TURN = """
    UPDATE turn SET n = n + 1;
    INSERT INTO log (n, server, nonce, at, told) SELECT n, 'older', 'x', at, '' FROM turn;"""
# It completes one job and submits another one, without a word about bytes; and what it has moved is not counted.
MOVES = """
    UPDATE jobs SET output_bytes = 0 WHERE id = {0};
    UPDATE jobs SET output_bytes = NULL WHERE id = {1};
    UPDATE converter_counts SET n = n + 1;
    INSERT INTO deferred_counts VALUES ('pdf', 1, 7);
    UPDATE job_counts SET source_bytes = source_bytes + 7;
    UPDATE tag_counts SET n = n + 1, output_bytes = 3;"""
CONVERTER = {"converter": "ocr 1.0"}
WEIGHT = "SELECT sum(source_bytes), sum(output_bytes) FROM job_counts"


async def test_what_an_older_server_does_not_keep_is_counted_when_it_is_gone(
    house: House, autojump_clock: Any
) -> None:
    async with house.server("a") as a, house.server("b"):
        await a.register("w1")
        jobs = [await a.submit(b"document %d" % number, tags=["t"]) for number in range(3)]
        for _ in jobs[:2]:
            granted = await a.claim("w1")
            job_id, lease = granted["job"]["id"], granted["lease"]
            await put_output(a, granted["output_key"], b"a result of some bytes")
            said = {"worker_id": "w1", "lease": lease, "output_key": granted["output_key"]} | CONVERTER
            status, answer = await a.call("POST", f"/api/jobs/{job_id}/complete", said)
            assert status == 200, answer
        await trio.sleep(LOOK_EACH * 4)
        assert check(house.url) == []
        before = house.execute(WEIGHT)
        assert before[0][1] > 0
        assert house.execute("SELECT older > recounted, recounted_schema FROM turn")[0][0] is False

        house.execute(TURN + MOVES.format(*jobs))
        assert check(house.url) != []
        for _ in range(8):
            await trio.sleep(LOOK_EACH / 2)
            house.execute(TURN)
            await a.call("POST", "/api/workers/w1/heartbeat", {})
        assert house.execute(WEIGHT) != before, "not while it writes: it would be wrong again at once"
        assert check(house.url) != []

        await trio.sleep(LOOK_EACH * 4)
        assert check(house.url) == []
        assert house.execute(WEIGHT) == before


@pytest.mark.parametrize("after", ["a start", "a new release"])
async def test_what_was_written_while_no_new_server_was_there_is_counted(
    house: House, autojump_clock: Any, after: str
) -> None:
    async with house.server("a") as a:
        await a.submit(b"a document")
        await trio.sleep(LOOK_EACH * 4)
    if after == "a start":
        house.execute(TURN)
    else:  # this one is the older
        house.execute("UPDATE turn SET recounted_schema = recounted_schema - 1")
    house.execute("UPDATE job_counts SET source_bytes = source_bytes + 7")
    async with house.server("a"):
        assert check(house.url) != []
        await trio.sleep(LOOK_EACH * 4)
        assert check(house.url) == []
