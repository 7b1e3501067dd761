"""The index of texts is made behind the commits, a few jobs at a time."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from actors.messages import IndexTexts, TextsIndexed
from blobforge import texts
from blobforge.texts import JobTexts

MOST_CHARACTERS = 100_000  # of all jobs of one transaction, or those of one job: a few tens of ms


def index(tx: Transaction, message: IndexTexts) -> TextsIndexed:
    """Jobs that were changed come first, then new ones."""
    rows = tx.store.texts
    piece = _IndexPiece(tx)
    for job_id, said in rows.changed(limit=message.limit):
        if piece.is_full:
            break
        piece.settled.append(job_id)
        if said is None:
            piece.dropped.append(job_id)
        else:
            piece.take(said)
    new = 0
    for said in rows.unindexed(limit=message.limit - len(piece.settled)):
        if piece.is_full:
            break
        piece.take(said)
        new, upto = new + 1, said.job_id
    piece.write()
    if new:
        rows.indexed(upto=upto)
    jobs = len(piece.settled) + new
    return TextsIndexed(jobs, more=piece.is_full or jobs == message.limit)


class _IndexPiece:
    """The part of the index that one transaction writes."""

    def __init__(self, tx: Transaction) -> None:
        self._rows = tx.store.texts
        self._taken: dict[int, str] = {}  # a job that is new may have been changed since, too
        self._large: list[int] = []
        self._characters = 0
        self.settled: list[int] = []
        self.dropped: list[int] = []

    @property
    def is_full(self) -> bool:
        return self._characters >= MOST_CHARACTERS

    def take(self, said: JobTexts) -> None:
        paths = [said.path] if said.path is not None else []
        if said.further:
            paths += self._rows.further_paths(said.job_id)
        text = texts.indexed(paths, said.tags)
        if text is None:
            self._large.append(said.job_id)
            self._characters += sum(map(len, paths))
        else:
            self._taken[said.job_id] = text
            self._characters += len(text)

    def write(self) -> None:
        self._rows.save(list(self._taken.items()))
        self._rows.drop([*self.dropped, *self._large])
        self._rows.settle(self.settled)
        for job_id in self._large:
            self._rows.leave_out(job_id)
