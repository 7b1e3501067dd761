"""`python -m blobforge.demo.pages`: the converters of the demo's chain. Which of them it is to be, and where its
files are, the worker says in its environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from blobforge.demo import convert
from blobforge.demo.samples import BROKEN, DAMAGED_PAGE, FOLDER


def main() -> int:
    """Split, convert or join; 0 when that worked."""
    names = ("SOURCE", "OUTPUT", "OUTPUTS", "INPUTS")
    where = {name: Path(os.environ.get(f"BLOBFORGE_{name}", "")) for name in names}
    match os.environ["BLOBFORGE_JOB_TYPE"]:
        case "split":
            split(where["SOURCE"], where["OUTPUTS"])
        case "page":
            return page(where["SOURCE"], where["OUTPUT"])
        case _:
            join(where["INPUTS"], where["OUTPUT"])
    return 0


def split(source: Path, outputs: Path) -> None:
    """A file for each page. One of them is damaged on purpose: no converter gets anything out of it."""
    for number, each in enumerate(PdfReader(source).pages, start=1):
        path = outputs / f"page-{number:03}.pdf"
        if number == DAMAGED_PAGE:
            shutil.copy(FOLDER / BROKEN, path)
            continue
        writer = PdfWriter()
        writer.add_page(each)
        writer.write(path)


def page(source: Path, output: Path) -> int:
    """The text of one page, by pdftotext where it is installed."""
    if (program := shutil.which("pdftotext")) is None:
        return convert.main(str(source), str(output))
    return subprocess.run([program, "-layout", source, output], check=False).returncode  # noqa: S603 - its own files


def join(inputs: Path, output: Path) -> None:
    """All texts, by the names of their pages."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(inputs.rglob("*")) if path.is_file()]
    output.write_text("".join(texts), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
