"""Who may act as a worker, and which worker gets work."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from blobforge.access import Caller, Scope
from blobforge.refusals import RefusalCode
from blobforge.worker import Worker, WorkerStatus, gets_work, may_act

WORKER = Worker("w", "pdf", WorkerStatus.ONLINE, 0, 0)
WORK = frozenset({Scope.WORK})


@pytest.mark.parametrize(
    ("worker", "caller", "mine"),
    [
        (WORKER, Caller(WORK, worker_id="w"), True),
        (WORKER, Caller(WORK, worker_id="v"), False),
        (WORKER, Caller(WORK, token_id=1), False),  # it registered nobody
        (replace(WORKER, token_id=1), Caller(WORK, token_id=1), True),
        (replace(WORKER, token_id=1), Caller(WORK, token_id=2), False),
        (replace(WORKER, token_id=1), Caller(WORK, worker_id="v"), False),
        (WORKER, Caller(frozenset({Scope.ADMIN}), token_id=9), True),
        (WORKER, Caller(WORK, user_id=1), False),  # no token at all is not "the same token"
        (WORKER, Caller(frozenset({Scope.ADMIN}), worker_id="v"), False),  # a worker is itself, and nobody else
    ],
)
def test_identity_comes_from_the_credential_alone(worker: Worker, caller: Caller, mine: bool) -> None:
    refusal = may_act(worker, caller)
    assert (refusal is None) is mine
    assert refusal is None or refusal.code is RefusalCode.NOT_YOURS


def test_nobody_acts_as_a_disabled_worker() -> None:
    disabled = replace(WORKER, enabled=False)
    for caller in (Caller(WORK, worker_id="w"), Caller(frozenset({Scope.ADMIN}), token_id=1)):
        refusal = may_act(disabled, caller)
        assert refusal is not None
        assert refusal.code is RefusalCode.WORKER_DISABLED


@pytest.mark.parametrize("status", WorkerStatus)
@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_a_draining_or_disabled_worker_gets_nothing(status: WorkerStatus, drain: bool, enabled: bool) -> None:
    """Offline too: a worker that was silent for a while and comes back by claiming still drains."""
    draining = drain or status is WorkerStatus.DRAINING
    worker = replace(WORKER, status=status, drain=draining, enabled=enabled)
    assert gets_work(worker) is (enabled and not draining)
