"""The sample documents, and the words that must come out of each. `make_samples.py` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).with_name("samples")

BROKEN = "broken.pdf"
"""Damaged on purpose: no converter gets anything out of it."""

PAGED = "report.pdf"
"""It has several pages. In the demo of a chain the second one is damaged."""

DAMAGED_PAGE = 2

PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "invoice.pdf": ("Invoice 2026-0417", "Hex bolts M8", "Total due", "1,284.50"),
        "letter.pdf": ("Dear reader,", "each job is handed out, worked on and completed once"),
        "menu.pdf": ("Crème brûlée", "Jalapeños à la façon d’Øystein", "7,50 €", "Größe"),
        "report.pdf": ("A short history of queues", "Chapter 3", "The last line of the last page."),
    }
)
"""What each good sample says. White space between words may differ from converter to converter."""


def missing_phrases(name: str, text: str) -> list[str]:
    """The phrases of sample `name` that `text` does not have, taking any run of white space for one space."""
    flat = " ".join(text.split())
    return [phrase for phrase in PHRASES[name] if phrase not in flat]
