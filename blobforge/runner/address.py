"""Where a function is to be found again by another process: its module, or its script, and its name in there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

MAIN = "__mp_main__"
"""What a script is called that is imported by a child; multiprocessing calls it so, and so pickles agree."""


class Address(msgspec.Struct, frozen=True):
    """`module` to import, or `script` to load; `name` is the dotted name in it; `path` is the importing sys.path."""

    name: str
    module: str | None
    script: str | None
    path: list[str]


def address_of(function: Callable[..., Any]) -> Address:
    """Raises ValueError, saying what to do, for what another process cannot find."""
    name, module = getattr(function, "__qualname__", None), getattr(function, "__module__", None)
    if name is None or module is None or "<" in name:
        raise ValueError(
            f"{name or function!r} cannot be found by the process that is to run it: "
            "make it a function at the top of a module, or give isolation='thread'"
        )
    path = [str(Path(entry or ".").absolute()) for entry in sys.path]
    if module != "__main__":
        return Address(name, module, None, path)
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return Address(name, spec.name, None, path)
    script = getattr(main, "__file__", None)
    if script is None or not Path(script).is_file():
        raise ValueError(f"{name} was typed in, not written to a file: give isolation='thread'")
    return Address(name, None, str(Path(script).absolute()), path)


def address_named(name: str) -> Address:
    """The address of `package.module:function`, importable from the working folder as well. Raises ValueError."""
    module, found, function = name.partition(":")
    if not found or not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        raise ValueError(f"{name!r} names no function; one is package.module:function")
    path = [str(Path(entry or ".").absolute()) for entry in ("", *sys.path)]
    return Address(function, module, None, path)


def find(address: Address) -> Any:
    """Import it. Raises whatever its module raises."""
    sys.path[:] = address.path
    if address.script is None:
        assert address.module is not None
        found: Any = importlib.import_module(address.module)
    else:
        spec = importlib.util.spec_from_file_location(MAIN, address.script)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        sys.modules[MAIN] = sys.modules["__main__"] = found
        spec.loader.exec_module(found)
    for part in address.name.split("."):
        found = getattr(found, part)
    return found
