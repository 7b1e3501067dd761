"""What a benchmark can be told, and how its command line comes of that: one table, as in `blobforge/config.py`."""

from __future__ import annotations

import argparse
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import trio
from msgspec import Meta

from bench.report import Report, publish
from blobforge.machinery.groups import leaves

P = TypeVar("P", bound="Plan")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What most of them share; each adds its own."""

    seconds: Annotated[float, Meta(description="length of one run")] = 5.0
    warmup: Annotated[float, Meta(description="seconds before it that are not counted")] = 1.0
    runs: Annotated[int, Meta(description="runs, of which the median is shown")] = 3


class BenchError(Exception):
    """The measurement would be of something else, or of nothing. The message says what to do."""


def command(name: str, doc: str, full: P, quick: P, run: Callable[[P], Awaitable[Report]]) -> None:
    """The `main` of every benchmark: read the options, measure, publish. Exits with 1 where there were errors.

    `full` is the plan without options and `quick` the one of `--quick`; each field of theirs is an option.
    """
    options = _parser(name, doc, full, quick).parse_args()
    chosen = quick if options.quick else full
    given = {
        field: getattr(options, field) for field in chosen.__struct_fields__ if getattr(options, field) is not None
    }
    plan = msgspec.structs.replace(chosen, **given)
    report: Report | None = None
    wrong: list[str] = []
    try:
        report = trio.run(_run, run, plan)
    except* BenchError as errors:
        wrong = [f"{name}: {error}" for error in leaves(errors)]
    if report is None:  # not raised above: older Pythons put it into a group of its own
        raise SystemExit("\n".join(wrong))
    publish(report, msgspec.to_builtins(plan), baseline=options.baseline, plot=options.plot)
    if any(row.get("errors") for row in report.rows):
        raise SystemExit(f"{name}: there were errors")


async def _run(run: Callable[[P], Awaitable[Report]], plan: P) -> Report:
    """Ended by SIGTERM, too, it leaves neither a server nor a folder behind."""
    gc.set_threshold(100_000, 50, 1000)  # a search through ten thousand connections must not look like a slow server
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_told, signals)
            report = await run(plan)
            nursery.cancel_scope.cancel()
    return report


async def _until_told(signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        raise BenchError("ended by SIGTERM")


def _parser(name: str, doc: str, full: Plan, quick: Plan) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        f"python -m bench.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field, type_ in get_type_hints(type(full), include_extras=True).items():
        description = next(part.description for part in get_args(type_) if isinstance(part, Meta))
        normally, quickly = _shown(getattr(full, field)), _shown(getattr(quick, field))
        told = f"{description} (default {normally}; {quickly} with --quick)".replace("%", "%%")
        parser.add_argument(f"--{field.replace('_', '-')}", type=_reader(get_args(type_)[0]), help=told)
    parser.add_argument("--quick", action="store_true", help="smaller numbers: shows that it runs, not how fast")
    parser.add_argument("--baseline", action="store_true", help="write the result that is committed")
    parser.add_argument("--plot", action="store_true", help="draw docs/images/bench/ (extra `bench`)")
    return parser


def _reader(type_: Any) -> Callable[[str], Any]:
    """Text to a value: a tuple is written with commas, a large number may be written as 1_000_000 or 1e6."""

    def number(text: str) -> int:
        value = float(text)
        if not value.is_integer():
            raise ValueError(text)
        return int(value)

    if get_origin(type_) is tuple:
        each = _reader(get_args(type_)[0])
        return lambda text: tuple(each(part) for part in text.split(","))
    if type_ is int:
        return number
    if type_ is str:
        return str
    return _yes if type_ is bool else float


def _yes(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError(text)
    return text == "yes"


def _shown(value: Any) -> str:
    match value:
        case tuple():
            return ",".join(map(_shown, value))
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
