"""The worker runner: claims jobs, runs a command or a Python function for each, hands in what comes out.

    from blobforge.runner import Job, Worker

worker.py     what its users see            shift.py      one run: registers, claims, leaves
attempt.py    one job from claim to end     heartbeat.py  signs of life, apart from the work
job.py        what a handler gets           handlers.py   Python functions, and where they run
command.py    a command line as a handler   isolated.py   a handler in a process of its own
"""

from __future__ import annotations

from blobforge.runner.address import address_named
from blobforge.runner.attempt import RunEnd
from blobforge.runner.command import PLACEHOLDERS, Command
from blobforge.runner.console import show_events
from blobforge.runner.events import ServerAwayNotice
from blobforge.runner.handlers import Handler, Isolation
from blobforge.runner.isolated import InProcess
from blobforge.runner.job import Job, JobCancelled, JobFailed, WorkerReplaced, WorkerTrouble
from blobforge.runner.limits import Limits
from blobforge.runner.process import Finished, Tail, run_in_group
from blobforge.runner.progress import Pattern
from blobforge.runner.recipe import Recipe
from blobforge.runner.validation import Validation
from blobforge.runner.window import RunWindow
from blobforge.runner.worker import EXIT_FAILING, EXIT_REPLACED, Worker, default_worker_id

__all__ = [
    "EXIT_FAILING",
    "EXIT_REPLACED",
    "PLACEHOLDERS",
    "Command",
    "Finished",
    "Handler",
    "InProcess",
    "Isolation",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Limits",
    "Pattern",
    "Recipe",
    "RunEnd",
    "RunWindow",
    "ServerAwayNotice",
    "Tail",
    "Validation",
    "Worker",
    "WorkerReplaced",
    "WorkerTrouble",
    "address_named",
    "default_worker_id",
    "run_in_group",
    "show_events",
]
