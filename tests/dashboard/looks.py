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


def spills(page: Page) -> list[str]:
    """Boxes and cells whose content reaches over their edge, and so over what stands beside them."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("main :is(td, th, dt, dd, .tile, .panel, .row)")]
            .filter(each => each.checkVisibility() && getComputedStyle(each).overflowX === "visible")
            .filter(each => each.scrollWidth > each.clientWidth + 1)
            .map(each => each.outerHTML.slice(0, 160))"""
    )
    return found


def crowded(page: Page) -> list[str]:
    """Buttons that another one touches: less than 4 pixels are between them."""
    found: list[str] = page.evaluate(
        """() => {
            const boxes = [...document.querySelectorAll("main button, main .button")]
                .filter(each => each.checkVisibility()).map(each => [each, each.getBoundingClientRect()]);
            const touch = (a, b) => a.left < b.right + 4 && b.left < a.right + 4
                                 && a.top < b.bottom + 4 && b.top < a.bottom + 4;
            return boxes.flatMap(([each, box], n) => boxes.slice(n + 1).filter(([, other]) => touch(box, other))
                .map(([beside]) => `${each.textContent.trim()}, ${beside.textContent.trim()}`));
        }"""
    )
    return found


def uneven(page: Page) -> list[str]:
    """Rows of a form whose fields and buttons are not of one height."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("form.row")].map(row => [row, new Set(
                [...row.querySelectorAll(":scope > div > :is(input, select), :scope > :is(button, .button)")]
                    .filter(each => !["checkbox", "file", "hidden"].includes(each.type))
                    .map(each => Math.round(each.getBoundingClientRect().height)).filter(Boolean))])
            .filter(([, heights]) => Math.max(...heights) - Math.min(...heights) > 1)
            .map(([row, heights]) => `${row.action} ${[...heights]}`)"""
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
