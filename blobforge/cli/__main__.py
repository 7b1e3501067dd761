"""`python -m blobforge.cli`: the command where no script directory is on the PATH."""

from __future__ import annotations

from blobforge.cli import main

if __name__ == "__main__":
    main(prog_name="blobforge")
