"""What the pages lead to: read from a page as it was sent, and followed from page to page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from werkzeug.routing import Map, Rule

from web.app import IdConverter, TypeConverter, WorkerConverter, routes

MOST_ALIKE = 4  # addresses of one route that are looked at
# What a page has a browser ask for, beside its links and forms.
ASKED = ("href", "src", "data-pdf", "data-frame", "data-chart", "data-log")
_NUMBER = re.compile(r"\d[\d,]*")
_ONE = re.compile(r"\bN (job|worker)\b")
_NAMED = re.compile(r"^(Resume type) .*$")


class Led(HTMLParser):
    """What a page leads to: addresses that are asked for, forms that are sent, and the buttons that send them, by the
    address and what stands on them. `loose` buttons send nothing themselves: by an id, or by a `data-` attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.sent: set[str] = set()
        self.buttons: set[tuple[str, str]] = set()
        self.loose: set[str] = set()
        self._form: dict[str, str | None] = {}
        self._pressed: str | None = None  # where the button that is being read sends its form
        self._words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.asked |= {value for name in ASKED if (value := found.get(name))}
        if tag == "form":
            self._form = found
            self._send(found.get("action"), found.get("method"))
        if tag in ("button", "input") and "formaction" in found:
            self._send(found["formaction"], found.get("formmethod") or self._form.get("method"))
        if tag == "button" and found.get("type") == "button":
            names = sorted(name for name in found if name.startswith("data-"))
            self.loose.add(found.get("id") or (names[0] if names else "a button without a name"))
        elif tag == "button" and (found.get("formmethod") or self._form.get("method") or "get").lower() == "post":
            self._pressed, self._words = found.get("formaction") or self._form.get("action") or "", []

    def handle_data(self, data: str) -> None:
        if self._pressed is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "button" and self._pressed is not None:
            self.buttons.add((self._pressed, label_of("".join(self._words))))
            self._pressed = None
        if tag == "form":
            self._form = {}

    def _send(self, action: str | None, method: str | None) -> None:
        if (method or "get").lower() == "post":
            self.sent.add(action or "")
        elif action and method != "dialog":
            self.asked.add(action)


def label_of(text: str) -> str:
    """What stands on a button, without what differs from one to the next: numbers and names."""
    return _NAMED.sub(r"\1 …", _ONE.sub(r"N \1s", _NUMBER.sub("N", text.strip())))


def addresses() -> Any:
    found = Map(
        [Rule(route.path, methods=[route.method], endpoint=route) for route in routes()],
        converters={"id": IdConverter, "worker": WorkerConverter, "type": TypeConverter},
        merge_slashes=False,
    )
    return found.bind("a.test")


def name_of(known: Any, method: str, address: str) -> str:
    """The route of an address, as `POST /do/jobs/<id:job_id>/retry`."""
    route, _ = known.match(urlsplit(address).path, method=method)
    return str(route.name)


def actions_on(known: Any, led: Led) -> set[tuple[str, str]]:
    """The actions of a page: the path of a route, and what stands on the button."""
    return {(name_of(known, "POST", to).removeprefix("POST "), label) for to, label in led.buttons}


def walk(
    client: httpx.Client, known: Any, begin: list[str], may_ask: Callable[[str], bool]
) -> Iterator[tuple[str, httpx.Response, Led | None]]:
    """Each address that the pages lead to, from these on, with its answer, and what a page leads to. What may not be
    asked for is not followed; of addresses that are alike, some are."""
    left, seen, times = list(begin), set(begin), Counter[str]()
    while left:
        address = left.pop(0)
        answer = client.get(address)
        if "text/html" not in answer.headers.get("Content-Type", "") or answer.status_code != 200:
            yield address, answer, None
            continue
        led = Led(answer.text)
        yield address, answer, led
        for to in sorted(led.asked):
            path = path_of(address, to)
            if path is None or path in seen or not may_ask(path):
                continue
            if times[name_of(known, "GET", path)] < MOST_ALIKE:
                times[name_of(known, "GET", path)] += 1
                seen.add(path)
                left.append(path)


def path_of(address: str, to: str) -> str | None:
    """Where a link on the page of that address leads, on this server; None: to none of its pages."""
    further = urlsplit(urljoin(address, to))
    if further.netloc or further.path.startswith(("/static/", "/events")):
        return None
    return f"{further.path}?{further.query}".rstrip("?")
