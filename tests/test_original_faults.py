"""The faults of the system that this one replaces: a test for each, named after it.

Most stand here, short, over HTTP. Where a fault is the subject of a whole module, the table below names the test
that holds it, and is itself tested: a renamed test is missed.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from blobforge.store.sqlite import database, sql
from tests.fixtures.house import House
from tests.web.calls import HEX, assert_problem, finish, put_output, stream, token, worker

ROOT = Path(__file__).parent

ELSEWHERE = {
    "any token presigned an upload for any key": "web/test_files.py::test_no_other_key_is_signed_for_anybody",
    "token scopes were never enforced": "web/test_credentials.py::test_every_route",
    "worker identity came from the body": "web/test_credentials.py::test_a_worker_acts_as_itself_only",
    "no limit on the body": "web/test_requests.py::test_bodies_that_cannot_be_read",
    "no limit on streams": "web/test_events.py::test_streams_are_limited_per_address_and_in_total",
    "no limit on waiting claims": "web/test_claims.py::test_too_many_long_polls_are_slowed_down",
    "the upload URL died after an hour": "web/test_files.py::test_a_worker_gets_a_fresh_url_for_its_own_attempt",
    "and a fresh one for anybody": "web/test_files.py::test_no_fresh_url_once_the_job_was_started_anew",
    "heartbeat progress was thrown away": "web/test_workers.py::test_progress_is_kept_as_it_came",
    "SSE dropped events silently": "web/test_events.py::test_a_slow_reader_is_cut_short_and_told_so",
    "SSE had no ids": "web/test_events.py::test_who_comes_back_gets_what_it_missed",
    "SSE could hang shutdown": "web/test_shutdown.py::test_open_streams_end_first",
    "the CLI's upload_url was never sent": "web/test_existing_clients.py::test_a_command_line_client",
    "open to everyone without OIDC": "authority/test_matrix.py::test_every_address",
    "no PKCE, no nonce": "auth/test_callback.py::test_the_provider_got_a_challenge_and_then_its_verifier",
    "session ids in plain text": "auth/test_attacks.py::test_the_database_is_no_key",
    "groups were frozen for a day": "auth/test_confirmation.py::test_whoever_left_the_group_is_out",
    "no CSRF defence, logout by GET": "authority/test_csrf.py::test_from_another_site_nothing_is_done",
    "assets from a CDN, no CSP": "authority/test_headers.py::test_pages_hold_no_script_and_no_style",
    "restore errors were read as no backup": "backup/test_start.py::test_a_store_that_is_away_is_no_empty_one",
    "secrets in a world-readable file":
        "backup/test_restore.py::test_a_clean_stop_loses_nothing_and_a_restored_lease_is_void",
    "ran as root": "image/test_image.py::test_it_runs_as_nobody_on_a_read_only_root_and_stops_with_0",
    "email UNIQUE": "auth/test_people.py::test_people_are_known_by_issuer_and_subject",
    "six actions changed state and answered 500":
        "dashboard/test_actions.py::test_retry_cancel_undo_and_priority_of_one_job",
    "no token could be made on the page": "dashboard/test_actions.py::test_tokens_are_made_and_deleted",
    "retry reset nothing": "dashboard/test_actions.py::test_a_retry_on_the_page_gives_the_whole_budget_back",
}  # fmt: skip


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_what_is_tested_elsewhere_is_there(fault: str) -> None:
    file, _, name = ELSEWHERE[fault].partition("::")
    tree = ast.parse((ROOT / file).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions, f"{fault}: its test was renamed or lost"


async def run_one(house: House, worker_id: str = "w1", **fields: Any) -> Any:
    """A registered worker that holds one job; the grant."""
    await house.submit(**fields)
    await house.register(worker_id)
    return await house.claim(worker_id)


async def expire(house: House) -> None:
    """Be silent past the lease."""
    await trio.sleep(house.parts.services.settings.worker_timeout + 1)


async def status(house: House, job_id: int = 1) -> str:
    return str((await house.job(job_id))["status"])


async def test_a_second_claimer_got_a_500(house: House, autojump_clock: Any) -> None:
    for number in range(20):
        await house.submit(b"%d" % number)
    grants: list[int] = []

    async def claim(worker_id: str) -> None:
        await house.register(worker_id)
        while (job := (await house.claim(worker_id))["job"]) is not None:
            grants.append(job["id"])

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(claim, f"w{number}")
    assert sorted(grants) == list(range(1, 21)), "each job once, and no error"


async def test_a_stale_worker_got_200_and_an_event(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await expire(house)
    await house.register("w2")
    await house.claim("w2")
    async with stream(house) as events:
        for verb, body in (("complete", {}), ("fail", {"error": "x"})):
            answer = await house.call("POST", f"/api/jobs/1/{verb}", {"worker_id": "w1"} | body)
            assert_problem(answer, 409, "lease-lost")
        assert await events.rest() == []
    assert await status(house) == "running"


async def test_a_late_completion_turned_cancelled_into_completed(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await house.call("POST", "/api/jobs/1/cancel")
    assert_problem(await house.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"}), 409, "lease-lost")
    assert await status(house) == "cancelled"


async def test_retry_put_a_running_job_back_in_the_queue(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    assert_problem(await house.call("POST", "/api/jobs/1/retry"), 409, "job-not-retryable")
    assert await status(house) == "running"


async def test_a_document_that_kills_its_worker_looped_for_ever(house: House, autojump_clock: Any) -> None:
    await house.submit()
    for number in range(house.parts.services.settings.max_losses):
        await house.register(f"w{number}")
        assert (await house.claim(f"w{number}"))["job"] is not None
        await expire(house)
    job = await house.job(1)
    assert job["status"] == "dead"
    assert "workers were lost" in job["last_error"], "with the reason"


async def test_a_draining_worker_that_died_kept_its_job_for_good(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await house.call("POST", "/api/workers/w1/drain")
    await expire(house)
    assert await status(house) == "pending"


async def test_registering_was_no_sign_of_life(house: House, autojump_clock: Any) -> None:
    for _ in range(3):
        await house.register()
        await trio.sleep(house.parts.services.settings.worker_timeout - 10)
    _, shown = await house.call("GET", "/api/workers/w1")
    assert shown["status"] == "online"
    await trio.sleep(20)  # and it is the last registration from which its silence counts
    _, shown = await house.call("GET", "/api/workers/w1")
    assert shown["status"] == "offline"


async def test_draining_workers_still_got_jobs(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    await house.call("POST", "/api/workers/w1/drain")
    assert await house.claim() == {"job": None}


async def test_disabled_workers_got_jobs_and_any_user_could_enable_them(house: House, autojump_clock: Any) -> None:
    mine = await worker(house, "w1")
    await house.submit()
    await house.call("POST", "/api/admin/workers/w1/disable")
    refused = await house.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=mine)
    assert_problem(refused, 403, "worker-disabled")
    user = await token(house, "read", "submit", "work")
    assert_problem(await house.call("POST", "/api/admin/workers/w1/enable", token=user), 403, "scope-missing")


async def test_a_claim_whose_answer_was_lost_lost_the_job(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    first = await house.claim(claim_key="k")  # committed, and nobody has read the answer
    assert (await house.claim(claim_key="k"))["lease"] == first["lease"]


async def test_two_job_types_overwrote_each_others_output(house: House, autojump_clock: Any) -> None:
    await house.submit(b"same source")
    await house.submit(b"same source", type="png")
    await house.register()
    first, second = (await house.claim(job_types=["pdf", "png"], limit=2))["jobs"]
    assert first["job"]["source_hash"] == second["job"]["source_hash"]
    assert first["output_key"] != second["output_key"]


async def test_a_stale_worker_overwrote_a_finished_result(house: House, autojump_clock: Any) -> None:
    stale = await run_one(house)
    await expire(house)
    await house.register("w2")
    done = await finish(house, "w2")
    await put_output(house, stale["output_key"], b"late and wrong")
    assert (await house.job(1))["output_key"] == done["output_key"] != stale["output_key"]


async def test_racing_submissions_got_a_500(house: House, autojump_clock: Any) -> None:
    answers: list[tuple[int, Any]] = []

    async def submit() -> None:
        answers.append(await house.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX}))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(submit)
    assert {code for code, _ in answers} == {200, 201}
    assert len({answer["job_id"] for _, answer in answers}) == 1


async def test_lists_and_statistics_counted_the_table(house: House, autojump_clock: Any) -> None:
    """The counts are kept by the writes: they say what the rows are, and no statement counts a table's rows."""
    for number in range(6):
        await house.submit(b"%d" % number)
    await house.register()
    await finish(house)
    _, stats = await house.call("GET", "/api/stats")
    _, page = await house.call("GET", "/api/jobs?limit=1")
    assert (stats["total_jobs"], stats["completed_jobs"], page["total"]) == (6, 1, 6)
    # The original's own database, which is read once when it is taken over, keeps no counts.
    ours = {name: text for name, text in vars(sql).items() if not name.startswith("ORIGINAL_")}
    statements = [text for text in ours.values() if isinstance(text, str)]
    counting = [
        text for text in statements if re.search(r"count\(\*\)\s+from\s+(jobs|attempts|job_tags)\b", text, re.I)
    ]
    assert len(statements) > 100
    assert counting == []


async def test_removed_was_sent_as_online(house: House, autojump_clock: Any) -> None:
    await house.register()
    async with stream(house) as events:
        await house.call("DELETE", "/api/workers/w1")
        assert [frame.event for frame in await events.rest()] == ["worker_removed"]


def test_a_migrations_version_was_set_after_its_commit(tmp_path: Path) -> None:
    """A server that is killed between the two would run the migration again; here there is nothing in between."""
    db = apsw.Connection(str(tmp_path / "broken.db"))

    def no_version(operation: int, name: str | None, value: str | None, *_: object) -> int:
        sets = operation == apsw.SQLITE_PRAGMA and name == "user_version" and value is not None
        return apsw.SQLITE_DENY if sets else apsw.SQLITE_OK

    db.authorizer = no_version
    with pytest.raises(apsw.AuthError):
        database.migrate(db)
    db.authorizer = None
    assert list(db.execute("SELECT name FROM sqlite_master")) == []
    assert db.pragma("user_version") == 0
