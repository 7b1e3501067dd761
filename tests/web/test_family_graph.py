"""The family of a job as a graph: what is drawn, what is folded, what is still to come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from actors import operator
from actors.effects import chains
from blobforge.chain import ChainPlace, Join, Step
from blobforge.job import Job, JobStatus
from tests.fixtures.local import LocalServer
from tests.test_waiting import NOW
from tests.web.test_chains import claimed
from tests.web.test_comparison import page_of
from tests.web.test_outputs import brought, completed
from web.dashboard import family as family_page
from web.dashboard.familygraph import (
    DOWN,
    HEIGHT,
    MOST_IN_LAYER,
    Family,
    FamilyGraph,
    FamilyMember,
    changing,
    graph_of,
)

DONE, DEAD, WAITS = JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.PENDING
THEN = (Step("ocr", "pages/*", then=(), join=Join("book")),)


def job(number: int, type_: str, status: JobStatus, then: tuple[Step, ...] = ()) -> Job:
    return Job(number, type_, status, 3, "ab" * 32, NOW, NOW, 3, chain=ChainPlace(then))


def family(pages: dict[int, JobStatus], first: JobStatus = DONE) -> Family:
    """A document (1) and its pages."""
    members = {1: FamilyMember(job(1, "pdf", first, THEN))}
    for number, status in pages.items():
        page = job(number, "ocr", status)
        members[number] = FamilyMember(page, 1, ((0, "ocr"),), [1], f"pages/{number}")
    return Family(members)


def drawn(graph: FamilyGraph) -> list[list[tuple[str, str, str]]]:
    return [[(each.head, each.type, each.state) for each in layer] for layer in graph.layers]


def test_few_jobs_are_drawn_one_by_one_and_what_is_to_come_behind_them() -> None:
    graph = graph_of(family({2: DONE, 3: WAITS}), here=3)
    assert drawn(graph) == [
        [("Job 1", "pdf", "completed")],
        [("Job 2", "ocr", "completed"), ("Job 3", "ocr", "pending")],
        [("", "book", "to-come")],
    ]
    assert [each.words for each in graph.nodes if each.here] == ["Job 3, ocr, pending, pages/3, this job"]
    assert len(graph.lines) == 4
    # All of a stage has ended: what joins it is there, or does not come.
    assert len(graph_of(family({2: DONE, 3: DEAD}), here=1).layers) == 2
    # Nothing has come yet: all steps are planned, with what joins them.
    planned = graph_of(family({}, first=WAITS), here=1)
    assert drawn(planned)[1:] == [[("", "ocr", "to-come")], [("", "book", "to-come")]]


def test_a_wide_stage_is_folded_by_status_but_for_the_way_to_the_job() -> None:
    pages = dict.fromkeys(range(2, 102), DONE) | dict.fromkeys(range(102, 132), DEAD)
    graph = graph_of(family(pages), here=50)
    assert drawn(graph)[1] == [
        ("99 jobs", "ocr", "completed"), ("Job 50", "ocr", "completed"), ("30 jobs", "ocr", "dead")
    ]  # fmt: skip
    assert len(graph.lines) == 3
    each_page = graph_of(family(dict.fromkeys(range(2, 2 + MOST_IN_LAYER), DONE)), here=1)
    assert len(each_page.layers[1]) == MOST_IN_LAYER


def test_no_two_boxes_of_a_layer_stand_on_each_other_and_all_are_inside() -> None:
    graph = graph_of(family({2: DONE, 3: WAITS, 4: DEAD}), here=1)
    for layer in graph.layers:
        tops = sorted(each.y for each in layer)
        assert all(below - above >= HEIGHT + DOWN for above, below in pairwise(tops))
    assert all(each.y > 0 and each.y + HEIGHT < graph.height for each in graph.nodes)
    assert len({each.number for each in graph.nodes}) == len(list(graph.nodes))


def test_what_may_still_change_is_heard_of_first() -> None:
    assert changing(family({2: DONE, 3: WAITS, 4: DEAD}), here=4, most=3) == [4, 3, 1]


async def test_the_page_of_a_family(local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await local.register()
    then = [{"type": "ocr", "join": {"type": "book"}, "then": [{"type": "summary"}]}]
    await local.submit(b"a document", source_path='in/"a".pdf', then=then)
    await brought(local, grant := await claimed(local), *"1234")
    assert (await completed(local, grant, "all"))[0] == 200
    page = await page_of(local, "/jobs/4/family")
    assert "5 jobs in 3 stages" in page
    assert '<a href="/jobs/4" aria-label="Job 4, ocr, pending, 3, this job" aria-current="true"' in page
    assert '<a href="/jobs/1" aria-label="Job 1, pdf, completed, in/&#34;a&#34;.pdf" class="node completed"' in page
    assert "book, to come, joins these" in page
    assert page.count(">summary, to come, of *<") == 1 + 1  # the title of its one box, and the list
    assert "/jobs/4/family" in await page_of(local, "/jobs/4")
    assert "/jobs/1/family" in await page_of(local, "/jobs/1")
    # More than are looked at: it says so, and the job that was asked for is there.
    monkeypatch.setattr(family_page, "MOST_READ", 2)
    page = await page_of(local, "/jobs/5/family")
    assert "3 of its jobs are shown; there are more." in page
    assert 'aria-label="Job 5, ocr, ' in page
    assert ">and more<" in page


async def test_a_job_without_a_family_and_what_is_still_to_be_made(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.register()
    await local.submit(b"a document", then=[{"type": "ocr"}])
    await local.submit(b"another")
    assert "This job came of no other that is there" in await page_of(local, "/jobs/2/family")
    assert "/jobs/2/family" not in await page_of(local, "/jobs/2")
    assert (await local.call("GET", "/jobs/9/family"))[0] == 404
    for name in ("MOST_AT_ONCE", "A_PIECE"):
        monkeypatch.setattr(chains, name, 1)
    monkeypatch.setattr(operator, "STARTING", 0)
    grant = await claimed(local)
    await brought(local, grant, "1", "2", "3")
    assert (await completed(local, grant, "all"))[0] == 200
    page = await page_of(local, f"/jobs/{grant['job']['id']}/family")
    assert f'<a href="/operations/1">2 jobs, to come, of job {grant["job"]["id"]}</a>' in page
