"""The commons of the one server that can have the file open: small files in its data folder. State owned here: the
first link, which lives as long as the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from blobforge.machinery.datadir import write_private
from blobforge.store.commons import Examination, Secret, ServerState, is_same


class FileCommons:
    alone = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._link: str | None = None

    def secret(self, name: Secret, made: Callable[[], str]) -> str:
        if name is Secret.FIRST_LINK:  # one for each start
            self._link = self._link or made()
            return self._link
        path = self._folder / name
        if not path.exists() or not path.read_text().strip():
            write_private(path, made() + "\n")
        return path.read_text().strip()

    def spend(self, name: Secret, value: str) -> bool:
        known = self._link if name is Secret.FIRST_LINK else None
        if not is_same(known, value):
            return False
        self.forget(name)
        return True

    def forget(self, name: Secret, *, but: frozenset[str] = frozenset()) -> None:
        if name is Secret.FIRST_LINK:
            self._link = None
        else:
            (self._folder / name).unlink(missing_ok=True)

    def failed(self, names: tuple[str, ...]) -> float:
        return 0.0  # this server's own throttle has counted it

    def present(self, state: ServerState) -> list[ServerState]:
        return [state]

    def servers(self) -> list[ServerState]:
        return []

    def leave(self, id_: str) -> None:
        pass

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        return True

    def let_go(self, name: str, holder: str) -> None:
        pass

    def examine(self) -> Examination:
        return Examination("sqlite", apsw.sqlite_lib_version())

    def figures(self) -> None:
        return None

    def close(self) -> None:
        pass
