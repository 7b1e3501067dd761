"""An error from inside a nursery reaches the caller as itself."""

from __future__ import annotations

import pytest

from blobforge.machinery.groups import leaves, root_cause, unwrapped


def test_the_errors_of_nested_groups() -> None:
    first, second = ValueError("first"), OSError("second")
    assert list(leaves(ExceptionGroup("", [ExceptionGroup("", [first]), second]))) == [first, second]
    assert list(leaves(first)) == [first]


@pytest.mark.parametrize("others", [[ValueError("a")], [ValueError("a"), GeneratorExit()]])
def test_an_interruption_comes_before_failures(others: list[BaseException]) -> None:
    assert isinstance(root_cause(BaseExceptionGroup("", [*others, KeyboardInterrupt()])), KeyboardInterrupt)
    assert isinstance(root_cause(BaseExceptionGroup("", others[::-1])), ValueError)


def test_several_that_fail_at_once_are_one_error() -> None:
    with pytest.raises(ValueError, match="first"), unwrapped():
        raise ExceptionGroup("", [ValueError("first"), ExceptionGroup("", [ValueError("second")])])


def test_what_is_no_group_passes() -> None:
    with pytest.raises(OSError, match="alone"), unwrapped():
        raise OSError("alone")
