"""Guessing credentials is slowed, per address and per id; whoever has a valid one notices nothing of it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.store.commons import BURST, REFILL_SECONDS, is_same
from blobforge.store.sqlite.commons import FileCommons
from tests.authority.callers import cookie
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem, token, worker, worker_headers
from web.auth import keyring, throttle
from web.auth.throttle import Throttle
from web.shared import Shared

WRONG = {"Authorization": "Bearer bf_" + "A" * 43}


async def request(
    local: LocalServer, headers: dict[str, str], address: str = "192.0.2.1", path: str = "/api/jobs"
) -> Any:
    answer = await local.http.open(path, method="GET", headers=headers, scope_base={"client": (address, 4000)})
    return answer.status_code, answer.headers.get("Retry-After"), await answer.get_json()


async def exhaust(local: LocalServer, headers: dict[str, str], address: str = "192.0.2.1") -> None:
    """Fail until told to slow down."""
    for _ in range(BURST):
        assert (await request(local, headers, address))[0] == 401
    status, after, problem = await request(local, headers, address)
    assert_problem((status, problem), 429, "slow-down")
    assert 1 <= int(after) <= REFILL_SECONDS


async def test_guesses_from_one_address(local: LocalServer, autojump_clock: Any) -> None:
    await exhaust(local, WRONG)
    # Another guess is no better, of whatever kind.
    assert (await request(local, {"Authorization": "Bearer bf_" + "B" * 43}))[0] == 429
    assert (await request(local, worker_headers("w", "guess")))[0] == 429
    # Another address has done nothing.
    assert (await request(local, WRONG, "192.0.2.2"))[0] == 401


async def test_guesses_for_one_worker_from_everywhere(local: LocalServer, autojump_clock: Any) -> None:
    mine = await worker(local, "w")
    guess = worker_headers("w", "guess")
    for n in range(BURST):
        assert (await request(local, guess, f"192.0.2.{n}"))[0] == 401
    assert (await request(local, guess, "198.51.100.1"))[0] == 429
    assert (await request(local, worker_headers("other", "guess"), "198.51.100.2"))[0] == 401
    # The worker itself goes on working, from wherever it is.
    status, _ = await local.call("POST", "/api/workers/w/heartbeat", headers=mine)
    assert status == 200


async def test_after_the_wait_that_was_told_it_may_be_tried_again(local: LocalServer, autojump_clock: Any) -> None:
    await exhaust(local, WRONG)
    _, after, _ = await request(local, WRONG)
    await trio.sleep(int(after))
    assert (await request(local, WRONG))[0] == 401
    assert (await request(local, WRONG))[0] == 429, "one try, and not another burst"
    await trio.sleep(BURST * REFILL_SECONDS + REFILL_SECONDS)
    await exhaust(local, WRONG)


async def test_whoever_goes_on_guessing_waits_no_longer_than_one_refill(
    local: LocalServer, autojump_clock: Any
) -> None:
    """A script with an old token, repaired after a day, is not locked out for a day."""
    for _ in range(BURST * 50):
        await request(local, WRONG)
    _, after, _ = await request(local, WRONG)
    assert int(after) <= REFILL_SECONDS


async def test_valid_callers_at_the_same_address_are_not_slowed(local: LocalServer, autojump_clock: Any) -> None:
    good, mine = await token(local, "read", "work"), await worker(local, "w")
    await exhaust(local, WRONG)
    before = trio.current_time()
    for _ in range(BURST * 3):
        assert (await request(local, {"Authorization": f"Bearer {good}"}))[0] == 200
        assert (await request(local, mine))[0] == 403, "known, and lacks the scope: that is no guess"
        assert (await request(local, WRONG))[0] == 429
    fresh = await token(local, "read")
    assert (await request(local, {"Authorization": f"Bearer {fresh}"}))[0] == 200, "one that was never seen before"
    assert trio.current_time() == before, "nobody was made to wait"


async def test_what_is_no_guess_counts_for_nothing(local: LocalServer, autojump_clock: Any) -> None:
    """No credential, an ended session, a missing scope, a disabled worker: many in one office share an address."""
    mine = await worker(local, "w")
    await local.call("POST", "/api/admin/workers/w/disable")
    for _ in range(BURST * 2):
        assert (await request(local, {}))[0] == 401
        assert (await request(local, cookie("stale")))[0] == 401
        assert (await request(local, mine))[0] == 403
    assert (await request(local, WRONG))[0] == 401


async def test_the_sign_in_form_and_the_first_link(local: LocalServer, autojump_clock: Any) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", "Host": "localhost"}
    at = {"client": ("192.0.2.1", 4000)}
    for n in range(BURST + 1):
        if n % 2:
            answer = await local.http.open("/auth/first?code=guess", method="GET", scope_base=at)
        else:
            answer = await local.http.open("/login", method="POST", headers=form, data="token=guess", scope_base=at)
        assert answer.status_code == (401 if n < BURST else 429)
    assert (await request(local, WRONG))[0] == 429, "one account for all of it"


async def test_behind_a_proxy_that_is_not_named_headers_do_not_help(local: LocalServer, autojump_clock: Any) -> None:
    for n in range(BURST):
        assert (await request(local, WRONG | {"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}"}))[
            0
        ] == 401
    assert (await request(local, WRONG | {"X-Forwarded-For": "10.9.9.9"}))[0] == 429


async def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses guess: the one that failed longest ago is forgotten, one that goes on is not."""
    monkeypatch.setattr(throttle, "REMEMBERED", 100)
    slowed = Throttle(lambda: 0.0, Shared(FileCommons(tmp_path)))
    for _ in range(BURST + 1):
        refused = await slowed.failed("address 192.0.2.1")
    assert refused is not None
    for n in range(1000):
        await slowed.failed("address 192.0.2.1", f"worker {n}")
    assert len(slowed._failed) <= 100
    assert await slowed.failed("address 192.0.2.1") is not None


async def test_long_ids_are_not_kept(local: LocalServer, autojump_clock: Any) -> None:
    for n in range(3):
        assert (await request(local, worker_headers(f"{n}" * 20_000, "guess")))[0] == 401
    assert max(map(len, local.parts.services.throttle._failed)) < 1000


def test_secrets_are_compared_in_constant_time() -> None:
    """What is compared are hashes; a token is looked up by its hash, which tells nothing about the token."""
    assert "hmac.compare_digest(known, hash_secret(secret))" in inspect.getsource(keyring.Keyring.worker)
    assert "hmac.compare_digest(hash_secret(known), hash_secret(given))" in inspect.getsource(is_same)
    assert "token_by_hash(digest)" in inspect.getsource(keyring.Keyring.token)


async def test_an_unknown_worker_costs_what_a_wrong_secret_costs(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is made even when there is no such worker, so that time does not tell which ids exist."""
    await worker(local, "w")
    compared: list[str] = []
    real = keyring.hmac.compare_digest

    def counted(known: str, given: str) -> bool:
        compared.append(known)
        return real(known, given)

    monkeypatch.setattr(keyring.hmac, "compare_digest", counted)
    answers = [await local.call("GET", "/api/jobs", headers=worker_headers(name, "guess")) for name in ("w", "none")]
    assert len(compared) == 2
    assert answers[0][1]["detail"] == answers[1][1]["detail"]


async def test_who_forgets_his_id_slows_down_nobody_else(tmp_path: Path, autojump_clock: Any) -> None:
    """Secrets without a worker's id were all counted as failures of one worker, whatever address they came from."""
    async with open_local(tmp_path / "data", trusted_proxies="127.0.0.1") as local:
        for address in range(40):
            headers = {"X-Worker-Secret": "bfw_x", "X-Forwarded-For": f"10.0.0.{address}"}
            answer = await local.http.get("/api/jobs", headers=headers, scope_base={"client": ("127.0.0.1", 4000)})
            assert answer.status_code == 401
