"""Groups: who waits for jobs is woken for one of a group, too, and by one claim."""

from __future__ import annotations

from typing import Any

from actors.messages import Register
from tests.actors.test_scheduler import ids, polls, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission


async def test_a_claim_that_waits_is_woken_for_each_job_of_a_group(autojump_clock: Any, local: LocalServer) -> None:
    """Also for the first one, of which no claim knew that there could be such."""
    await local.ask(Register(ADMIN, "w", "pdf"))
    for number in (1, 2):
        async with polls(local) as claim:
            waiting = claim("w")
            await settle()
            before = local.parts.writer.committed_messages
            await local.ask(submission(number, group=f"group {number}"))
            await settle()
            assert ids(waiting) == [number]
            assert local.parts.writer.committed_messages == before + 2, "the submission, and the one claim"
