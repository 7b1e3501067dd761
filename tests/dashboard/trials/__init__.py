"""Every action of the pages, and how it is tried: with what it is begun, what the database has of it afterwards, and
where another browser sees it.

An action is a button that sends a form: the route of the form, and what stands on the button. One that a page gets
anew has its trial here, by which tests/dashboard/test_actions.py does it with and without a script.
"""

from __future__ import annotations

from tests.dashboard.trials import of_batches, of_callers, of_jobs, of_many, of_types, of_webhooks, of_workers
from tests.dashboard.trials.case import BACKGROUND, TRIALS
from web.dashboard.page import THEMES

__all__ = ["KNOWN", "LOOSE", "TRIALS"]

# Buttons that send nothing themselves, and why they need no trial here.
LOOSE = {
    "data-dismiss": "takes a notice away",
    "data-copy": "copies what is shown",
    "data-take-every": "ticks a box",
    "data-ending": "has this browser tell of an end: test_endings.py",
    "cancel": "stops the sending of files: test_submit.py",
    "again": "goes on with the sending of files: test_submit.py",
}
_MODULES = (of_batches, of_callers, of_jobs, of_many, of_types, of_webhooks, of_workers)  # which add theirs
_QUESTIONS = [each for each in TRIALS.values() if each.then]
# All buttons: those of the trials, the answers to questions, and those that stand beside one that is tried.
KNOWN = (
    frozenset(TRIALS)
    | {(each.path, label) for each in _QUESTIONS for label in (each.then, BACKGROUND)}
    | {("/do/theme", each) for each in THEMES}
)
