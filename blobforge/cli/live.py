"""What moves on a terminal while a command runs: a picture of rich's, started and stopped with a block."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Picture(Protocol):
    """rich's `Live` or `Progress`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Shown:
    """A context manager that shows `picture` inside its block; without a picture nothing moves."""

    picture: Picture | None = None

    def __enter__(self) -> Self:
        if self.picture is not None:
            self.picture.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.picture is not None:
            self.picture.stop()
