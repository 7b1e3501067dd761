"""Commands that work on the data folder itself, on the machine that it is on, and ask no server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from blobforge.cli import common
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.config import Settings


def settings(options: Mapping[str, object] | None = None) -> Settings:
    """The settings that `serve` would have here; `options` that are not None come before the environment. Raises
    CliError."""
    from blobforge.config import ConfigError
    from blobforge.environment import load

    chosen = {name: str(value) for name, value in (options or {}).items() if value is not None}
    try:
        return load({**os.environ, **chosen})
    except ConfigError as error:
        raise CliError(str(error), common.USAGE) from error


def database_file(path: Path | None, *, instead: str = "") -> Path:
    """The file that was named, or that of the configuration. Raises CliError when there is none, or the database is
    PostgreSQL, where that is done in another way (`instead`)."""
    here = settings()
    if path is None and here.database_url:
        raise CliError(f"The database is PostgreSQL ({here.shown_database}), and no file of ours.", hint=instead)
    file = path or here.database
    if not file.is_file():
        raise CliError(
            f"There is no database {file}.",
            hint="BLOBFORGE_DATA_DIR or BLOBFORGE_DB_PATH name it; `blobforge config` shows what is in force here.",
        )
    return file


@contextmanager
def locked(here: Settings) -> Iterator[None]:
    """No server runs on the data folder or its database meanwhile. Raises StartError."""
    from blobforge.machinery import datadir

    file = nullcontext() if here.database_url else datadir.locked(here.database)
    with datadir.locked(here.data_path / "server"), file:
        yield


@contextmanager
def explained() -> Iterator[None]:
    """Tell an error of a file or a database in one line."""
    from blobforge.machinery.datadir import StartError
    from blobforge.store.errors import DatabaseError

    try:
        yield
    except DatabaseError as error:
        raise CliError(str(error)) from error
    except StartError as error:
        raise CliError(str(error), common.CONFLICT) from error
