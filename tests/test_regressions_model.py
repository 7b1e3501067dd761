"""Faults that the model and schemathesis found in their long forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from actors import messages as m
from blobforge.access import Scope
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.figures import Drill
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store
from tests.fixtures.house import House, open_house
from tests.store.making import T0, Book, hash_of

LOCAL = "127.0.0.1"


def test_a_token_is_deleted_while_somebody_signs_in_with_it(tmp_path: Path) -> None:
    """It was an unhandled error (a session of a token that is not there)."""
    book = Book(tmp_path / "blobforge.db")
    made = book.do(m.CreateToken("mine", hash_of("mine"), "bf_", frozenset({Scope.READ})))
    book.do(m.DeleteToken(made.token_id))
    new = m.NewSession(hash_of("session"), expires_at=T0 * 2)
    answer = book.do(m.SignIn(new, token_id=made.token_id))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.UNAUTHENTICATED


def test_the_drills_from_before_a_restore_stay_on_record(tmp_path: Path) -> None:
    """The first drill after a restore, which leaves a gap in all numbers, took them for the hundredth before it."""
    path = tmp_path / "blobforge.db"
    store = Store(open_writer(path))
    for number in (1, 2):
        with store.transaction():
            store.recovery.record_drill(Drill(number, number + 1, True, number, "fine"))
            store.recovery.settle(seconds=60, now=T0)
    store.close()
    database = apsw.Connection(str(path))
    assert list(database.execute("SELECT started_at FROM backup_drills ORDER BY id")) == [(1,), (2,)]
    database.close()


async def test_a_number_is_no_time(house: House, autojump_clock: Any) -> None:
    """`?until=0.5` was taken for half a second after 1970; the description has RFC 3339."""
    for query in ("until=0.5", "since=1e3"):
        status, problem = await house.call("GET", f"/api/admin/audit?{query}")
        assert (status, problem["field"]) == (422, query.partition("=")[0])
    assert (await house.call("GET", "/api/jobs?created_until=2026-11-23T10:00:00Z"))[0] == 200


async def test_who_forgets_his_id_slows_down_nobody_else(tmp_path: Path, autojump_clock: Any) -> None:
    """Secrets without a worker's id were all counted as failures of one worker, whatever address they came from."""
    async with open_house(tmp_path / "data", trusted_proxies=LOCAL) as house:
        for address in range(40):
            headers = {"X-Worker-Secret": "bfw_x", "X-Forwarded-For": f"10.0.0.{address}"}
            answer = await house.http.get("/api/jobs", headers=headers, scope_base={"client": (LOCAL, 4000)})
            assert answer.status_code == 401
