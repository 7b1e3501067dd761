"""From a source to outputs that are what they must be: an attempt and its replay do it in this one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import trio

from blobforge.client import Job as JobRecord
from blobforge.runner.handlers import Converter, as_outcome
from blobforge.runner.job import Job, JobFailed
from blobforge.runner.limits import Limits, within
from blobforge.runner.outputs import OutputFile, collect
from blobforge.runner.validation import ANYTHING, CheckedOutput, Validation

OnProgress = Callable[[Mapping[str, Any]], None]
"""Takes what is to be added to the progress."""


@dataclass(frozen=True)
class Conversion:
    """What is done with the jobs of a type. `output_suffix` names the outputs that have no name of their own."""

    converter: Converter
    limits: Limits = field(default_factory=Limits)
    validation: Validation = ANYTHING
    output_suffix: str = ""

    async def outputs(self, job: Job, report: OnProgress) -> list[OutputFile]:
        """Convert the source, and return the outputs, the main one first. Raises JobFailed, with the end of what the
        command has printed, and WorkerTrouble."""
        try:
            await within(self.limits, job, self.converter)
            outputs = await trio.to_thread.run_sync(collect, job)
            if self.validation:
                report({"stage": "validating"})
                await self.validation.validate(job, [self._to_check(job.record, each) for each in outputs])
            return outputs
        except Exception as error:
            outcome = as_outcome(error)
            if isinstance(outcome, JobFailed) and outcome.log_tail is None:
                outcome.log_tail = job.output_tail()
            if outcome is error:
                raise
            raise outcome from error

    def _to_check(self, record: JobRecord, output: OutputFile) -> CheckedOutput:
        return CheckedOutput(shown_name(record, output, self.output_suffix) or output.path.name, output.path)


def shown_name(job: JobRecord, output: OutputFile, suffix: str) -> str | None:
    """What the output is called: the converter's own name for it, or, with `--output-suffix`, one by the source's."""
    if output.name is not None or not suffix:
        return output.name
    return PurePosixPath(PurePosixPath(job.source_path or f"job-{job.id}").name).stem + suffix
