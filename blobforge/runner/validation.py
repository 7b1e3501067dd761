"""What outputs must be, beyond being there: their size, their media type, a JSON schema, a command that takes them.

What does not pass fails the attempt, with the reason. A rule may name the outputs that it is for by a pattern of
names, `*.md=1K`; there must be one then.
"""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
import trio

from blobforge.runner.command import Command
from blobforge.runner.guard import Guard
from blobforge.runner.job import Job, JobFailed
from blobforge.runner.limits import Limits, within
from blobforge.runner.redacting import beginning

T = TypeVar("T")

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SURE = 0.4  # of puremagic's confidence: below it, it goes by the name
_HEAD = 1 << 16  # bytes that tell text from what is none
_SHOWN = 3  # of what is wrong by a schema
_TEXT = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|toml|javascript|sql|x-sh|x-tex)|message/.*")
_INSTALL = "install blobforge-server[validate]"


class CheckedOutput(NamedTuple):
    """An output by the name that it is to have."""

    name: str
    path: Path


class Rule(NamedTuple, Generic[T]):
    """What outputs of these names must be; None: all of them."""

    pattern: str | None
    value: T

    def picks(self, outputs: Iterable[CheckedOutput]) -> list[CheckedOutput]:
        if self.pattern is None:
            return list(outputs)
        whole = "/" in self.pattern
        return [
            each
            for each in outputs
            if fnmatch.fnmatchcase(each.name if whole else each.name.rpartition("/")[2], self.pattern)
        ]


class Schema(NamedTuple):
    """A JSON schema, and where it is from."""

    file: str
    validator: Any


@dataclass(frozen=True)
class Validation:
    """The rules. Made by `Validation.of`."""

    min_size: tuple[Rule[int], ...] = ()
    media_type: tuple[Rule[tuple[str, ...]], ...] = ()
    schema: tuple[Rule[Schema], ...] = ()
    check: Command | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(
        cls,
        *,
        min_size: Sequence[str] | str = (),
        media_type: Sequence[str] | str = (),
        schema: Sequence[str] | str = (),
        check: str | None = None,
        timeout: float | None = None,
    ) -> Validation:
        """Each rule is a value, or `PATTERN=VALUE`: a size (`1K`), a media type (`text/*`; one of several of the same
        pattern is enough), the path of a JSON schema. `check` is a command, as of `--exec`, that ends with 0 for what
        is good, in `timeout` seconds. Raises ValueError."""
        types: dict[str | None, tuple[str, ...]] = {}
        for pattern, value in map(_split, _many(media_type)):
            if value.count("/") != 1:
                raise ValueError(f"{value!r} is no media type; one is text/markdown, or image/*")
            types[pattern] = (*types.get(pattern, ()), value.lower())
        if types:
            _puremagic()
        return cls(
            tuple(Rule(pattern, size_of(value)) for pattern, value in map(_split, _many(min_size))),
            tuple(Rule(pattern, values) for pattern, values in types.items()),
            tuple(Rule(pattern, _schema(value)) for pattern, value in map(_split, _many(schema))),
            Command(check) if check is not None else None,
            Limits(timeout),
        )

    def __bool__(self) -> bool:
        return bool(self.min_size or self.media_type or self.schema or self.check)

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        if self.check is not None:
            await self.check.prepare(nursery, guard)

    async def validate(self, job: Job, outputs: Sequence[CheckedOutput]) -> None:
        """The first of them is the main one. Raises JobFailed for what does not pass, and WorkerTrouble."""
        await trio.to_thread.run_sync(self._look, outputs)
        if self.check is not None:
            check, main = self.check, outputs[0].path

            async def run(job: Job) -> None:
                await check(job, output=main)

            try:
                await within(self.limits, job, run)
            except JobFailed as failure:
                said = f"the outputs were refused by --check: {failure}"
                raise JobFailed(said, kind="OutputCheck", log_tail=failure.log_tail) from failure

    def _look(self, outputs: Sequence[CheckedOutput]) -> None:
        for size in self.min_size:
            for each in _picked(size, outputs):
                if (has := each.path.stat().st_size) < size.value:
                    raise _refused("OutputTooSmall", each, f"has {has:,} bytes, and {size.value:,} are wanted")
        for wanted in self.media_type:
            for each in _picked(wanted, outputs):
                found = media_type(each)
                if not any(fnmatch.fnmatchcase(found, one) for one in wanted.value):
                    raise _refused("OutputMediaType", each, f"is {found}, and {' or '.join(wanted.value)} is wanted")
        for schema in self.schema:
            for each in _picked(schema, outputs) if schema.pattern is not None else _json(outputs):
                _validate(schema.value, each)


ANYTHING: Final = Validation()
"""No rules."""


def size_of(text: str) -> int:
    """`500M`, `2GiB`: bytes, in powers of 1024. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no size; one is 500M or 2GiB")
    return int(float(found[1]) * _SIZES[found[2]])


def media_type(output: CheckedOutput) -> str:
    """By its bytes, where they have a signature; else by its name, where that does not contradict them."""
    puremagic, said = _puremagic(), mimetypes.guess_type(output.name)[0] or ""
    with output.path.open("rb") as file:
        head = file.read(_HEAD)
    if head:
        best = next(iter(puremagic.magic_file(os.fspath(output.path))), None)
        if best is not None and best.confidence >= _SURE and best.mime_type:
            return str(best.mime_type)
    if _is_text(head):
        return said if _TEXT.fullmatch(said) else "text/plain"
    return "application/octet-stream" if not said or _TEXT.fullmatch(said) else said


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start > len(head) - 4  # cut within a character
    return True


def _picked(rule: Rule[Any], outputs: Sequence[CheckedOutput]) -> list[CheckedOutput]:
    if not (found := rule.picks(outputs)):
        raise JobFailed(f"no output is called {rule.pattern}, and there must be one", kind="OutputMissing")
    return found


def _json(outputs: Sequence[CheckedOutput]) -> list[CheckedOutput]:
    """Those that a schema without a pattern is for: the only one, or those that are called JSON."""
    if len(outputs) == 1:
        return list(outputs)
    return _picked(Rule("*.json", None), outputs)


def _validate(schema: Schema, output: CheckedOutput) -> None:
    try:
        content = msgspec.json.decode(output.path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused("OutputSchema", output, f"is no JSON: {error}") from error
    wrong: list[str] = []
    for each in schema.validator.iter_errors(content):
        where = "/".join(map(str, each.instance_path))
        wrong.append(f"{where}: {each.message}" if where else each.message)
        if len(wrong) == _SHOWN:
            break
    if wrong:
        raise _refused("OutputSchema", output, f"is not as {schema.file} says: {beginning('; '.join(wrong), 1000)}")


def _refused(kind: str, output: CheckedOutput, why: str) -> JobFailed:
    return JobFailed(f"the output {output.name!r} {why}", kind=kind)


def _schema(file: str) -> Schema:
    try:
        import jsonschema_rs  # noqa: PLC0415 - where it is asked for
    except ImportError as error:
        raise ValueError(f"a JSON schema needs a package more: {_INSTALL}") from error
    try:
        return Schema(file, jsonschema_rs.validator_for(msgspec.json.decode(Path(file).read_bytes())))
    except (OSError, msgspec.DecodeError, jsonschema_rs.ValidationError, ValueError) as error:
        raise ValueError(f"{file} is no JSON schema: {error}") from error


def _puremagic() -> Any:
    try:
        import puremagic  # noqa: PLC0415 - where it is asked for
    except ImportError as error:
        raise ValueError(f"to look for media types needs a package more: {_INSTALL}") from error
    return puremagic


def _many(values: Sequence[str] | str) -> Sequence[str]:
    return (values,) if isinstance(values, str) else values


def _split(said: str) -> tuple[str | None, str]:
    pattern, equals, value = said.partition("=")
    return (pattern, value) if equals and pattern else (None, said)
