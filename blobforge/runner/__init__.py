"""The worker runner: claims jobs, runs a command or a Python function for each, hands in what comes out.

worker.py     registers, claims, leaves          attempt.py   one job from claim to end
heartbeat.py  signs of life, apart from the work holdings.py  which jobs are in hand
command.py    a command line as a handler        process.py   a process group that leaves nothing behind
"""

from __future__ import annotations

from blobforge.runner.attempt import Outcome
from blobforge.runner.command import PLACEHOLDERS, Command
from blobforge.runner.context import Handler, JobContext, JobFailed, WorkerTrouble
from blobforge.runner.process import Finished, Tail, run_in_group
from blobforge.runner.worker import Worker, default_worker_id

__all__ = [
    "PLACEHOLDERS",
    "Command",
    "Finished",
    "Handler",
    "JobContext",
    "JobFailed",
    "Outcome",
    "Tail",
    "Worker",
    "WorkerTrouble",
    "default_worker_id",
    "run_in_group",
]
