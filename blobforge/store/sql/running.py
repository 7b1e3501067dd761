"""What runs a statement of `sql.py`: an engine has one of each for its connections.

A statement is spelled with `?`, or with `?1`, `?2` where a value is used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

Row = tuple[Any, ...]


class Queries(Protocol):
    """Runs what only reads, on a connection of its own."""

    def rows(self, statement: str, values: Row = ()) -> list[Row]: ...
    def row(self, statement: str, values: Row = ()) -> Row | None:
        """The first row, if there is one."""

    def each(self, statement: str, values: Row = ()) -> Generator[Row, None, None]:
        """Row by row, as they are taken; of a statement that may have very many. To be closed, within a `moment`."""

    def moment(self) -> AbstractContextManager[None]:
        """The statements within see one moment. One inside another is the same one."""

    def outages_told(self) -> AbstractContextManager[None]:
        """Raises DatabaseError where the engine cannot answer."""

    def close(self) -> None: ...


class Statements(Protocol):
    """Runs what reads and writes, inside the writer's transaction. Raises StoreUnavailable for an outage."""

    def rows(self, statement: str, values: Row = ()) -> list[Row]: ...
    def row(self, statement: str, values: Row = ()) -> Row | None:
        """The first row, if there is one."""

    def number(self, statement: str, values: Row = ()) -> int:
        """The one number that it gives."""

    def change(self, statement: str, values: Row = ()) -> int:
        """How many rows it has changed."""

    def insert(self, statement: str, values: Row) -> int:
        """The number that the new row got."""

    def patience(self) -> AbstractContextManager[None]:
        """Around statements that take as long as there are jobs: else one that takes longer than moments is taken for
        a lost connection."""

    @property
    def written(self) -> int:
        """How many rows have been written so far: it goes up when, and only when, a statement changes one."""

    def close(self) -> None: ...


class _Asking(Protocol):
    _ask: Queries


S = TypeVar("S", bound=_Asking)
P = ParamSpec("P")
T = TypeVar("T")


def of_one_moment(ask: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """For a method that asks with several statements."""

    def asked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._ask.moment():
            return ask(self, *args, **kwargs)

    return asked
