"""Write the sample PDFs anew: `python -m blobforge.demo.make_samples [FOLDER]`. Needs fpdf2 (the test extra).

Only core fonts and one fixed date are used, so that the same version of fpdf2 writes the same bytes each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

from blobforge.demo.samples import BROKEN, FOLDER

_DATE = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def _document(title: str) -> FPDF:
    pdf = FPDF()
    pdf.core_fonts_encoding = "windows-1252"  # latin-1, and the euro sign and typographic quotes besides
    pdf.set_creation_date(_DATE)
    pdf.set_title(title)
    pdf.set_author("BlobForge")
    pdf.set_font("Helvetica", size=11)
    return pdf


def _heading(pdf: FPDF, text: str) -> None:
    pdf.set_font("Helvetica", style="B", size=18)
    pdf.cell(0, 14, text, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=11)


def _paragraph(pdf: FPDF, text: str) -> None:
    pdf.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)


def letter() -> FPDF:
    """One page of plain text."""
    pdf = _document("A letter")
    pdf.add_page()
    _heading(pdf, "A letter to whoever runs the demo")
    _paragraph(pdf, "Dear reader,")
    _paragraph(
        pdf,
        "this page was handed to a worker by a server that you have just started. The worker fetched it with a "
        "signed URL, ran a converter on it, and put the text back with another.",
    )
    _paragraph(pdf, "What you should find is that each job is handed out, worked on and completed once.")
    _paragraph(pdf, "Yours, the demo")
    return pdf


def report() -> FPDF:
    """Several pages, with something to find on the last one."""
    pdf = _document("A short history of queues")
    chapters = (
        ("Chapter 1", "At first there was one clerk and one window, and people stood in a line."),
        ("Chapter 2", "Then there were many windows. Somebody had to say who goes to which, and only once."),
        ("Chapter 3", "A clerk who falls asleep must not keep the line waiting; one who wakes must not serve twice."),
    )
    for number, (title, text) in enumerate(chapters, start=1):
        pdf.add_page()
        if number == 1:
            _heading(pdf, "A short history of queues")
        _heading(pdf, title)
        for _ in range(4):
            _paragraph(pdf, text)
        if number == len(chapters):
            _paragraph(pdf, "The last line of the last page.")
    return pdf


def invoice() -> FPDF:
    """A table, the kind of page that `pdftotext -layout` is for."""
    pdf = _document("An invoice")
    pdf.add_page()
    _heading(pdf, "Invoice 2026-0417")
    rows = (
        ("Item", "Quantity", "Price", "Amount"),
        ("Hex bolts M8", "500", "0.42", "210.00"),
        ("Steel plate 3 mm", "12", "74.50", "894.00"),
        ("Delivery", "1", "180.50", "180.50"),
        ("Total due", "", "", "1,284.50"),
    )
    for row in rows:
        for text, width, align in zip(row, (80, 30, 30, 40), "LRRR", strict=True):
            pdf.cell(width, 8, text, border=1, align=align)
        pdf.ln(8)
    return pdf


def menu() -> FPDF:
    """Letters and signs beyond ASCII."""
    pdf = _document("A menu")
    pdf.add_page()
    _heading(pdf, "Speisekarte \u2013 La carte \u2013 La carta")
    for dish in (
        "Jalapeños à la façon d\u2019Øystein \u2013 11 \u20ac",
        "Käsespätzle, Größe nach Wunsch \u2013 9,80 \u20ac",
        "Crème brûlée \u2013 7,50 \u20ac",
        "\u201cPiñata\u201d, ½ Portion \u2013 5 £",
    ):
        _paragraph(pdf, dish)
    return pdf


def broken() -> bytes:
    """A file that begins like a PDF and was cut off and scrambled in the middle: no page is left in it."""
    whole = bytes(letter().output())
    return whole[:9] + bytes(byte ^ 0x5A for byte in whole[9:700])


GOOD: dict[str, Callable[[], FPDF]] = {
    "invoice.pdf": invoice,
    "letter.pdf": letter,
    "menu.pdf": menu,
    "report.pdf": report,
}


def make(folder: Path) -> None:
    """Write all samples into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in GOOD.items():
        (folder / name).write_bytes(bytes(write().output()))
    (folder / BROKEN).write_bytes(broken())


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
