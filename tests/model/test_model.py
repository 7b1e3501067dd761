"""Whatever is asked of the coordinator, in whatever order: it answers, and keeps, what the model says.

`make soak` looks for longer, with other plans each time; what it finds is printed as a plan that can be run again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fixtures.engines import ENGINES
from tests.model.plans import Coordinator

SOAK = "SOAK" in os.environ
PLANS, STEPS = (6000, 100) if SOAK else (150, 50)


def profile(plans: int) -> settings:
    return settings(
        max_examples=plans,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not SOAK,  # a suite that finds something new each time is no suite
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )


@pytest.mark.timeout(3600 if SOAK else 120)
def test_the_coordinator_is_what_the_model_says() -> None:
    run_state_machine_as_test(Coordinator, settings=profile(PLANS))


@pytest.mark.timeout(3600 if SOAK else 120)
@pytest.mark.parametrize("name", sorted(ENGINES.keys() - {"memory"}))
def test_so_it_is_on_each_other_engine(tmp_path: Path, name: str) -> None:
    class There(Coordinator):
        database_at = staticmethod(ENGINES[name])
        folder = tmp_path

    run_state_machine_as_test(There, settings=profile(PLANS // 10))
