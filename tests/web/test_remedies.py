"""What changes that a job waits, beside the reason: buttons that do it, for callers that may."""

from __future__ import annotations

from typing import Any

import pytest

from blobforge.job import Job, JobStatus
from blobforge.waiting import Reason, Waiting
from tests.fixtures.local import LocalServer
from tests.test_waiting import job
from tests.web.calls import token
from tests.web.test_comparison import page_of
from web.dashboard.remedies import Remedy, remedies

FAILED = JobStatus.FAILED


def found(reason: Reason, subject: Job | None = None, *, may_act: bool = True, admin: bool = True) -> list[Remedy]:
    return remedies(subject or job(), Waiting(reason, ""), may_act=may_act, admin=admin)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_ways_and_none_that_its_caller_may_not_go(reason: Reason) -> None:
    subject = job(FAILED) if reason is Reason.BACK_OFF else job()
    assert not [each for each in found(reason, subject, may_act=False, admin=False) if each.acts or "#r" in each.url]


@pytest.mark.parametrize(
    ("reason", "subject", "url", "fields"),
    [
        (Reason.BACK_OFF, job(FAILED), "/do/jobs/7/retry", {"undo": "true"}),
        (Reason.QUEUED, job(), "/do/jobs/7/priority", {"priority": "1", "undo": "true"}),
        (Reason.TURN, job(), "/do/jobs/7/priority", {"priority": "1", "undo": "true"}),
        (Reason.PAUSED, job(), "/do/types/pdf/resume", {}),
    ],
)
def test_what_one_button_does(reason: Reason, subject: Job, url: str, fields: dict[str, str]) -> None:
    assert [(each.url, each.fields) for each in found(reason, subject) if each.acts] == [(url, fields)]


def test_where_no_button_does_it_a_page_does() -> None:
    assert [each.url for each in found(Reason.LIMIT)] == ["/types/pdf#settings-title"]
    assert [each.url for each in found(Reason.LABELS)] == [
        "#requires", "/workers?type=pdf", "/add-machine?type=pdf"
    ]  # fmt: skip
    assert found(Reason.BACK_OFF) == [], "it was given back: no retry is allowed"
    assert [each.url for each in found(Reason.PAUSED, admin=False)] == ["/types/pdf"]


async def test_the_buttons_on_the_page_of_a_job(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"a document")
    assert '<a class="button plain" href="/add-machine?type=pdf" data-act>Add a machine</a>' in await page_of(
        local, "/jobs/1"
    )
    assert (await local.call("POST", "/api/types/pdf/pause", {"reason": "broken"}))[0] == 200
    form = '<form method="post" action="/do/types/pdf/resume" class="inline"><button class="plain">Resume type pdf'
    assert form in await page_of(local, "/jobs/1")
    reader = {"Authorization": f"Bearer {await token(local, 'read')}"}
    status, page = await local.call("GET", "/jobs/1", headers=reader)
    assert (status, b"/do/types/pdf/resume" in page, b'href="/types/pdf">' in page) == (200, False, True)
    form_of = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    admin = {"Authorization": f"Bearer {local.parts.admin_token}", "Referer": "http://localhost/jobs/1"}
    answer = await local.http.post("/do/types/pdf/resume", headers=admin | form_of, data="return_to=/jobs/1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs/1")
    assert "Resume type pdf" not in await page_of(local, "/jobs/1")
