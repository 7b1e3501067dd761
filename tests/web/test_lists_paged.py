"""Every list is paged, and those that grow are filtered: each thing is on one page, and on one only."""

from __future__ import annotations

import html
import re
from typing import Any, get_args, get_origin
from urllib.parse import urlencode

import msgspec
import msgspec.inspect
import pytest
import trio

from actors.mailbox import ask
from actors.messages import AdvanceSearch, BeginSearch, NewSession, Person, RecordDrill, SignIn
from blobforge.job import Attempt, Job, Outcome
from blobforge.people import AuditEntry
from blobforge.search import SearchedPage, SearchName
from blobforge.store.lists import MOST_IDS, PAGE_BYTES
from blobforge.store.sqlite import reader as reading
from tests.fixtures.local import EPOCH_MS, LocalServer
from tests.web.calls import assert_problem, raw, token
from web.api import ROUTES
from web.api.timeline import latest

# What holds a list and has no pages, each with what bounds it.
BOUNDED = {
    "/api/jobs/<id:job_id>": "the last 50 attempts; the others at /attempts. The first 50 paths; all at /paths. "
    "The first 50 children; all at /children",
    "/api/jobs/<id:job_id>/result": "one value, as large as a completion may be",
    "/api/failures/<id:failure_id>": "20 workers",
    "/api/workers/<worker:worker_id>": "the first hundred jobs that it runs",
    "/api/stats/history": "a fixed number of slots",
    "/api/stats/times": "the same, and as many steps of a histogram",
    "/api/stats/marks": "50 of them",
    "/api/stats/causes": "the same, of the most frequent causes",
    "/api/stats/attention": "20 of each kind",
    "/api/scale": "a thousand idle workers: no program ends more at a time",
    "/api/admin/backup": "the last ten drills; all of them at /drills",
    "/api/admin/settings": "the settings that there are",
    "/api/admin/database": "a remark on each subject",
    "/api/servers": "the servers that share a database: a handful",
    "/api/auth/me": "the scopes that there are",
    "/api/canaries/<id:canary_id>/report": "the worst, 200 at most; all at /jobs",
    "/api/auth/info": "one caller",
    "/api/admin/webhooks/<id:webhook_id>": "what it asks for: 50 of each kind",
    "/api/installation": "the keys that were lost with a signing secret",
}


def has_list(type_: Any) -> bool:
    """Whether an answer of this type holds an array of what was kept."""
    if get_origin(type_) is list or type_ is list:
        return True
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return any(
            isinstance(shape, msgspec.inspect.ListType)
            for field in msgspec.inspect.type_info(type_).fields  # type: ignore[attr-defined]
            for shape in (field.type, *getattr(field.type, "types", ()))
        )
    return any(has_list(each) for each in get_args(type_))


def test_every_list_of_the_api_is_paged() -> None:
    lists = [route for route in ROUTES if route.method == "GET" and has_list(route.gives)]
    assert len(lists) > 12
    for route in lists:
        fields = route.query.__struct_fields__ if route.query is not None else ()
        assert {"limit", "cursor"} <= set(fields) or route.path in BOUNDED, route.path


async def every_page(local: LocalServer, path: str) -> list[list[Any]]:
    """All pages of a JSON array, by its `Link`."""
    pages = []
    following: str | None = path
    while following is not None:
        answer = await raw(local, "GET", following)
        assert answer.status_code == 200, await answer.get_data()
        pages.append(msgspec.json.decode(await answer.get_data(as_text=False)))
        link = answer.headers.get("Link")
        following = link[1:].partition(">")[0] if link is not None else None
    return pages


async def texts(local: LocalServer, path: str, pattern: str) -> list[list[str]]:
    """What the pattern finds on each page of the dashboard, by the link to the next one."""
    pages = []
    following: str | None = path
    while following is not None:
        answer = await raw(local, "GET", following)
        assert answer.status_code == 200, following
        text = (await answer.get_data()).decode()
        pages.append(re.findall(pattern, text))
        link = re.search(r'href="([^"]+)" rel="next"', text)
        following = html.unescape(link[1]).partition("#")[0] if link else None
    return pages


async def sign_in(local: LocalServer, number: int, *, times: int = 1) -> None:
    """A person signs in, so many times in one moment."""
    name = f"Päula {number}" if number % 2 else f"Max {number}"
    person = Person("https://idp", f"s{number}", f"p{number}@example.org", name, (), number == 0)
    for time in range(times):
        session = NewSession(f"{time:04x}{number:060x}", EPOCH_MS + 10**9, agent=f"browser {time}")
        await local.ask(SignIn(session, person))


async def test_tokens_are_filtered(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(5):
        await token(local, "work" if number % 2 else "read", name=f"Ärger {number}")
    await token(local, "admin", name="short", expires_in=0.001)
    await trio.sleep(100)

    async def names(**query: str) -> list[str]:
        found = await every_page(local, f"/api/admin/tokens?{urlencode(query | {'limit': 2})}")
        assert all(len(page) <= 2 for page in found)
        return [each["name"] for page in found for each in page]

    assert await names(q="ÄRGER") == [f"Ärger {number}" for number in range(5)]
    assert await names(q="ger 3", scope="work") == ["Ärger 3"]
    assert await names(scope="work") == ["Ärger 1", "Ärger 3"]
    assert await names(expired="true") == ["short"]
    assert "short" not in await names(expired="false")
    assert len(await names()) == 7  # with the first administrator's
    assert_problem(await local.call("GET", "/api/admin/tokens?scope=everything"), 422, "invalid", field="scope")
    row = r'id="token-(\d+)"'
    assert len((await texts(local, "/admin/tokens?q=%C3%84rger&scope=read", row))[0]) == 3
    assert len((await texts(local, "/admin/tokens?expired=true", row))[0]) == 1


async def test_users_and_their_sessions_are_filtered_and_paged(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(4):
        await sign_in(local, number)
    await sign_in(local, 7, times=25)

    async def names(**query: str) -> list[str]:
        pages = await every_page(local, f"/api/admin/users?{urlencode(query | {'limit': 2})}")
        return [each["name"] for page in pages for each in page]

    assert await names(q="PÄULA") == ["Päula 1", "Päula 3", "Päula 7"]
    assert await names(q="p2@example") == ["Max 2"]
    assert await names(admin="true") == ["Max 0"]
    assert len(await names(admin="false")) == 4
    # All of one moment, as far as the clock can tell: the hash keeps them apart.
    (sessions,) = await every_page(local, "/api/admin/users/5/sessions")
    assert len(sessions) == 25
    pages = await every_page(local, "/api/admin/users/5/sessions?limit=10")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert sorted(each["agent"] for page in pages for each in page) == sorted(each["agent"] for each in sessions)
    wrong = await local.call("GET", "/api/admin/users/5/sessions?cursor=x")
    assert_problem(wrong, 422, "invalid", field="cursor")
    assert_problem(await local.call("GET", "/api/admin/users/99/sessions"), 404, "no-such-user")
    # The page of users names the latest of them, and says that there are more.
    (page,) = await texts(local, "/admin/users?q=7", r"browser \d+|20 or more")
    assert len(page) == 21
    assert "20 or more" in page
    assert (await texts(local, "/admin/users?admin=true", r'id="user-(\d+)"')) == [["1"]]


async def test_workers_are_found_by_name_and_by_being_disabled(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(3):
        await local.register(f"Gpü-{number}")
    await local.call("POST", "/api/admin/workers/Gpü-1/disable")
    for query, ids in {
        "q=GP%C3%9C": ["Gpü-0", "Gpü-1", "Gpü-2"], "enabled=false": ["Gpü-1"], "enabled=true&q=2": ["Gpü-2"],
    }.items():  # fmt: skip
        assert [each["id"] for each in (await every_page(local, f"/api/workers?{query}"))[0]] == ids


async def test_a_worker_with_many_jobs_is_shown_by_the_first(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(MOST_IDS + 5):
        await local.submit(b"%d" % number, metadata={"about": "x" * 20_000})
    for _ in range(7):
        await local.claim(limit=30)
    status, shown = await local.call("GET", "/api/workers/w1")
    assert status == 200
    assert shown["current_job_ids"] == list(range(1, MOST_IDS + 1))
    seen: list[int] = []
    cursor = ""
    while True:  # what it runs, all of it: a page holds so many bytes
        _, page = await local.call("GET", f"/api/jobs?status=running&worker=w1&limit=100{cursor}")
        seen += [job["id"] for job in page["jobs"]]
        assert len(page["jobs"]) <= PAGE_BYTES // 20_000
        assert page["total"] == MOST_IDS + 5
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == list(range(1, MOST_IDS + 6))
    named = await local.parts.reads.run(lambda reader: reader.jobs_running_on("w1", limit=MOST_IDS))
    assert named == shown["current_job_ids"]
    text = (await (await raw(local, "GET", "/workers/w1")).get_data()).decode()
    assert text.count("<p><span") <= MOST_IDS


async def test_a_timeline_is_paged(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit()
    for number in range(12):
        await local.call("PATCH", "/api/jobs/1/priority", {"priority": 1 + number % 5})
        await trio.sleep(1)
        grant = await local.claim()
        await trio.sleep(1)
        await local.call(
            "POST", "/api/jobs/1/release", {"worker_id": "w1", "lease": grant["lease"], "cause": "shutdown"}
        )
    (whole,) = await every_page(local, "/api/jobs/1/events")
    assert len(whole) == 1 + 12 + 24
    pages = await every_page(local, "/api/jobs/1/events?limit=5")
    assert len(pages) == 5
    # The latest page comes first; each is in order by itself. Together they are all that there is, once.
    assert [event for page in reversed(pages) for event in page] == whole
    for wrong in ("x", "1", "1-2-3", "-1-2"):
        assert_problem(await local.call("GET", f"/api/jobs/1/events?cursor={wrong}"), 422, "invalid", field="cursor")
        assert (await raw(local, "GET", f"/jobs/1?events={wrong}")).status_code == 422


async def test_the_page_of_a_job_leads_to_what_was_before(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    for number in range(130):
        await local.call("PATCH", "/api/jobs/1/priority", {"priority": 1 + number % 5})
    pages = await texts(local, "/jobs/1", "changed its priority|It was submitted")
    assert [len(page) for page in pages] == [100, 31]


def test_a_page_of_a_timeline_keeps_each_order_whatever_the_clock() -> None:
    """The wall clock was set back between the attempts: by number they stay in order, and none is lost."""
    clock = [50, 10, 90, 20, 20, 70]
    attempts = [Attempt(1, n, "w", "l", clock[n - 1], clock[n - 1], Outcome.RELEASED) for n in range(6, 0, -1)]
    records = [AuditEntry(n, at, "a", "a", "", "job.retry", "1") for n, at in ((9, 15), (8, 80), (7, 20))]
    seen_attempts: list[int] = []
    seen_records: list[int] = []
    below = (99, 99)
    for _ in range(9):
        left = (
            [each for each in attempts if each.attempt < below[0]],
            [each for each in records if each.id < below[1]],
        )
        page = latest(left[0][:3], left[1][:3], below=below, limit=2)
        seen_attempts += [each.attempt for each in page.attempts]
        seen_records += [each.id for each in page.records]
        if page.following is None:
            break
        below = page.following
    assert seen_attempts == [6, 5, 4, 3, 2, 1]
    assert seen_records == [9, 8, 7]


async def test_the_attempts_on_the_page_of_a_worker_lead_on(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w 1")
    await local.submit()
    for _ in range(60):
        grant = await local.claim("w 1")
        body = {"worker_id": "w 1", "lease": grant["lease"], "cause": "shutdown"}
        await local.call("POST", "/api/jobs/1/release", body)
        await trio.sleep(1)
    pages = await texts(local, "/workers/w%201", r"attempt (\d+),")
    assert [each for page in pages for each in page] == [str(number) for number in range(60, 0, -1)]
    assert len(pages) == 3
    assert (await raw(local, "GET", "/workers/w%201?attempts=x")).status_code == 422


async def test_drills_are_filtered_and_paged(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(25):
        ok = number % 5 > 0
        await local.ask(
            RecordDrill(EPOCH_MS + number, EPOCH_MS + number + 1, ok, EPOCH_MS if ok else None, f"n{number}")
        )
    seen: list[str] = []
    cursor: int | None = None
    while True:
        path = "/api/admin/backup/drills?limit=10" + (f"&cursor={cursor}" if cursor else "")
        status, page = await local.call("GET", path)
        assert status == 200
        seen += [each["detail"] for each in page["drills"]]
        if (cursor := page.get("next_cursor")) is None:
            break
    assert seen == [f"n{number}" for number in range(24, -1, -1)]
    _, failed = await local.call("GET", "/api/admin/backup/drills?ok=false")
    assert [each["detail"] for each in failed["drills"]] == ["n20", "n15", "n10", "n5", "n0"]
    pages = await texts(local, "/admin/backup", r"<bdi>(n\d+)</bdi>")
    assert [each for page in pages for each in page] == seen
    assert len(pages) == 2


async def test_causes_are_filtered_and_paged(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(7):
        await local.submit(b"%d" % number)
        grant = await local.claim()
        body = {"worker_id": "w1", "lease": grant["lease"], "error": "no", "kind": f"Kind{'äbcdefg'[number]}"}
        body["retryable"] = False
        assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body))[0] == 200
        await trio.sleep(1)
    kinds: list[str] = []
    path = "/api/failures?limit=3"
    while True:
        status, page = await local.call("GET", path)
        assert status == 200
        assert page["total"] == 7
        kinds += [each["kind"] for each in page["failures"]]
        if "next_cursor" not in page:
            break
        path = f"/api/failures?limit=3&cursor={page['next_cursor']}"
    assert kinds == [f"Kind{letter}" for letter in "gfedcbä"]
    _, found = await local.call("GET", "/api/failures?q=KIND%C3%84")
    assert [each["kind"] for each in found["failures"]] == ["Kindä"]
    assert_problem(await local.call("GET", "/api/failures?cursor=1"), 422, "invalid", field="cursor")
    assert (await texts(local, "/failures?q=kindc", r"<code>(Kind\w)</code>")) == [["Kindc"]]


async def test_what_a_search_for_orphans_names_is_paged(local: LocalServer, autojump_clock: Any) -> None:
    names = [f"sources/{number:064x}" for number in range(35)]
    writer = local.parts.writer.mailbox
    await ask(writer, BeginSearch(SearchName.ORPHANS, "a server", False, "sources/"))
    for at in (0, 20):
        page = SearchedPage(1000, tuple((name, 1) for name in names[at : at + 20]), "sources/", names[at])
        await ask(writer, AdvanceSearch(SearchName.ORPHANS, "a server", page))
    _, first = await local.call("GET", "/api/admin/orphans")
    assert (first["examples"], first["next_cursor"]) == (names[:10], 10)
    _, last = await local.call("GET", "/api/admin/orphans?limit=20&cursor=20")
    assert last["examples"] == names[20:]
    assert "next_cursor" not in last


async def test_a_list_by_a_tag_holds_one_page(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that match no more than their places are held: a few hundred large jobs would be as many megabytes."""
    for number in range(40):
        await local.submit(b"%d" % number, tags=["t"], metadata={"about": "x" * 60_000}, priority=1 + number % 5)
    loaded: list[int] = []
    whole = reading.Reader.job

    def counted(self: reading.Reader, job_id: int) -> Job | None:
        loaded.append(job_id)
        return whole(self, job_id)

    monkeypatch.setattr(reading.Reader, "job", counted)
    _, page = await local.call("GET", "/api/jobs?tag=t&limit=100")
    assert page["total"] == 40
    assert len(page["jobs"]) == PAGE_BYTES // 60_000
    assert len(loaded) == len(page["jobs"]) + 1
