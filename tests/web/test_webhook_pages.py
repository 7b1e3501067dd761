"""The pages of webhooks as a browser without script has them: forms, their answers, and the log of deliveries."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from actors.courier import CallAnswer
from blobforge.store.sql import webhooks
from tests.fixtures.local import LocalServer
from tests.web.calls import raw
from web.dashboard import actions

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def send(local: LocalServer, path: str, fields: list[tuple[str, str]]) -> tuple[int, str]:
    answer = await raw(local, "POST", f"/do/admin/webhooks{path}", urlencode(fields).encode(), **FORM)
    return answer.status_code, await answer.get_data(as_text=True)


async def seen(local: LocalServer, path: str = "") -> str:
    answer = await raw(local, "GET", f"/admin/webhooks{path}")
    assert answer.status_code == 200
    return await answer.get_data(as_text=True)


async def known(local: LocalServer) -> Any:
    return (await local.call("GET", "/api/admin/webhooks/1"))[1]


async def test_a_webhook_is_made_and_changed_by_its_forms(local: LocalServer, autojump_clock: Any) -> None:
    assert "No other system is told" in await seen(local)
    assert (await send(local, "", [("url", "https://127.0.0.1/"), ("events", "job.dead")]))[0] == 303
    assert (await local.call("GET", "/api/admin/webhooks"))[1] == []
    fields = [("url", "https://a.example/"), ("events", "job.dead"), ("events", "batch.ended"), ("batch", "7"),
              ("types", "pdf\r\n scan\r\n"), ("tags", "night, late"), ("results", "true")]  # fmt: skip
    status, page = await send(local, "", fields)
    assert status == 200
    assert "whsec_" in page
    made = await known(local)
    assert (made["types"], made["tags"], made["batch"], made["results"]) == (
        ["pdf", "scan"],
        ["night, late"],
        7,
        True,
    )
    assert "whsec_" not in await seen(local) + await seen(local, "/1")
    # All of it stands in the form; what is empty there is taken away, and what is not ticked is no.
    for each in ("https://a.example/", ">pdf\nscan</textarea>", ">night, late</textarea>", 'value="7"'):
        assert each in await seen(local, "/1")
    assert (await send(local, "/1", [("whole", "true"), ("url", "https://b.example/"), ("events", "job.dead")]))[
        0
    ] == 303
    changed = await known(local)
    assert (changed["url"], changed["events"]) == ("https://b.example/", ["job.dead"])
    assert not {"batch", "types", "tags", "results"} & changed.keys()
    # A form with no event ticked changes nothing.
    assert (await send(local, "/1", [("whole", "true"), ("url", "https://c.example/")]))[0] == 303
    assert await known(local) == changed
    assert (await send(local, "/1", [("enabled", "false")]))[0] == 303
    assert "disabled" in await seen(local)
    assert (await known(local))["events"] == ["job.dead"]
    assert (await send(local, "/1", [("enabled", "true")]))[0] == 303
    status, page = await send(local, "/1/rotate", [("overlap", "3600")])
    assert status == 200
    assert "too, until" in page
    assert (await send(local, "/1/delete", []))[0] == 303
    assert (await local.call("GET", "/api/admin/webhooks"))[1] == []
    assert (await raw(local, "GET", "/admin/webhooks/1")).status_code == 404


async def test_what_was_given_up_is_found_and_sent_again(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LOOKED_AT", 3)
    monkeypatch.setattr(actions, "MOST_PAGES", 0)
    answers = [CallAnswer(200, "well")] * 4 + [CallAnswer(410, "gone")] + [CallAnswer(200, "well")] * 6

    async def call(url: str, body: bytes, headers: Any) -> CallAnswer:
        return answers.pop(0)

    local.parts.courier.call = call
    assert "It was sent nothing yet." in await seen_after_making(local)
    for _ in range(5):
        assert (await send(local, "/1/test", []))[0] == 303
        await trio.sleep(1)
    assert (await known(local))["disabled_why"] == "it answered 410 Gone"
    assert "it answered 410 Gone" in await seen(local)
    # It waits; of a state only so many are looked at, and the page says that there are more.
    waiting = await seen(local, "/1?state=waiting")
    assert "delivery-5" in waiting
    assert "delivery-4" not in waiting
    assert "cursor=3" in waiting
    assert "There is none in that state." in await seen(local, "/1?state=failed&cursor=2")
    assert "None so far" in await seen(local, "/1?state=failed")
    assert (await raw(local, "GET", "/admin/webhooks/1?state=odd")).status_code == 422
    await send(local, "/1", [("enabled", "true")])
    await trio.sleep(10)
    assert "Send again" in await seen(local, "/1")
    # More than one form sends: a person says whether to go on. What they cannot have come by counts for nothing.
    time = [("since", "2020-01-01T00:00"), ("all", "true")]
    status, page = await send(local, "/1/redeliver", [*time, ("sent", "x")])
    assert status == 200
    assert "<strong>3</strong> deliveries are sent again so far." in page
    assert '<input type="hidden" name="cursor" value="3">' in page
    await trio.sleep(1)
    assert (await send(local, "/1/redeliver", [*time, ("sent", "3"), ("cursor", "3")]))[0] == 303
    await trio.sleep(1)
    assert answers == []
    assert "5 deliveries are sent again." in await seen(local, "/1")
    noted = (await local.call("GET", "/api/admin/audit?action=webhook.redeliver"))[1]
    assert len(noted["entries"]) == 2


async def seen_after_making(local: LocalServer) -> str:
    assert (await send(local, "", [("url", "https://a.example/"), ("events", "job.dead")]))[0] == 200
    return await seen(local, "/1")
