"""Errors in the groups that nurseries put around theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors themselves."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def root_cause(error: BaseException) -> BaseException:
    """The one error worth telling: an interruption before a failure, a failure before a cancellation."""
    return min(leaves(error), key=_rank)


def _rank(error: BaseException) -> int:
    return 0 if isinstance(error, KeyboardInterrupt | SystemExit) else 1 if isinstance(error, Exception) else 2


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the root cause of a group in its place: the caller does not see that there is a nursery."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise root_cause(group) from None
