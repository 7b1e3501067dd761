"""How busy a machine is, as lines: CPU, memory, GPUs, each of what there is of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from blobforge.load import NEAR, MachineLoad, Point
from web.dashboard.words import duration, size
from web.liveloads import WorkerLoad

WIDTH, HEIGHT = 100, 20
MEMORY = ("memory", "gpu_memory")
NAMES = {"cpu": "CPU", "memory": "Memory", "gpu": "GPU", "gpu_memory": "GPU memory"}


class LoadLine(NamedTuple):
    """`share` is the latest, 0 to 1; `of` says of how much, where that is known; `near`: it is nearly used up."""

    name: str
    share: float
    of: str
    near: bool
    line: Markup


def load_lines(load: WorkerLoad) -> list[LoadLine]:
    """Those of which it has told something."""
    lines = []
    for field, name in NAMES.items():
        share = getattr(load.now, field)
        if share is not None:
            near = field in MEMORY and share >= NEAR
            lines.append(LoadLine(name, share, _of(field, load.last), near, _line(name, field, load.points)))
    return lines


def _of(field: str, load: MachineLoad) -> str:
    gpus = load.gpus or ()
    if field == "cpu":
        return f"of {load.cpus:g} CPU{'' if load.cpus == 1 else 's'}" if load.cpus is not None else ""
    if field == "memory":
        return f"{size(load.memory)} of {size(load.memory_total)}"
    if len(gpus) == 1:
        return f"{size(gpus[0].memory)} of {size(gpus[0].memory_total)}" if field == "gpu_memory" else ""
    return f"of the {'busiest' if field == 'gpu' else 'fullest'} of {len(gpus)}"


def _line(name: str, field: str, points: Iterable[Point]) -> Markup:
    """From the oldest that is known to the latest; the bottom is nothing, and the top is all that there is."""
    told = [(point.at, share) for point in points if (share := getattr(point, field)) is not None]
    begin, end = told[0][0], told[-1][0]
    whole = max(1, end - begin)
    places = [(round(WIDTH * (at - begin) / whole), round((HEIGHT - 2) * (1 - share)) + 1) for at, share in told]
    if end == begin:
        places = [(0, places[0][1]), (WIDTH, places[0][1])]
    said = f"{name}: {told[-1][1]:.0%}".replace("%", " %")
    if end > begin:
        highest = f"{max(share for _, share in told):.0%}".replace("%", " %")
        said += f", at most {highest} within {duration((end - begin) / 1000)}"
    return Markup(
        '<svg class="spark load" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<title>{}</title><polyline points="{}"/></svg>'
    ).format(WIDTH, HEIGHT, said, said, " ".join(f"{x},{y}" for x, y in places))
