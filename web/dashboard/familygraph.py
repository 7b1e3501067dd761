"""The family of a job as a graph: what came of what by a chain, layer by layer from the job that was submitted.

`read_family` walks down from that job; `graph_of` is pure: it folds wide layers by stage and status, and says where
each node stands. Lengths are those of the SVG.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from blobforge.chain import Kin, Step
from blobforge.job import Job, JobStatus
from blobforge.store.reading import Reader

MOST_READ: Final = 400  # jobs of a family that are looked at: each takes a question to the database
MOST_ABOVE: Final = 64  # jobs on the way up to the first one
MOST_IN_LAYER: Final = 8  # jobs that are drawn one by one
MOST_LISTED: Final = 20  # jobs of a node that are named
WIDTH: Final = 176  # of a node
HEIGHT: Final = 46
ACROSS: Final = 52  # between two layers
DOWN: Final = 12  # between two nodes of a layer
EDGE: Final = 6  # around all
ENDED: Final = frozenset({JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.DEAD})

StagePath = tuple[tuple[int, str], ...]
"""The steps, by number and type, from the first job to a stage of its chain; -1 and below: what joins one."""


class FamilyMember(msgspec.Struct):
    """A job of a family. `output` is the one that it came of, `former`: of a former result. `cut`: more came of this
    job than was read."""

    job: Job
    layer: int = 0
    stage: StagePath = ()
    parents: list[int] = []
    output: str = ""
    former: bool = False
    cut: bool = False


class Family(msgspec.Struct):
    """By id, in the order in which they were found: the first one came of none that is there."""

    members: dict[int, FamilyMember]
    whole: bool = True


class FamilyNode(msgspec.Struct):
    """One or several jobs of one stage and status; none: jobs that are still to come, or were not read.

    `state` is a status, `to-come` or `unread`. `here`: the job that the graph was asked for.
    """

    layer: int
    type: str
    state: str
    jobs: list[FamilyMember] = []
    note: str = ""
    url: str = ""
    here: bool = False
    x: float = 0
    y: float = 0
    number: int = 0

    @property
    def head(self) -> str:
        if len(self.jobs) == 1:
            return f"Job {self.jobs[0].job.id}"
        return f"{len(self.jobs):,} jobs" if self.jobs else ""

    @property
    def words(self) -> str:
        """All of it, in words."""
        came = self.jobs[0] if len(self.jobs) == 1 else None
        said = [self.head, self.type, {"unread": "", "to-come": "to come"}.get(self.state, self.state), self.note]
        said.append("this job" if self.here else "")
        said.append("of a former result" if came is not None and came.former else "")
        return ", ".join(filter(None, said))


class FamilyGraph(msgspec.Struct):
    """`layers` has the nodes, `lines` are the paths between them."""

    layers: list[list[FamilyNode]]
    lines: list[str]
    width: float
    height: float

    @property
    def nodes(self) -> Iterator[FamilyNode]:
        return (node for layer in self.layers for node in layer)


# ------------------------------------------------------------------ reading


def read_family(reader: Reader, job: Job, *, most: int) -> Family:
    """The job that all came of and, layer by layer, what came of each; at most so many."""
    first = _first(reader, job)
    members = {first.id: FamilyMember(first)}
    found = Family(members)
    left = [first]
    while left:
        parent = left.pop(0)
        if parent.chain is None or not parent.chain.then:
            continue
        room = most - len(members)
        kins = reader.kin.of(parent.id, limit=room + 1)
        if len(kins) > room:
            members[parent.id].cut, found.whole = True, False
        left += _children(reader, members, parent, kins[:room])
    _onto(reader, members, job)
    return found


def _first(reader: Reader, job: Job) -> Job:
    above = {job.id}
    while job.chain is not None and job.chain.parent is not None and len(above) < MOST_ABOVE:
        parent = reader.job_in_short(job.chain.parent)
        if parent is None or parent.id in above:
            break  # it was deleted: what is left begins here
        above.add(parent.id)
        job = parent
    return job


def _children(reader: Reader, members: dict[int, FamilyMember], parent: Job, kins: Sequence[Kin]) -> list[Job]:
    """Add what came of one job; what joins a stage comes behind the jobs that it joins."""
    above, fresh = members[parent.id], []
    joined: dict[tuple[int, int], list[int]] = defaultdict(list)
    for kin in sorted(kins, key=lambda each: each.step < 0):
        child = members[kin.job_id].job if kin.job_id in members else reader.job_in_short(kin.job_id)
        if child is None:
            continue
        joins = kin.step < 0
        parents = (joined.get((kin.attempt, -1 - kin.step)) or [parent.id]) if joins else [parent.id]
        if not joins:
            joined[kin.attempt, kin.step].append(child.id)
        layer = 1 + max(members[each].layer for each in parents)
        known = members.get(child.id)
        if known is not None:  # it was there before, and came of another one, too
            known.parents += [
                each for each in parents if members[each].layer < known.layer and each not in known.parents
            ]
            continue
        members[child.id] = FamilyMember(
            child, layer, (*above.stage, (kin.step, child.type)), parents, "" if joins else kin.name,
            kin.attempt != parent.result_attempt,
        )  # fmt: skip
        fresh.append(child)
    return fresh


def _onto(reader: Reader, members: dict[int, FamilyMember], job: Job) -> None:
    """Where the job that was asked for is behind what was read, add the way to it."""
    way: list[Job] = []
    while job.id not in members and len(way) < MOST_ABOVE:
        way.append(job)
        parent = reader.job_in_short(job.chain.parent) if job.chain is not None and job.chain.parent else None
        if parent is None:
            return
        job = parent
    for each in reversed(way):
        above = members[job.id]
        stage = (*above.stage, (0, each.type))
        members[each.id] = FamilyMember(each, above.layer + 1, stage, [job.id])
        job = each


# ------------------------------------------------------------------ what is drawn


class _Drawing:
    def __init__(self, members: dict[int, FamilyMember], here: int) -> None:
        self.members = members
        self.here = here
        self.way = self._way_to(here)
        self.nodes: dict[object, FamilyNode] = {}
        self.edges: dict[tuple[object, object], None] = {}
        self.node_of: dict[int, object] = {}

    def _way_to(self, job_id: int) -> set[int]:
        """The job itself and all that it came of: these are drawn one by one."""
        way, left = set[int](), [job_id]
        while left:
            each = left.pop()
            if each not in way and each in self.members:
                way.add(each)
                left += self.members[each].parents[:1]
        return way

    def jobs(self) -> None:
        in_layer: dict[int, int] = defaultdict(int)
        for member in self.members.values():
            in_layer[member.layer] += 1
        for number, member in self.members.items():
            job = member.job
            alone = number in self.way or in_layer[member.layer] <= MOST_IN_LAYER
            key = number if alone else (member.layer, member.stage, job.status)
            self.node_of[number] = key
            node = self.nodes.setdefault(key, FamilyNode(member.layer, job.type, str(job.status)))
            node.jobs.append(member)
            node.here = number == self.here
            for parent in member.parents:
                self.edges[self.node_of[parent], key] = None
        for node in self.nodes.values():
            single = node.jobs[0] if len(node.jobs) == 1 else None
            if single is not None:
                node.url, node.note = f"/jobs/{single.job.id}", single.output or single.job.source_path or ""

    def ghosts(self) -> None:
        """What is still to come, and what was not read."""
        for number, member in list(self.members.items()):
            chain, key = member.job.chain, self.node_of[number]
            if chain is None:
                continue
            if member.cut:
                ghost = FamilyNode(member.layer + 1, "", "unread", note="and more", url=f"/jobs/{number}")
                self._ghost(("unread", key), key, ghost)
            if chain.rest is not None:
                said, url = f"{chain.rest.left:,} jobs", f"/operations/{chain.rest.operation}"
                ghost = FamilyNode(member.layer + 1, said, "to-come", note=f"of job {number}", url=url)
                self._ghost(("rest", number), key, ghost)
            if member.job.status not in ENDED:
                self._plan(chain.then, key, member.layer + 1, member.stage)
            else:
                self._unjoined(member)

    def _unjoined(self, parent: FamilyMember) -> None:
        """The jobs that will join what a result has started, once all of these have ended."""
        assert parent.job.chain is not None
        for number, step in enumerate(parent.job.chain.then):
            if step.join is None:
                continue
            stage = [
                each
                for each in self.members.values()
                if each.parents[:1] == [parent.job.id] and each.stage[-1][0] == number and not each.former
            ]
            if all(each.job.status in ENDED for each in stage):
                continue  # it is there, or does not come
            joins = (*parent.stage, (-1 - number, step.join.type))
            join = ("plan", joins)
            for each in stage:
                ghost = FamilyNode(parent.layer + 2, step.join.type, "to-come", note="joins these")
                self._ghost(join, self.node_of[each.job.id], ghost)
            self._plan(step.join.then or (), join, parent.layer + 3, joins)

    def _plan(self, steps: Iterable[Step], above: object, layer: int, stage: StagePath) -> None:
        for number, step in enumerate(steps):
            deeper = (*stage, (number, step.type))
            key = ("plan", deeper)
            self._ghost(key, above, FamilyNode(layer, step.type, "to-come", note=f"of {step.outputs}"))
            self._plan(step.then or (), key, layer + 1, deeper)
            if step.join is not None:
                joins = (*stage, (-1 - number, step.join.type))
                join = ("plan", joins)
                self._ghost(join, key, FamilyNode(layer + 1, step.join.type, "to-come", note="joins these"))
                self._plan(step.join.then or (), join, layer + 2, joins)

    def _ghost(self, key: object, above: object, ghost: FamilyNode) -> None:
        self.nodes.setdefault(key, ghost)
        self.edges[above, key] = None


def graph_of(family: Family, here: int) -> FamilyGraph:
    """Where each node stands, the first job at the left."""
    drawing = _Drawing(family.members, here)
    drawing.jobs()
    drawing.ghosts()
    layers: dict[int, list[object]] = defaultdict(list)
    for key, node in drawing.nodes.items():
        layers[node.layer].append(key)
    above: dict[object, list[object]] = defaultdict(list)
    for start, end in drawing.edges:
        above[end].append(start)
    place: dict[object, float] = {}
    height = max(len(keys) for keys in layers.values()) * (HEIGHT + DOWN) - DOWN
    for number, layer in enumerate(sorted(layers)):
        # Beside what they came of, so that few lines cross.
        keys = sorted(layers[layer], key=lambda key: _mean([place[each] for each in above[key] if each in place]))
        top = EDGE + (height - len(keys) * (HEIGHT + DOWN) + DOWN) / 2
        for row, key in enumerate(keys):
            node = drawing.nodes[key]
            node.x, node.y = EDGE + number * (WIDTH + ACROSS), top + row * (HEIGHT + DOWN)
            place[key] = node.y
        layers[layer] = keys
    drawn = [[drawing.nodes[key] for key in layers[layer]] for layer in sorted(layers)]
    for number, node in enumerate(node for nodes in drawn for node in nodes):
        node.number = number
        if not node.url:
            node.url = f"#node-{number}"
    lines = [_line(drawing.nodes[start], drawing.nodes[end]) for start, end in drawing.edges]
    width = len(drawn) * (WIDTH + ACROSS) - ACROSS
    return FamilyGraph(drawn, lines, width + 2 * EDGE, height + 2 * EDGE)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0


def _line(start: FamilyNode, end: FamilyNode) -> str:
    x, y = start.x + WIDTH, start.y + HEIGHT / 2
    to_x, to_y = end.x, end.y + HEIGHT / 2
    bend = min(ACROSS, to_x - x) / 2
    return f"M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x:g} {to_y:g}"


def changing(family: Family, here: int, most: int) -> list[int]:
    """The jobs of which a page that shows the family wants to hear: those that have not ended come first."""
    by_need = sorted(family.members, key=lambda each: (each != here, family.members[each].job.status in ENDED))
    return by_need[:most]
