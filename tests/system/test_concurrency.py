"""Many claimers at once: no errors, nothing twice. The old server answered 65 % of these claims with a 500."""

from __future__ import annotations

from tests.fixtures.server import ServerProcess
from tests.system.swarm import Swarm


async def test_64_workers_on_1000_jobs_meet_no_error_and_complete_each_once(server: ServerProcess) -> None:
    swarm = Swarm(server, workers=64)
    await swarm.submit(1000)
    await swarm.work()
    seen = swarm.seen
    assert seen.errors == []
    assert seen.lost == 0
    assert len(seen.submitted) == 1000
    assert set(seen.completed) == set(seen.submitted)
    assert set(seen.completed.values()) == {1}
    with server.client() as http:
        stats = http.get("/api/stats").json()
        assert (stats["total_jobs"], stats["completed_jobs"]) == (1000, 1000)
        # Each was tried exactly once: nobody else ever held it.
        for job_id in list(seen.completed)[::50]:
            assert [try_["outcome"] for try_ in http.get(f"/api/jobs/{job_id}").json()["attempt_history"]] == [
                "completed"
            ]
    assert "unhandled" not in server.logged()
