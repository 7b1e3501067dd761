"""A command on a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from tests.cli.conftest import COMMAND, Running, clean_environment

PATIENCE = 60  # seconds; a busy machine takes its time
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """What is typed and what is read."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self.child = child
        self.seen = ""

    def see(self, text: str) -> None:
        """Wait until `text` has been shown."""
        self.child.expect_exact(text)
        self.seen += self.child.before + self.child.after

    def type(self, text: str) -> None:
        self.child.sendline(text)

    def type_hidden(self, text: str) -> None:
        """Type once the echo is off."""
        assert self.child.waitnoecho(PATIENCE)
        self.type(text)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code.

        Python can miss one that comes just before it begins to read a line, as a person's never does: hence again.
        """
        for _ in range(PATIENCE // 5):
            self.child.sendintr()
            if self.child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 0:
                return self._exit_code()
        raise AssertionError(f"it goes on: {self.child.before!r}")

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        self.child.expect(pexpect.EOF)
        return self._exit_code()

    def _exit_code(self) -> int:
        self.seen += self.child.before
        self.child.close()
        assert self.child.exitstatus is not None, f"ended by signal {self.child.signalstatus}"
        return int(self.child.exitstatus)

    @property
    def text(self) -> str:
        """What was shown, without colours and cursor movements."""
        return ESCAPE.sub("", self.seen)


@contextmanager
def terminal(
    running: Running | None, *arguments: str, cwd: Path | None = None, columns: int = 120, **environment: str
) -> Iterator[Terminal]:
    """Run a command of ours; it does not outlive the block."""
    more = {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        cwd=str(cwd or (running.folder if running else ".")),
        env=running.environment(**more) if running else clean_environment(**more),
        encoding="utf-8",
        codec_errors="replace",
        timeout=PATIENCE,
        dimensions=(40, columns),
    )
    try:
        yield Terminal(child)
    finally:
        child.close(force=True)
