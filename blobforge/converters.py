"""Converters: a name and a version (PEP 440), as workers say them, and which of them a filter takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

LONGEST: Final = 200  # characters of a converter, and of a filter
MOST_CONVERTERS: Final = 1000  # that results were made by: filters look at each
UNKNOWN: Final = "none"  # the filter that takes completed jobs of which no converter was said

_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"


def _any_case(*words: str) -> str:
    """Spelt out: patterns of JSON Schema have no flags."""
    return "|".join("".join(f"[{letter}{letter.upper()}]" for letter in word) for word in words)


# The versions of PEP 440, as its appendix B has them.
_VERSION: Final = (
    r"[vV]?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*"
    rf"(?:[-_.]?(?:{_any_case('alpha', 'beta', 'preview', 'pre', 'rc', 'a', 'b', 'c')})[-_.]?[0-9]*)?"
    rf"(?:-[0-9]+|[-_.]?(?:{_any_case('post', 'rev', 'r')})[-_.]?[0-9]*)?"
    rf"(?:[-_.]?{_any_case('dev')}[-_.]?[0-9]*)?"
    r"(?:\+[a-zA-Z0-9]+(?:[-_.][a-zA-Z0-9]+)*)?"
)
PATTERN: Final = rf"^{_NAME} +{_VERSION}\Z"
# Versions in a filter, without what only a published version may have.
_RELEASE: Final = r"[0-9]+(?:\.[0-9]+)*"
_SAID: Final = rf"{_RELEASE}(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
_CLAUSE: Final = rf"(?:~= ?[0-9]+(?:\.[0-9]+)+|[=!]= ?(?:{_RELEASE}\.\*|{_SAID})|[<>]=? ?{_SAID})"
_WANTED: Final = re.compile(rf"({_NAME}) ?({_CLAUSE}(?:, ?{_CLAUSE})*)?")
WANTED_PATTERN: Final = rf"^{_NAME} ?(?:{_CLAUSE}(?:, ?{_CLAUSE})*)?\Z"
_CONVERTER: Final = re.compile(rf"({_NAME}) +({_VERSION})")


class NamedVersion(msgspec.Struct, frozen=True):
    """`name` is compared as packages' names are: `Marker_PDF` is `marker-pdf`."""

    name: str
    version: Version

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class UnfitConverter(ValueError):
    """The text names no converter, or is no filter of converters; it says why."""


@lru_cache(maxsize=4 * MOST_CONVERTERS)
def converter(text: str) -> NamedVersion:
    """`"marker 1.3.2"` as a converter. Raises UnfitConverter."""
    found = _CONVERTER.fullmatch(text)
    if found is None or len(text) > LONGEST:
        raise UnfitConverter(
            f'{text[:LONGEST]!r} is no converter: say its name and its version (PEP 440), as in "marker 1.3.2"'
        )
    return NamedVersion(found[1], Version(found[2]))


class Wanted:
    """The converters that a filter takes: those of one name, by version; or `none`."""

    def __init__(self, name: str | None, versions: SpecifierSet) -> None:
        self._name = name
        self._versions = versions

    @property
    def unknown(self) -> bool:
        """Whether it takes results of which no converter was said, and no others."""
        return self._name is None

    def takes(self, made_by: str) -> bool:
        """Whether it takes this converter, in the words of `str(NamedVersion)`."""
        made = converter(made_by)
        return canonicalize_name(made.name) == self._name and self._versions.contains(made.version, prereleases=True)


@lru_cache(maxsize=256)
def wanted(text: str) -> Wanted:
    """`marker`, `marker<1.3`, `marker>=1.2,!=1.3.*` or `none` as a filter. Raises UnfitConverter."""
    if text == UNKNOWN:
        return Wanted(None, SpecifierSet())
    found = _WANTED.fullmatch(text)
    if found is None or len(text) > LONGEST:
        raise UnfitConverter(
            f"{text[:LONGEST]!r} is no filter: give a name and versions (PEP 440), as 'marker<1.3', or 'none'"
        )
    return Wanted(canonicalize_name(found[1]), SpecifierSet(found[2] or ""))
