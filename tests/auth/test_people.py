"""Who somebody is by the provider's word: issuer, subject, email and groups, in every shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.auth.visitor import Visitor, open_oidc_local, rows, sessions, users
from tests.fixtures.evil_provider import EvilProvider
from tests.fixtures.local import LocalServer

Clock = trio.testing.MockClock


async def test_people_are_known_by_issuer_and_subject(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    await Visitor(oidc_local).signed_in(evil)
    evil.claims = {"email": "new@example.org", "name": "Ada L."}
    await Visitor(oidc_local).signed_in(evil)
    [only] = await users(oidc_local)
    assert (only["email"], only["name"]) == ("new@example.org", "Ada L.")
    # Somebody else takes over the address; that makes them nobody else.
    evil.claims = {"sub": "subject-2", "email": "new@example.org"}
    await Visitor(oidc_local).signed_in(evil)
    assert len(await users(oidc_local)) == 2
    assert rows(oidc_local, "users", "issuer", "subject", order="id") == [
        (evil.issuer, "subject-1"),
        (evil.issuer, "subject-2"),
    ]


async def test_an_absent_email_is_no_error(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    for subject in ("subject-1", "subject-2", "subject-1"):
        evil.claims = {"sub": subject, "email": None, "name": None}
        visitor = await Visitor(oidc_local).signed_in(evil)
        assert (await visitor.me())["name"] == subject
    assert len(await users(oidc_local)) == 2


GROUPS: dict[str, tuple[Any, str]] = {
    "a list": (["x", "staff"], "staff"),
    "a text": ("staff", "staff"),
    "commas": ("x, staff ,y", "staff"),
    "a space in the name": (["the staff"], "the staff"),
}


@pytest.mark.parametrize("case", GROUPS)
@pytest.mark.parametrize("where", ["ID token", "userinfo"])
async def test_groups_in_every_shape(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path, case: str, where: str
) -> None:
    value, allowed = GROUPS[case]
    if where == "userinfo":
        evil.groups, evil.info = None, {"groups": value}
    else:
        evil.groups = value
    async with open_oidc_local(tmp_path / "data", evil, oidc_allowed_groups=allowed) as local:
        await Visitor(local).signed_in(evil)


@pytest.mark.parametrize(
    "value", [None, [], "", "staffers", ["Staff"], ["sta", "ff"], 7, {"staff": True}, [["staff"]]]
)
async def test_groups_that_let_nobody_in(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, value: Any
) -> None:
    evil.groups = value
    page = await Visitor(oidc_local).sign_in(evil)
    assert page.status == 403
    assert "not in a group" in page.text
    assert sessions(oidc_local) == []
    assert await users(oidc_local) == []


@pytest.mark.parametrize("name", ["realm_access.roles", "https://example.org/roles"])
async def test_groups_under_another_name(evil: EvilProvider, mock_clock: Clock, tmp_path: Path, name: str) -> None:
    evil.groups = None
    evil.claims = {"realm_access": {"roles": ["staff"]}, "https://example.org/roles": ["staff"]}
    async with open_oidc_local(tmp_path / "data", evil, oidc_groups_claim=name) as local:
        await Visitor(local).signed_in(evil)


async def test_without_allowed_groups_all_may(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    evil.groups = None
    async with open_oidc_local(tmp_path / "data", evil, oidc_allowed_groups="") as local:
        visitor = await Visitor(local).signed_in(evil)
        assert (await visitor.me())["is_admin"] is False
