"""What tests of groups share: jobs that are laid in and given out, a letter for each."""

from __future__ import annotations

from typing import Any

from actors.messages import Claim, Complete
from tests.store.making import ADMIN, Book, submission


def laid_in(book: Book, said: str, **more: Any) -> dict[int, str]:
    """A job for each letter, in their order: of that group, `.` for none. Their groups by their ids."""
    groups = [None if letter == "." else letter for letter in said]
    answers = [book.do(submission((book.now, n), group=group, **more)) for n, group in enumerate(groups)]
    return {answer.job_id: letter for answer, letter in zip(answers, said, strict=True)}


def given(book: Book, of: dict[int, str], limit: int = 1, times: int = 1, *, ends: bool = False) -> str:
    """Whose jobs are given out, in their order; each in its own claim, or so many with each. `ends`: each of these
    has ended before the next claim, so that turns alone decide."""
    found = ""
    for _ in range(times):
        jobs = book.do(Claim(ADMIN, "w", ("pdf",), limit)).jobs
        found += "".join(of[job.id] for job in jobs)
        for job in jobs if ends else ():
            book.do(Complete(ADMIN, "w", job.id, lease=job.lease))
    return found
