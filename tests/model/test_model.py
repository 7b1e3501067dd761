"""Whatever is asked of the coordinator, in whatever order: it answers, and keeps, what the model says.

`make soak` looks for longer, with other plans each time; what it finds is printed as a plan that can be run again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from actors import messages
from actors.messages import Command, Message
from tests.fixtures.engines import ENGINES
from tests.model.plans import Coordinator
from tests.model.plans.choices import SOURCES
from tests.model.world.things import MOST_CANARIES

SOAK = "SOAK" in os.environ
PLANS, STEPS = (6000, 100) if SOAK else (150, 50)


def profile(plans: int) -> settings:
    return settings(
        max_examples=plans,
        stateful_step_count=STEPS,
        derandomize=not SOAK,  # a suite that finds something new each time is no suite
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )


def on(name: str, folder_: Path) -> type[Coordinator]:
    """The plans on another engine than in memory."""

    class There(Coordinator):
        database_at = staticmethod(ENGINES[name])
        folder = folder_

    return There


@pytest.mark.timeout(7200 if SOAK else 600)
def test_the_coordinator_is_what_the_model_says() -> None:
    run_state_machine_as_test(Coordinator, settings=profile(PLANS))


@pytest.mark.timeout(7200 if SOAK else 600)
@pytest.mark.parametrize("name", sorted(ENGINES.keys() - {"memory"}))
def test_so_it_is_on_each_other_engine(tmp_path: Path, name: str) -> None:
    run_state_machine_as_test(on(name, tmp_path), settings=profile(PLANS // 10))


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_database_with_all_kinds_of_things_is_restored(tmp_path: Path, name: str) -> None:
    plan = on(name, tmp_path)()
    plan.two_workers_and_some_jobs(group=None, then=None)
    plan.make_batch("x", False, None)
    plan.do(plan.submission(SOURCES[0], "ocr", batch="first"))
    plan.a_canary_and_its_jobs(1, ("options",), 1, None, None, "any", None, "release")
    plan.a_turn_of_work("w1", "lost and restored")
    plan.the_database_is_what_the_model_says()
    plan.teardown()


@pytest.mark.parametrize("between", ["nothing", "urgent"])
@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_claim_of_many_takes_a_group_s_jobs_in_their_order_whatever_their_lanes(
    tmp_path: Path, name: str, between: str
) -> None:
    """Of the first three that were read, one was of another lane, and not of the first three of the group. What has
    become urgent by its age has given up its former turn."""
    plan = on(name, tmp_path)()
    plan.two_workers_and_some_jobs(group=None, then=None)
    plan.groups_take_turns(["a"] * 4, 3, between)
    plan.the_database_is_what_the_model_says()
    plan.teardown()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_that_a_job_has_ended_is_not_told_again_where_its_retry_is_undone_at_once(tmp_path: Path, name: str) -> None:
    """By the clock it has ended just now: all of it is of one millisecond."""
    plan = on(name, tmp_path)()
    plan.two_workers_and_some_jobs(group=None, then=None)
    plan.create_webhook(("job.cancelled",), (), ())
    plan.cancel("#1", "")
    plan.retry("#1", reset=True, priority=None, undo="a", compare=False)
    plan.undo("a", 1, further=False)
    assert plan.world.jobs[1].status == "cancelled"
    plan.the_database_is_what_the_model_says()
    plan.teardown()


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.parametrize(
    "turns",
    [
        pytest.param((("resume", 0), ("complete", -3), ("complete", 0)), id="it may be paused again"),
        pytest.param((("complete", 0), ("resume", 3), ("nothing", -4)), id="the first failure counts"),
    ],
)
def test_where_the_clock_was_set_back_a_type_that_was_resumed_by_hand(
    tmp_path: Path, name: str, turns: tuple[tuple[str, int], ...]
) -> None:
    """What was completed since is counted by the hour: of an hour that is still to come it cannot be known, and of
    those between it must be."""
    plan = on(name, tmp_path)()
    plan.two_workers_and_some_jobs(group=None, then=None)
    for ending, hours in turns:
        plan.time_passes(hours * 3600)
        plan.everybody_fails_a_type(ending)
        plan.the_database_is_what_the_model_says()
    plan.teardown()


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_an_output_may_have_the_bytes_of_a_source_that_is_being_deleted(tmp_path: Path, name: str) -> None:
    """The job that it is the source of is served from the output, and needs no source of that name."""
    plan = on(name, tmp_path)()
    plan.two_workers_and_some_jobs(group=None, then=None)
    plan.a_stage_is_joined(source_hash=SOURCES[2], names=("a",), batch=None, put=False, pages=[])
    plan.a_source_is_deleted_and_sent_again(SOURCES[0], "unanswered", 0)
    plan.an_output_is_read(0, SOURCES[0], there=True)
    assert [job.hash for job in plan.world.jobs.values()][-1] == SOURCES[0]
    plan.the_database_is_what_the_model_says()
    plan.teardown()


@pytest.mark.parametrize("ended", [0, 2])
def test_a_canary_that_would_be_one_too_many(ended: int) -> None:
    """In plans by chance there are seldom so many; which of them have ended is looked for then."""
    plan = Coordinator()
    plan.two_workers_and_some_jobs(group=None, then=None)
    for _ in range(MOST_CANARIES):
        plan.a_canary_and_its_jobs(1, ("options",), 1, None, None, "any", None, "release")
    for number in sorted(plan.world.canaries)[:ended]:
        for job in plan.world.canaries[number].jobs:
            plan.cancel(f"#{job}", "a")
    for _ in range(ended + 1):
        plan.begin_canary(("pdf",), "marker 1.3", 1, need=False)
        plan.the_database_is_what_the_model_says()
    assert len(plan.world.canaries) == MOST_CANARIES + ended
    plan.teardown()


def test_every_message_of_the_writer_is_in_the_plans() -> None:
    """All but those that fill in what older releases have not kept, which tests/migrations and tests/store/postgres
    have, those of operations, which tests/actors/test_operations.py has, and what people do to single deliveries and
    secrets, which tests/actors/test_courier.py has."""
    plans = "".join(path.read_text() for path in (Path(__file__).parent / "plans").glob("*.py"))
    named = set(re.findall(r"\bm\.(\w+)", plans))
    assert {message.__name__ for message in get_args(Command)} - named == {
        "AdvanceOperation", "Backfill", "BeginOperation", "EndOperation", "PruneOperations", "SelectJobs",
        "SettleFork", "BeginRecount", "CorrectCounts", "UndoOperation", "PingWebhook", "DeliverAgain",
        "DeliverRangeAgain", "RotateSecret",
    }  # fmt: skip


def test_every_message_is_the_writers_or_another_actors() -> None:
    every = {each for each in vars(messages).values() if isinstance(each, type) and issubclass(each, Message)}
    others = {messages.FindOrphans, messages.CheckSource, messages.RunDrill}
    assert every - {Message} == {*get_args(Command), *others}
