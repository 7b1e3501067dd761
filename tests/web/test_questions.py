"""The question before an action on many: it is about what it shows, or it is put once more. Without script."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.fixtures.local import LocalServer
from tests.web.calls import finish

AGAIN = "has changed since you were asked"


async def posted(local: LocalServer, path: str, fields: list[tuple[str, str]]) -> str:
    """The page that comes of a form: "" where it leads to another one."""
    headers = {
        "Authorization": f"Bearer {local.parts.admin_token}", "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    answer = await local.http.open(path, method="POST", headers=headers, data=urlencode(fields).encode())
    assert answer.status_code in (200, 303)
    return await answer.get_data(as_text=True) if answer.status_code == 200 else ""


def answer_to(question: str) -> list[tuple[str, str]]:
    """The fields that its button sends."""
    form = question[question.index('class="actions"') :]
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[: form.index("</form>")])
    return [(name, html.unescape(value)) for name, value in found]


async def dead(local: LocalServer, name: bytes) -> int:
    job_id = await local.submit(name)
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "error": "x", "retryable": False}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[0] == 200
    return job_id


async def statuses(local: LocalServer) -> list[str]:
    return [job["status"] for job in (await local.call("GET", "/api/jobs"))[1]["jobs"]]


async def test_what_was_ticked_and_has_moved_on_is_asked_about_once_more(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    ticked = [await dead(local, b"one"), await dead(local, b"two")]
    fields = [*(("ids", str(job_id)) for job_id in ticked), ("dry_run", "true"), ("return_to", "/jobs?status=dead")]
    question = await posted(local, "/do/jobs/delete", fields)
    assert AGAIN not in question
    await local.call("POST", f"/api/jobs/{ticked[0]}/retry")
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"]}
    assert (await local.call("POST", f"/api/jobs/{ticked[0]}/complete", body))[0] == 200
    question = await posted(local, "/do/jobs/delete", answer_to(question))
    assert AGAIN in question
    assert sorted(await statuses(local)) == ["completed", "dead"]
    assert await posted(local, "/do/jobs/delete", answer_to(question)) == ""
    assert await statuses(local) == []


async def test_a_queue_that_goes_on_holds_up_no_cancellation(local: LocalServer, autojump_clock: Any) -> None:
    """What has ended meanwhile is not cancelled, and of the others nothing has changed."""
    await local.register()
    ids = [await local.submit(b"%d" % number) for number in range(4)]
    fields = [*(("ids", str(job_id)) for job_id in ids), ("dry_run", "true"), ("return_to", "/jobs")]
    question = await posted(local, "/do/jobs/cancel", fields)
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"]}
    await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)
    await local.claim()
    assert await posted(local, "/do/jobs/cancel", answer_to(question)) == ""
    assert sorted(await statuses(local)) == ["cancelled"] * 3 + ["completed"]


async def test_what_was_ticked_in_the_question_is_ticked_in_the_next_one_and_may_be_unticked(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    ids = [await dead(local, b"one"), await dead(local, b"two")]
    fields = [*(("ids", str(job_id)) for job_id in ids), ("dry_run", "true"), ("return_to", "/jobs")]
    question = await posted(local, "/do/jobs/retry", fields)
    assert 'name="compare" value="true">' in question
    await local.call("POST", f"/api/jobs/{ids[0]}/retry")
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"]}
    await local.call("POST", f"/api/jobs/{ids[0]}/complete", body)
    question = await posted(local, "/do/jobs/retry", [*answer_to(question), ("compare", "true")])
    assert AGAIN in question
    assert 'name="compare" value="true" checked>' in question
    assert "compare" not in dict(answer_to(question)), "it is no hidden field"


async def test_that_what_came_of_a_job_is_ticked_in_the_question_is_no_change(
    local: LocalServer, autojump_clock: Any
) -> None:
    """It was asked once more each time, and not at all where the jobs themselves had ended."""
    await local.register()
    job_id = await local.submit(b"a document", then=[{"type": "ocr"}])
    await finish(local)
    fields = [("ids", str(job_id)), ("dry_run", "true"), ("return_to", "/jobs")]
    answer = [*answer_to(await posted(local, "/do/jobs/cancel", fields)), ("children", "true")]
    await local.call("POST", f"/api/jobs/{job_id}/retry")
    assert AGAIN in await posted(local, "/do/jobs/cancel", answer), "it is open again"
    await finish(local)
    assert await posted(local, "/do/jobs/cancel", answer) == ""


async def test_what_many_jobs_are_to_require_is_told(local: LocalServer, autojump_clock: Any) -> None:
    ids = [await local.submit(b"%d" % number, requires=["gpu"]) for number in range(2)]
    fields = [*(("ids", str(each)) for each in ids), ("dry_run", "true"), ("requires", "nothing")]
    question = await posted(local, "/do/jobs/requires", fields)
    assert re.search(r"New requirements.{0,40}nothing", question, re.S)


@pytest.mark.parametrize("more", [False, True])
async def test_more_than_were_counted_are_asked_about_once_more(
    local: LocalServer, autojump_clock: Any, more: bool
) -> None:
    await local.register()
    first = [await dead(local, b"one"), await dead(local, b"two")]
    fields = [("everything", "1"), ("filter_status", "dead"), ("dry_run", "true"), ("return_to", "/jobs?status=dead")]
    question = await posted(local, "/do/jobs/delete", fields)
    if more:
        await dead(local, b"three")
    else:
        await local.call("POST", f"/api/jobs/{first[0]}/retry")  # those that left are none of the filter's any more
    question = await posted(local, "/do/jobs/delete", answer_to(question))
    assert (AGAIN in question) is more
    assert sorted(await statuses(local)) == (["dead"] * 3 if more else ["pending"])


async def test_a_worker_that_came_back_is_asked_about_once_more(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w1")
    await local.call("POST", "/api/workers/w1/unregister")
    fields = [("ids", "w1"), ("dry_run", "true"), ("return_to", "/workers")]
    question = await posted(local, "/do/workers/remove", fields)
    await local.register("w1")
    assert AGAIN in await posted(local, "/do/workers/remove", answer_to(question))
    assert (await local.call("GET", "/api/workers/w1"))[1]["status"] == "online"
