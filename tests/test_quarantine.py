"""`blobforge/quarantine.py`, sentence by sentence of docs/fleet.md."""

from __future__ import annotations

import pytest

from blobforge.quarantine import (
    FEWEST_OF_OTHERS,
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    LOOKED_AT_OF_OTHERS,
    EndedAttempt,
    Quarantine,
    after_trial,
    chance,
    evidence,
    judge,
    may_try,
    quarantined,
)
from tests.simulation.fleet import BAD_DOCUMENTS, fleets

CAUSE = "OSError in disk.py"
MINUTE = 60_000


def good(n: int, *, first: int = 1) -> list[EndedAttempt]:
    return [EndedAttempt(job_id) for job_id in range(first, first + n)]


def failed(n: int, *, first: int = 1000, by: str | None = None, cause: str = CAUSE) -> list[EndedAttempt]:
    return [EndedAttempt(job_id, cause, completed_by=by) for job_id in range(first, first + n)]


OTHERS = {"b": good(LOOKED_AT_OF_OTHERS), "c": good(LOOKED_AT_OF_OTHERS, first=100)}


def test_four_failed_documents_are_enough_where_others_fail_little() -> None:
    assert judge(failed(3) + good(10), OTHERS) is None
    finding = judge(failed(4) + good(10), OTHERS)
    assert finding is not None
    assert (finding.failed, finding.of) == (4, 4)


def test_the_same_document_again_is_one_document() -> None:
    again = [
        EndedAttempt(1, CAUSE),
        EndedAttempt(1, CAUSE),
        EndedAttempt(2, CAUSE),
        EndedAttempt(3, CAUSE),
        EndedAttempt(3, CAUSE),
    ]
    assert judge(again + good(5, first=50), OTHERS) is None


def test_nobody_is_judged_without_others_to_compare_with() -> None:
    assert judge(failed(20), {}) is None
    assert judge(failed(20), {"b": good(LOOKED_AT_OF_OTHERS)}) is None, "one is no measure"
    assert judge(failed(20), {"b": good(LOOKED_AT_OF_OTHERS), "c": failed(9)}) is None, "a broken one is none"
    assert judge(failed(20), {"b": good(FEWEST_OF_OTHERS - 2), "c": good(1)}) is None
    assert judge(failed(20), {"b": good(FEWEST_OF_OTHERS - 1), "c": good(1)}) is not None


def test_when_everybody_fails_nobody_stands_out() -> None:
    assert judge(failed(20), {worker: failed(LOOKED_AT_OF_OTHERS) for worker in "bcdef"}) is None


def test_when_most_others_have_begun_to_fail_it_is_not_the_machines() -> None:
    """They completed all before: a share that filled up, a release that broke. Those in quarantine count, too."""
    sound, failing = good(LOOKED_AT_OF_OTHERS), failed(2) + good(LOOKED_AT_OF_OTHERS)
    assert judge(failed(9), {"b": failing, "c": failing, "d": sound}) is None
    assert judge(failed(9), {"b": failing, "c": sound, "d": sound, "e": failing}) is not None, (
        "half of them: of three"
    )
    assert judge(failed(9), {"b": sound, "c": sound}, held=2) is not None
    assert judge(failed(9), {"b": sound, "c": sound}, held=3) is None
    assert judge(failed(9, by="b"), {"b": failing, "c": failing, "d": sound}, held=3) is not None, (
        "but others complete it"
    )


def test_where_others_fail_more_it_takes_more() -> None:
    half = [each for pair in zip(good(10), failed(10, first=500), strict=True) for each in pair]
    others = {"b": half, "c": half}
    assert judge(failed(27), others) is None
    assert judge(failed(28), others) is not None


def test_four_documents_that_succeeded_elsewhere_are_enough_where_others_fail_much() -> None:
    half = [each for pair in zip(good(10), failed(10, first=500), strict=True) for each in pair]
    others = {"b": half, "c": half}
    assert judge(failed(4, by="b") + failed(2, first=2000), others) is not None
    assert judge(failed(3, by="b") + failed(3, first=2000), others) is None


def test_a_document_that_a_sound_worker_failed_the_same_way_does_not_count() -> None:
    bad = [EndedAttempt(900, CAUSE, failed_by=("b",))]
    others = {
        "b": [*good(5), EndedAttempt(900, CAUSE), *good(14, first=50)],
        "c": good(LOOKED_AT_OF_OTHERS, first=100),
    }
    assert judge(bad + failed(3) + good(10), others) is None
    assert judge(bad + failed(4) + good(10), others) is not None, "the others do"


def test_a_document_that_somebody_completed_counts_whoever_failed_it() -> None:
    others = {
        "b": [*good(5), EndedAttempt(900, CAUSE), *good(14, first=50)],
        "c": good(LOOKED_AT_OF_OTHERS, first=100),
    }
    flaky = [EndedAttempt(900, CAUSE, completed_by="c", failed_by=("b",))]
    assert judge(flaky + failed(3) + good(10), others) is not None


def test_one_that_has_completed_nothing_since_does_not_speak_for_the_worker() -> None:
    bad = [EndedAttempt(900, CAUSE, failed_by=("b",))]
    others = {"b": [EndedAttempt(900, CAUSE), *good(19)], "c": good(LOOKED_AT_OF_OTHERS, first=100)}
    assert judge(bad + failed(3) + good(10), others) is not None


def test_failures_that_a_broken_other_one_has_just_had_do_not_count_as_the_others_share() -> None:
    others = OTHERS | {"x": failed(LOOKED_AT_OF_OTHERS, first=3000), "y": failed(9, first=4000) + good(11, first=300)}
    finding = judge(failed(4) + good(10), others)
    assert finding is not None
    assert finding.share == 0.0


def test_evidence_is_in_words() -> None:
    latest = good(1) + failed(6, first=2000, by="c") + good(8, first=60)
    others = {"b": [*good(19), *failed(1, first=6000)], "c": good(LOOKED_AT_OF_OTHERS, first=100)}
    finding = judge(latest, others)
    assert finding is not None
    assert evidence(finding) == (
        "5 of its last 6 failed, with OSError in disk.py; the same documents succeeded on c; the others' share is 2 %"
    )
    mixed = failed(2, by="b") + failed(2, first=2000, cause="MemoryError") + failed(1, first=3000)
    finding = judge(mixed, OTHERS)
    assert finding is not None
    assert evidence(finding) == (
        "4 of its last 4 failed, 2 of them with OSError in disk.py; 2 of the same documents succeeded on b; "
        "the others' share is 0 %"
    )


def test_the_chance_is_the_binomial_tail() -> None:
    assert chance(0, 5, 0.3) == pytest.approx(1.0)
    assert chance(4, 4, 0.05) == pytest.approx(6.25e-6)
    assert chance(1, 2, 0.5) == pytest.approx(0.75)


def test_trials_come_after_growing_pauses_and_two_in_a_row_end_it() -> None:
    finding = judge(failed(4), OTHERS)
    assert finding is not None
    held = quarantined(finding, now=0)
    assert not may_try(held, running=0, now=FIRST_PAUSE_MS - 1)
    assert not may_try(held, running=1, now=FIRST_PAUSE_MS), "one at a time"
    assert may_try(held, running=0, now=FIRST_PAUSE_MS)
    pauses = []
    for _ in range(8):
        again = after_trial(held, passed=False, now=0)
        assert again is not None
        held = again
        assert held.trial_at is not None
        pauses.append(held.trial_at // MINUTE)
    assert pauses == [10, 20, 40, 80, 160, 240, 240, 240]
    assert LONGEST_PAUSE_MS == 240 * MINUTE
    once = after_trial(held, passed=True, now=7)
    assert once is not None
    assert may_try(once, running=0, now=7), "the second one at once"
    assert after_trial(once, passed=True, now=8) is None
    again = after_trial(once, passed=False, now=8)
    assert again is not None
    assert again.passed == 0


def test_by_hand_there_are_no_trials() -> None:
    held = Quarantine(0, "its disk is being replaced", by="admin")
    assert not may_try(held, running=0, now=10**15)


@pytest.mark.parametrize("bad_documents", BAD_DOCUMENTS)
def test_fleets(bad_documents: float) -> None:
    """Small ones; the long version and its table: `python -m tests.simulation.fleet`, and docs/fleet.md."""
    whole = fleets(bad_documents, 600, sizes=(5, 12, 30))
    assert whole.alarms == 0
    assert whole.missed == 0
    assert len(whole.caught) == 18
    for caught in whole.caught:
        assert caught.contradicted < 5
        if caught.share <= 0.05:
            assert caught.cost < 5
