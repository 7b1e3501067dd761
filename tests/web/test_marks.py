"""Marks of installations: what a store holds beside what this database knows of is another's, and stays."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from structlog.testing import capture_logs

from blobforge.objects.keys import UNKNOWN_INSTALLATION, mark_key, source_key
from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.seaweed import Seaweed
from tests.web.calls import assert_problem
from tests.web.test_accepted import Both, beside_s3

CONTENT = b"a document of both"
KEY = source_key(sha256(CONTENT).hexdigest())
LOUD = "THIS DATABASE IS NEW, AND THE OBJECT STORE IS NOT EMPTY"


async def spared(both: Both, key: str) -> None:
    """Until the janitor has put the key off its list, and not by deleting the object."""

    async def is_off_the_list() -> bool:
        return not await both.local.parts.reads.run(lambda reader: reader.is_doomed(key))

    await both.until(is_off_the_list)
    assert await there(both, key)


async def deleted(both: Both, key: str) -> None:
    async def is_gone() -> bool:
        return not await there(both, key)

    await both.until(is_gone)


async def marked(both: Both) -> None:
    """Until the server has left its mark, and has looked for others."""

    async def is_left() -> bool:
        return both.local.parts.services.janitor.others is not None

    await both.until(is_left)


async def told(both: Both, said: list[str]) -> None:
    """Until this stands under attention. A look from before the other's mark has not seen it; the next one does."""

    async def is_told() -> bool:
        return bool(await attention(both.local) == said)

    await both.until(is_told)


async def there(both: Both, key: str) -> bool:
    return await both.local.parts.services.objects.head(key) is not None


async def attention(local: LocalServer) -> Any:
    return (await local.call("GET", "/api/stats/attention"))[1]["store"]


async def test_two_databases_beside_one_bucket_never_delete_each_others_sources(
    seaweed: Seaweed, tmp_path: Path
) -> None:
    prefix = f"marks/{tmp_path.name}"
    async with (
        beside_s3(tmp_path / "a", seaweed, prefix) as first,
        beside_s3(tmp_path / "b", seaweed, prefix) as second,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        a, b = Both(first, http), Both(second, http)
        await marked(a)
        await marked(b)
        assert await a.pending(CONTENT) == 1
        body = {"type": "pdf", "source_hash": sha256(CONTENT).hexdigest()}
        assert (await second.call("POST", "/api/jobs", body))[0] == 201

        async def other_is_pending() -> bool:
            return bool((await second.job(1))["status"] == "pending")

        await b.until(other_is_pending)
        assert (await first.call("DELETE", "/api/jobs/1"))[0] == 204
        await spared(a, KEY)  # the other's job needs it
        other = second.parts.installation
        await told(a, [f"other installations use it ({other}): sources and orphans are not deleted"])
        search = await first.call("POST", "/api/admin/orphans", {"dry_run": False})
        assert mark_key(other) in assert_problem(search, 409, "store-shared")["detail"]
        assert (await first.call("POST", "/api/admin/orphans", {"dry_run": True}))[0] == 200
        # Once the mark of the other is removed, this one deletes.
        await first.parts.services.objects.delete(mark_key(other))
        assert (await first.call("POST", "/api/jobs", body))[0] == 201
        assert (await first.call("DELETE", "/api/jobs/2"))[0] == 204
        await deleted(a, KEY)


async def test_an_empty_database_beside_a_used_store_says_so_and_deletes_nothing_of_it(
    tmp_path: Path, autojump_clock: Any
) -> None:
    folder = tmp_path / "data"
    async with open_local(folder) as local:
        await local.submit(CONTENT)
        assert await attention(local) == []
    (folder / "objects" / mark_key(local.parts.installation)).unlink()  # as a release without marks left it
    for file in folder.glob("blobforge.db*"):
        file.unlink()
    with capture_logs() as logs:
        async with open_local(folder) as local:
            await _is_loud_and_careful(local, UNKNOWN_INSTALLATION)
    assert [entry["log_level"] for entry in logs if entry["event"].startswith(LOUD)] == ["error"]
    with capture_logs() as logs:
        async with open_local(folder) as local:
            await marked(Both(local, httpx.AsyncClient()))
            assert await local.parts.services.objects.head(KEY) is not None
    assert [entry for entry in logs if entry["event"].startswith(LOUD)] == [], "once is enough: it has its mark"


async def _is_loud_and_careful(local: LocalServer, other: str) -> None:
    both = Both(local, httpx.AsyncClient())
    await marked(both)
    new, shared = await attention(local)
    assert new == "this database is new, and the object store held objects before it"
    assert other in shared
    await local.submit(CONTENT)
    assert (await local.call("DELETE", "/api/jobs/1"))[0] == 204
    await spared(both, KEY)
