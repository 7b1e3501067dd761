"""`python -m blobforge.demo.convert SOURCE OUTPUT`: the text of a PDF, by pypdf. For where pdftotext is missing."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import PyPdfError


def main(source: str, output: str) -> int:
    """Write the text of `source` to `output`; 0 when that worked, 1 with a line on stderr when it did not."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its last word is the error, told below
    try:
        pages = [page.extract_text() for page in PdfReader(source, strict=True).pages]
    except (PyPdfError, ValueError, KeyError, OSError) as error:
        print(f"not a readable PDF: {error}", file=sys.stderr)
        return 1
    Path(output).write_text("\f".join(pages) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) == 3 else "usage: python -m blobforge.demo.convert SOURCE OUTPUT")
