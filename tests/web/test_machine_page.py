"""The page that adds a machine: it says the commands, and makes a token that is shown in them, once."""

from __future__ import annotations

import html
from typing import Any
from urllib.parse import urlencode

from blobforge.machines import NO_TOKEN
from tests.fixtures.local import LocalServer
from tests.web.calls import raw, token


async def test_it_says_the_commands_as_the_form_has_it(local: LocalServer, autojump_clock: Any) -> None:
    plain = await raw(local, "GET", "/add-machine", Host="queue.example")
    text = html.unescape(await plain.get_data(as_text=True))
    assert plain.status_code == 200
    assert "--env BLOBFORGE_SERVER_URL=http://queue.example --env BLOBFORGE_API_TOKEN" in text
    assert text.count(NO_TOKEN) == 5, "in each of the commands, and in what is said of them"
    asked = {"type": "scan", "command": "ocr '{source}' {output}", "labels": "gpu, zone=a b",
             "server": "https://other.example/", "image": "mine:1"}  # fmt: skip
    given = await raw(local, "GET", f"/add-machine?{urlencode(asked)}")
    text = html.unescape(await given.get_data(as_text=True))
    assert "uvx --from blobforge-server blobforge work --type scan --exec" in text
    assert "--label gpu --label 'zone=a b'" in text
    assert 'value: "https://other.example"' in text
    assert 'image: "mine:1"' in text
    assert "no container on it does" not in text
    assert "sends it the token" in text, "a link may have been made by anyone"
    own = await raw(local, "GET", "/add-machine?server=http://queue.example/", Host="queue.example")
    assert "sends it the token" not in await own.get_data(as_text=True)
    local_one = await raw(local, "GET", "/add-machine?server=http://127.0.0.1:8080")
    assert "no container on it does" in await local_one.get_data(as_text=True)


async def test_what_cannot_be_is_refused_and_nothing_is_made(local: LocalServer, autojump_clock: Any) -> None:
    answer = await raw(local, "GET", "/add-machine?server=queue.example&type=scan&labels=gpu")
    assert answer.status_code == 422
    text = await answer.get_data(as_text=True)
    assert "is no address" in text
    for typed in ("queue.example", "scan", "gpu"):
        assert f'value="{typed}"' in text, "it is there to be mended"
    assert NO_TOKEN not in text


async def form(local: LocalServer, secret: str, **fields: str) -> Any:
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/x-www-form-urlencoded",
               "Sec-Fetch-Site": "same-origin"}  # fmt: skip
    body = urlencode({"machine": "yes", "name": "machines for scan", "scopes": "work"} | fields)
    return await local.http.open("/do/admin/tokens", method="POST", headers=headers, data=body.encode())


async def test_a_token_for_which_nothing_is_ticked_is_not_made(local: LocalServer, autojump_clock: Any) -> None:
    """Without script, too: the usual scopes would be those that were unticked."""
    headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Sec-Fetch-Site": "same-origin",
               "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
    answer = await local.http.open("/do/admin/tokens", method="POST", headers=headers, data=b"name=scanner")
    assert answer.status_code == 303
    assert [each["name"] for each in (await local.call("GET", "/api/admin/tokens"))[1]] == [
        "first-start administrator"
    ]


async def test_a_token_is_made_for_it_and_shown_once(local: LocalServer, autojump_clock: Any) -> None:
    said = {"type": "scan", "command": "ocr {source} {output}", "labels": "gpu", "server": "https://q.example"}
    made = await form(local, local.parts.admin_token, **said)
    assert made.status_code == 200
    text = html.unescape(await made.get_data(as_text=True))
    secret = text.partition('<pre id="secret" class="once">')[2].partition("<")[0]
    assert secret.startswith("bf_")
    assert text.count(secret) == 5, "beside its place in each of the commands"
    assert "--type scan --exec 'ocr {source} {output}' --label gpu" in text
    (kept,) = [each for each in (await local.call("GET", "/api/admin/tokens"))[1] if each["name"] != "first-start"
               and each["name"] == "machines for scan"]  # fmt: skip
    assert kept["scopes"] == ["work"]
    await local.register("m1", "scan", headers={"Authorization": f"Bearer {secret}"})
    again = await raw(local, "GET", "/add-machine?type=scan")
    assert secret not in await again.get_data(as_text=True)
    # What a form of somebody else's making says of the machine loses no token that was made.
    odd = await form(local, local.parts.admin_token, server="no address")
    assert "The new API token" in await odd.get_data(as_text=True)


async def test_who_may_not_make_a_token_is_told_what_to_ask_for(local: LocalServer, autojump_clock: Any) -> None:
    reader = await token(local, "read")
    headers = {"Authorization": f"Bearer {reader}"}
    page = await local.http.open("/add-machine", method="GET", headers=headers)
    text = await page.get_data(as_text=True)
    assert page.status_code == 200
    assert "Make a token" not in text
    assert "blobforge tokens create NAME --scope work" in text
    assert (await form(local, reader)).status_code == 403
