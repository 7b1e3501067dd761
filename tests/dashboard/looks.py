"""How a page is looked at: with axe-core, by its width, by what it loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Page, Request

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1360, "height": 860}


@cache
def axe() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def violations(page: Page, within: str | None = None) -> list[str]:
    """What axe-core finds, a line each: the rule and the first elements. `within`: a selector, for a part only."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe())  # the debugger's own evaluation: no policy of the page is in its way, and none is lifted
    context = json.dumps({"include": [[within]]}) if within else "document"
    options = json.dumps({"resultTypes": ["violations"], "runOnly": RULES})
    found: dict[str, Any] = page.evaluate(f"axe.run({context}, {options})")
    return [
        f"{page.url} {each['id']}: "
        + "; ".join(f"{node['target']} {node['html'][:120]}" for node in each["nodes"][:4])
        for each in found["violations"]
    ]


def scrolls_sideways(page: Page) -> bool:
    """By the width of the layout: that of the window grows with what does not fit, where a phone is imitated."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def small_targets(page: Page) -> list[str]:
    """What is to be touched and is less than 24 pixels high or wide."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("button, .button, select, summary, .top a, input")]
            .filter(each => each.type !== "checkbox")
            .filter(each => { const box = each.getBoundingClientRect();
                              return box.width && Math.min(box.width, box.height) < 24; })
            .map(each => each.outerHTML.slice(0, 120))"""
    )
    return found


@contextmanager
def refreshes(page: Page) -> Iterator[list[Request]]:
    """The refreshes that the page's script makes meanwhile."""
    made: list[Request] = []

    def note(request: Request) -> None:
        if "x-live" in request.headers:
            made.append(request)

    page.on("request", note)
    yield made
    page.remove_listener("request", note)
