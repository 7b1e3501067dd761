"""One attempt once more, on this machine and beside the server: the same source, command and limits, in a folder that
stays. Nothing is claimed and nothing is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import trio

from blobforge.client import Job as JobRecord
from blobforge.machinery.groups import unwrapped
from blobforge.runner.address import address_named
from blobforge.runner.command import Command
from blobforge.runner.conversion import Conversion
from blobforge.runner.guard import Guard
from blobforge.runner.handlers import Converter
from blobforge.runner.isolated import InProcess
from blobforge.runner.job import Job, JobFailed
from blobforge.runner.limits import Limits
from blobforge.runner.progress import Pattern
from blobforge.runner.recipe import Recipe
from blobforge.runner.validation import Validation


class Replayed(NamedTuple):
    """How it ended: with an output, the main one of several, or with a failure."""

    output: Path | None
    failure: JobFailed | None


def converter_of(recipe: Recipe) -> Converter:
    """What runs it. Raises ValueError for a recipe that cannot work here."""
    if recipe.exec is not None:
        pattern = Pattern(recipe.progress_regex) if recipe.progress_regex is not None else None
        return Command(recipe.exec, pattern=pattern, stdout=recipe.stdout, max_memory=recipe.max_memory)
    return InProcess(address_named(recipe.handler or ""), max_memory=recipe.max_memory)


async def replay(record: JobRecord, converter: Converter, recipe: Recipe, folder: Path, source: Path) -> Replayed:
    """Convert `source` in `folder`, which is there and holds it. Raises WorkerTrouble."""
    job = Job(record, folder, source, _untold)
    validation = Validation.of(
        min_size=recipe.min_size, media_type=recipe.media_type, check=recipe.check, timeout=recipe.timeout
    )
    conversion = Conversion(converter, Limits(recipe.timeout, recipe.stall_timeout), validation, recipe.output_suffix)
    await trio.to_thread.run_sync(job.outputs.mkdir)
    with Guard().open() as guard, unwrapped():
        async with trio.open_nursery() as nursery:
            await converter.prepare(nursery, guard)
            await validation.prepare(nursery, guard)
            try:
                outputs = await conversion.outputs(job, _untold)
            except JobFailed as failure:
                nursery.cancel_scope.cancel()
                return Replayed(None, failure)
            nursery.cancel_scope.cancel()
    return Replayed(outputs[0].path, None)


def _untold(_: Mapping[str, Any]) -> None:
    """Progress that no server hears of."""
