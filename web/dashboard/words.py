"""How pages say things: times, sizes, durations, numbers, the states of jobs and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import humanize
import msgspec
from jinja2 import Environment
from markupsafe import Markup, escape

from blobforge.forecast import Expected, share_done
from blobforge.job import tries
from web.api.encode import rfc3339
from web.dashboard.bars import bars_of

STEM = 32  # characters of a long name that stay before the gap
TAIL = 16
SOON_MS = 5_000
KIB = 1024
EARLIEST_MS, LATEST_MS = -62_135_596_800_000, 253_402_300_740_000  # from the year 1 to the end of 9999
SPARK_STEP, SPARK_HEIGHT = 4, 20
IN_BYTES = ("memory", "disk", "swap", "vram")  # what workers tell of their machines, where it is a large number


# Characters that turn the order of what stands around them, or that a browser does not show at all. A name with one
# of these in it could pass for another name; in its place stands a sign that something is there.
_CONTROLS = (*range(9), 0xB, 0xC, *range(0xE, 0x20), 0x7F)
_DIRECTIONS = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
UNSEEN = dict.fromkeys((*_CONTROLS, *_DIRECTIONS), "\ufffd")
_REFERENCES = {code: f"&#{code};" for code in UNSEEN}


def visible(value: Any) -> Any:
    """A text with nothing hidden in it. Every value that a template prints goes through here."""
    # Most texts are printable, and then there is nothing to look for: a page prints thousands.
    return value if not isinstance(value, str) or value.isprintable() else value.translate(UNSEEN)


def exact(value: object) -> Markup:
    """A value of a field that is not seen, or of a choice: what is hidden in it is sent back as it was."""
    escaped = escape(value)
    if escaped.isprintable():
        return escaped
    return Markup(str(escaped).translate(_REFERENCES))  # noqa: S704 - it is escaped


def install(environment: Environment) -> None:
    """Make these words filters of all templates."""
    environment.finalize = visible
    environment.filters |= {
        "ago": ago,
        "duration": duration,
        "exact": exact,
        "size": size,
        "count": count,
        "short": short,
        "pill": pill,
        "progress": progress,
        "span": span,
        "clock": clock,
        "time_field": time_field,
        "time_of_day": _time_of_day,
        "per_hour": per_hour,
        "bars_of": bars_of,
        "spark": spark,
        "setting_words": setting_words,
        "machine": machine,
        "tries": tries,
    }


def ago(time: int | str | None, now: int) -> Markup:
    """A time (ms, or RFC 3339) as "5 minutes ago", with the exact one on hover or touch; the script keeps it true
    while the page stands."""
    if time is None:
        return Markup("–")
    ms = _ms(time)
    exact = rfc3339(ms)
    text = relative(ms, now)
    return _time(exact, "data-ago", text)


def _time(exact: str, how: str, text: str) -> Markup:
    """A time for the script, of our own words alone: pages have hundreds, and escaping was a third of the work."""
    return Markup(f'<time datetime="{exact}" title="{exact}" {how}>{text}</time>')  # noqa: S704


def _ms(time: int | str) -> int:
    return time if isinstance(time, int) else round(datetime.fromisoformat(time).timestamp() * 1000)


def _until(ms: int, now: int) -> Markup:
    """The end of a span that has begun with "in": the same without that word."""
    exact = rfc3339(ms)
    text = relative(ms, now).removeprefix("in ")
    return _time(exact, 'data-ago="bare"', text)


def relative(ms: int, now: int) -> str:
    """A time seen from `now`, both in ms since the epoch."""
    seconds = (now - ms) / 1000
    if abs(seconds) < 1:
        return "now"
    text = humanize.naturaltime(timedelta(seconds=seconds))
    # As the script says it, too: "in 3 hours".
    return f"in {text.removesuffix(' from now')}" if seconds < 0 else text


def span(end: Expected, now: int) -> Markup:
    """When something will have ended, from the earliest to the latest time: "in 1 minute to 4 minutes"."""
    earliest = max(end.earliest, now)
    if end.latest - now < SOON_MS:
        return Markup("any moment")
    if relative(earliest, now) == relative(end.latest, now):
        return Markup("{}").format(ago(end.latest, now))
    if earliest - now < SOON_MS:
        return Markup("within {}").format(_until(end.latest, now))
    return Markup("{} to {}").format(ago(earliest, now), _until(end.latest, now))


def clock(end: Expected, now: int) -> Markup:
    """The same by the clock: "14:05 to 15:20 UTC"; the script says it in the reader's zone."""
    if _minute(end.earliest, now) == _minute(end.latest, now):
        return Markup("{}").format(_time_of_day(end.latest, now))
    return Markup("{} to {}").format(_time_of_day(end.earliest, now), _time_of_day(end.latest, now))


def _time_of_day(time: int | str, now: int) -> Markup:
    ms = _ms(time)
    exact = rfc3339(ms)
    return _time(exact, "data-clock", f"{_minute(ms, now)} UTC")


def time_field(time: int | str | None) -> str:
    """A time as a `datetime-local` field has it, in UTC; empty where there is none. One of no year that such a field
    has is the nearest one."""
    if not isinstance(time, int) and not time:
        return ""
    ms = min(max(_ms(time), EARLIEST_MS), LATEST_MS)
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="minutes")[:16]


def _minute(ms: int, now: int) -> str:
    """`14:05`; on another day `30 Nov 14:05`."""
    at, today = (datetime.fromtimestamp(each / 1000, UTC) for each in (ms, now))
    return f"{at:%H:%M}" if at.date() == today.date() else f"{at.day} {at:%b %H:%M}"


def duration(seconds: float | None) -> str:
    """`3 h 12 min`: two parts at most."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{n} {unit}" for n, unit in parts[:2] if n)


def size(octets: int | None) -> str:
    return humanize.naturalsize(octets, binary=True) if octets is not None else "–"


def per_hour(rate: float) -> str:
    """A rate that was measured over an hour: `0.8`, `12`, `1,240`."""
    return f"{rate:.1f}" if 0 < rate < 10 else f"{round(rate):,}"


def spark(values: Sequence[int], what: str) -> Markup:
    """A line of some numbers, without a script: the highest one is at the top, and 0 at the bottom."""
    highest = max(values, default=0)
    points = (
        " ".join(
            f"{x * SPARK_STEP},{SPARK_HEIGHT - (SPARK_HEIGHT - 2) * n / highest - 1:.1f}"
            for x, n in enumerate(values)
        )
        if highest
        else f"0,{SPARK_HEIGHT - 1} {(len(values) - 1) * SPARK_STEP},{SPARK_HEIGHT - 1}"
    )
    said = f"At most {highest:,} {what}, {values[-1]:,} in the latest" if highest else f"None {what}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>'
        '<polyline points="{}"/></svg>'
    ).format((len(values) - 1) * SPARK_STEP, SPARK_HEIGHT, said, said, points)


def count(n: float | None) -> str:
    """`12,345`."""
    return f"{n:,}" if n is not None else "–"


def short(text: str | None, most: int = STEM + TAIL + 1) -> Markup:
    """A long name with a gap in its middle, whole on hover; isolated, so that its direction changes nothing else."""
    if not text:
        return Markup("–")
    shown = text if len(text) <= most else f"{text[: most - TAIL - 1]}…{text[-TAIL:]}"
    return Markup('<bdi title="{}">{}</bdi>').format(text[:1000], shown)


def pill(status: Any) -> Markup:
    """A status, coloured and in words."""
    name = str(status)
    return Markup('<span class="pill pill-{}">{}</span>').format(escape(name), name)


def progress(text: str | None) -> dict[str, Any]:
    """A worker's progress, as far as it has the expected shape: stage, message, percent (0 to 100)."""
    try:
        sent = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        sent = {}
    if not isinstance(sent, dict):
        share = share_done(text)  # existing workers report a bare number, or "50%"
        if share is not None:
            return {"percent": round(share * 100, 1)}
        sent = {"message": sent} if isinstance(sent, str) else {}
    percent, done, total = sent.get("percent"), sent.get("done"), sent.get("total")
    if not _number(percent) and _number(done) and _number(total) and total > 0:
        percent = 100 * done / total
    shown: dict[str, Any] = {name: sent[name] for name in ("stage", "message") if isinstance(sent.get(name), str)}
    if _number(percent):
        shown["percent"] = round(min(100.0, max(0.0, float(percent))), 1)
    if _number(done) and _number(total):
        shown["of"] = f"{done:,} of {total:,}"
    return shown


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def setting_words(detail: str) -> str:
    """What was set, from the record of it: `max attempts 5, breaker not set`; a reason as it is."""
    try:
        said = msgspec.json.decode(detail)
    except msgspec.DecodeError:
        return detail
    if not isinstance(said, dict):
        return detail
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in said.items())


def _setting(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


def facts(text: str | None, *, most: int = 40) -> list[tuple[str, str]]:
    """JSON that a client sent, flat: [("gpus.0.name", "RTX 4000"), ...]; at most `most` lines."""
    try:
        sent = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return []
    found: list[tuple[str, str]] = []
    _flatten("", sent, found, most)
    return found


def machine(metadata: str | None) -> str:
    """A worker's machine in a line: `gaul-1 · 8 CPUs · 16.0 GiB · 2 × RTX 4000`; as far as it was told."""
    try:
        sent = msgspec.json.decode(metadata) if metadata else {}
    except msgspec.DecodeError:
        sent = {}
    sent_fields = sent if isinstance(sent, dict) else {}
    parts = [str(sent_fields.get("hostname") or "")[:60]]
    if _number(sent_fields.get("cpus")):
        parts.append(f"{sent_fields['cpus']:,} CPUs")
    if _number(sent_fields.get("memory")):
        parts.append(size(sent_fields["memory"]))
    gpus = sent_fields.get("gpus")
    names = [str(gpu.get("name"))[:60] for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []
    parts += [f"{n} × {name}" if n > 1 else name for name, n in Counter(names).most_common(3)]
    return " · ".join(filter(None, parts))


def _flatten(name: str, value: Any, found: list[tuple[str, str]], most: int) -> None:
    if len(found) >= most or value is None:
        return
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            _flatten(f"{name}.{key}" if name else str(key), part, found, most)
    else:
        found.append((name[:80], _fact(name, value)[:300]))


def _fact(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not _number(value):
        return str(value)
    if isinstance(value, int) and value >= KIB and name.rpartition(".")[2].casefold().startswith(IN_BYTES):
        return size(value)
    return f"{value:,}"
