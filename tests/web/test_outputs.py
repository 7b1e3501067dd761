"""Several outputs of one attempt: told of, uploaded, completed, listed, fetched, deleted."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.fixtures.engines import contents, looked_into
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish, raw
from tests.web.test_accepted import Both, both, seaweed_or_none  # noqa: F401 - fixtures
from tests.web.test_files import path_of, put

UPLOAD = "/api/files/upload-url"


async def claimed(local: LocalServer, content: bytes = b"the source") -> dict[str, Any]:
    await local.submit(content)
    await local.register()
    status, grant = await local.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf"})
    assert status == 200
    return grant


async def named(local: LocalServer, grant: dict[str, Any], *names: Any) -> tuple[int, Any]:
    body = {"job_id": grant["job"]["id"], "lease": grant["lease"], "worker_id": "w1", "names": list(names)}
    return await local.call("POST", UPLOAD, body)


async def brought(local: LocalServer, grant: dict[str, Any], *names: str) -> None:
    status, answer = await named(local, grant, *names)
    assert status == 200, answer
    assert [each["name"] for each in answer["urls"]] == list(names)
    for each in answer["urls"]:
        assert await put(local, each["url"], each["name"].encode()) == 200


async def completed(local: LocalServer, grant: dict[str, Any], outputs: Any) -> tuple[int, Any]:
    body = {"worker_id": "w1", "lease": grant["lease"], "outputs": outputs}
    return await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)


async def listed(local: LocalServer, job_id: int, limit: int = 500) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        status, page = await local.call("GET", f"/api/jobs/{job_id}/outputs?limit={limit}&cursor={quote(cursor)}")
        assert status == 200, page
        found += page["outputs"]
        if "next_cursor" not in page:
            return found
        cursor = page["next_cursor"]


async def fetched(local: LocalServer, job_id: int, name: str | None = None) -> bytes:
    asked = f"?name={quote(name)}" if name is not None else ""
    status, answer = await local.call("GET", f"/api/files/{job_id}/output/url{asked}")
    assert status == 200, answer
    return await (await raw(local, "GET", path_of(answer["url"]), Authorization="")).get_data(as_text=False)


NAMES = ["z main.md", "img/1.png", "img/2.png", ".hidden", "output", "back\\slash", "é/\u05d0.txt"]


async def test_many_outputs_are_one_result(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    await brought(local, grant, *NAMES)
    said = [{"name": name, "media_type": "text/x"} for name in NAMES]
    said[1]["checksum"] = hashlib.sha256(b"img/1.png").hexdigest()
    assert await completed(local, grant, said) == (200, {"status": "completed"})
    found = await listed(local, 1, limit=2)
    assert [each["name"] for each in found] == sorted(NAMES)
    assert all(each["size"] == len(each["name"].encode()) and each["media_type"] == "text/x" for each in found)
    assert {each["name"]: each.get("sha256") for each in found}["img/1.png"] == said[1]["checksum"]
    assert await fetched(local, 1) == b"z main.md"
    for name in NAMES:
        assert await fetched(local, 1, name) == name.encode()
    items = [{"job_id": 1, "kind": "output", "name": name} for name in NAMES] + [{"job_id": 1, "kind": "output"}]
    status, many = await local.call("POST", "/api/files/urls", {"items": items})
    assert status == 200
    assert [each["size"] for each in many["items"]] == [len(name.encode()) for name in [*NAMES, "z main.md"]]
    assert_problem(await local.call("GET", "/api/files/1/output/url?name=other"), 404, "no-such-object")


async def test_what_was_not_asked_for_is_no_part_of_the_result(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    await brought(local, grant, "a", "b", "c")
    assert await completed(local, grant, [{"name": "a"}, {"name": "c"}]) == (200, {"status": "completed"})
    assert [each["name"] for each in await listed(local, 1)] == ["a", "c"]
    assert_problem(await local.call("GET", "/api/files/1/output/url?name=b"), 404, "no-such-object")


async def test_all_that_was_told_of_is_there_or_nothing_is_accepted(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    assert_problem(await completed(local, grant, "all"), 409, "output-missing")
    await brought(local, grant, "a")
    assert (await named(local, grant, "b", "c"))[0] == 200
    refused = await completed(local, grant, "all")
    assert_problem(refused, 409, "output-missing")
    assert "'b'" in refused[1]["detail"]
    assert await listed(local, 1) == []
    assert_problem(await completed(local, grant, [{"name": "a", "size": 2}]), 409, "output-missing")
    assert await completed(local, grant, [{"name": "a", "size": 1}]) == (200, {"status": "completed"})
    # Its answer was lost: the same again.
    assert await completed(local, grant, [{"name": "a", "size": 1}]) == (200, {"status": "completed"})
    assert [each["name"] for each in await listed(local, 1)] == ["a"]


async def test_all_means_all_that_were_told_of(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    await brought(local, grant, "a", "b/c")
    assert await completed(local, grant, "all") == (200, {"status": "completed"})
    assert [each["name"] for each in await listed(local, 1)] == ["a", "b/c"]


async def test_of_all_the_main_one_may_be_named(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    await brought(local, grant, "a", "b", "c")
    body = {"worker_id": "w1", "lease": grant["lease"], "outputs": "all"}
    for key in (grant["output_key"], grant["output_key"].replace("/output", "/d")):
        refused = await local.call("POST", "/api/jobs/1/complete", body | {"output_key": key})
        assert_problem(refused, 422, "invalid")
    main = grant["output_key"].removesuffix("output") + "b"
    for _ in range(2):  # the first answer was lost
        done = await local.call("POST", "/api/jobs/1/complete", body | {"output_key": main})
        assert done == (200, {"status": "completed"})
    assert await fetched(local, 1) == b"b"
    assert [each["name"] for each in await listed(local, 1)] == ["a", "b", "c"]


async def test_two_attempts_are_never_mixed(local: LocalServer, autojump_clock: Any) -> None:
    first = await claimed(local)
    await brought(local, first, "a", "of the first")
    body = {"worker_id": "w1", "lease": first["lease"], "cause": "shutdown"}
    assert (await local.call("POST", "/api/jobs/1/release", body))[0] == 200
    _, second = await local.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf"})
    assert_problem(await named(local, first, "late"), 409, "lease-lost")
    await brought(local, second, "a", "of the second")
    assert_problem(await completed(local, first, "all"), 409, "lease-lost")
    assert (await completed(local, second, "all"))[0] == 200
    assert [each["name"] for each in await listed(local, 1)] == ["a", "of the second"]


async def test_accepted_is_final(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    status, answer = await named(local, grant, "a", "b")
    assert status == 200
    first, second = (each["url"] for each in answer["urls"])
    assert await put(local, first, b"right") == 200
    assert await put(local, first, b"wrong") == 412
    assert (await completed(local, grant, [{"name": "a"}]))[0] == 200
    assert await put(local, first, b"wrong") == 409
    assert await put(local, second, b"too late") == 409
    assert await put(local, grant["upload_url"], b"the one of the claim") in (200, 409)
    assert await fetched(local, 1) == b"right"


async def test_an_upload_may_be_bound_to_its_bytes(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    checksum = hashlib.sha256(b"right").hexdigest()
    status, answer = await named(local, grant, {"name": "a", "checksum": checksum, "media_type": "text/plain"})
    assert status == 200
    assert await put(local, answer["urls"][0]["url"], b"wrong") == 422
    assert await put(local, answer["urls"][0]["url"], b"right") == 200
    assert (await completed(local, grant, "all"))[0] == 200
    assert await listed(local, 1) == [{"name": "a", "size": 5, "sha256": checksum, "media_type": "text/plain"}]


@pytest.mark.parametrize(
    "name",
    [
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a/.",
        "",
        "x" * 256,
        "é" * 257,
        "a/" * 255 + "bcd",
        "e\u0301",
        "a\nb",
    ],
)
async def test_a_name_that_leads_elsewhere_is_refused(local: LocalServer, name: str, autojump_clock: Any) -> None:
    grant = await claimed(local)
    assert (await named(local, grant, name))[0] == 422
    assert (
        await local.call(
            "POST", "/api/jobs/1/outputs", {"lease": grant["lease"], "worker_id": "w1", "outputs": [{"name": name}]}
        )
    )[0] == 422


async def test_no_output_is_the_folder_of_another(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    assert_problem(await named(local, grant, "a/b", "a"), 422, "invalid")
    assert (await named(local, grant, "a/b/c"))[0] == 200
    for name in ("a", "a/b", "a/b/c/d"):
        assert_problem(await named(local, grant, name), 422, "invalid")
    assert (await named(local, grant, "a/b/d", "a/bc", "a.b"))[0] == 200


async def test_an_attempt_has_ten_thousand_outputs_and_no_more(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    for start in range(0, 10_000, 500):
        outputs = [{"name": f"{number:05}"} for number in range(start, start + 500)]
        body = {"lease": grant["lease"], "worker_id": "w1", "outputs": outputs}
        assert await local.call("POST", "/api/jobs/1/outputs", body) == (200, {"outputs": 500})
    assert_problem(await named(local, grant, "one more"), 422, "invalid")
    assert (await named(local, grant, "00000"))[0] == 200


async def test_one_output_is_a_list_of_one(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"the source")
    assert await listed(local, 1) == []
    await local.register()
    await finish(local, result={"filename": "a.md"})
    (only,) = await listed(local, 1)
    assert (only["name"], only["size"]) == ("a.md", len(b"converted"))
    assert_problem(await local.call("GET", "/api/jobs/2/outputs"), 404, "no-such-job")


async def test_outputs_go_with_their_job(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    await brought(local, grant, *NAMES)
    assert (await completed(local, grant, "all"))[0] == 200
    folder = local.folder / "objects" / "outputs"
    assert sum(path.is_file() for path in folder.rglob("*")) >= len(NAMES)
    assert (await local.call("DELETE", "/api/jobs/1"))[0] == 204
    await trio.sleep(60)
    assert not any(path.is_file() for path in folder.rglob("*"))
    with looked_into(local.parts.services.settings.database) as database:
        assert contents(database)["outputs"] == []


async def test_a_job_with_one_output_and_a_list_of_names_is_refused(local: LocalServer, autojump_clock: Any) -> None:
    grant = await claimed(local)
    body = {"worker_id": "w1", "lease": grant["lease"], "outputs": [{"name": "a"}], "output_key": grant["output_key"]}
    assert_problem(await local.call("POST", "/api/jobs/1/complete", body), 422, "invalid")
    assert_problem(await local.call("POST", UPLOAD, {"source_hash": "0" * 64, "names": ["a"]}), 422, "invalid")


async def test_several_outputs_beside_either_store(both: Both) -> None:  # noqa: F811
    job_id = await both.pending()
    await both.local.register()
    grant = await both.local.claim()
    for start in range(0, 60, 30):
        names = [f"pages/{number}/\u00fc {number}.md" for number in range(start, start + 30)]
        status, answer = await named(both.local, grant, *names)
        assert status == 200
        for each in answer["urls"]:
            assert await both.put(each["url"], each["name"].encode(), each["headers"]) == 200
            assert await both.put(each["url"], b"other bytes", each["headers"]) == 412
    assert_problem(await completed(both.local, grant, [{"name": "pages/none"}]), 409, "output-missing")
    assert_problem(await completed(both.local, grant, "all"), 409, "output-missing")
    body = [{"name": f"pages/{number}/\u00fc {number}.md"} for number in range(60)]
    assert await completed(both.local, grant, body) == (200, {"status": "completed"})
    found = await listed(both.local, job_id, limit=7)
    assert len(found) == 60
    items = [{"job_id": job_id, "kind": "output", "name": each["name"]} for each in found]
    _, many = await both.local.call("POST", "/api/files/urls", {"items": items})
    for each in many["items"]:
        assert await both.get(each["url"]) == each["name"].encode()
    assert (await both.local.call("DELETE", f"/api/jobs/{job_id}"))[0] == 204
    store = both.local.parts.services.objects
    prefix = grant["output_key"].removesuffix("output")

    async def gone() -> bool:
        return not (await store.list_page(prefix)).objects

    await both.until(gone)


async def test_what_the_store_can_do_is_found_out_before_several_outputs_are_refused(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that had just started said that its store took one output of an attempt."""
    grant = await claimed(local)
    monkeypatch.setattr(type(local.parts.services.objects), "learned", False)
    assert_problem(await named(local, grant, "a", "b"), 503, "unavailable")
    monkeypatch.undo()
    await brought(local, grant, "a", "b")
