"""The live log: the output of converters, sent to the server while they run, in pieces of whole lines.

It never holds up a converter: what comes faster than it can be sent is left out in the middle of a piece, and a line
says how much. Nor does it cost an attempt anything: a piece that is refused ends the log of its attempt and nothing
else. State owned here: what has not been sent yet, by attempt.
"""

from __future__ import annotations

import codecs
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import trio

from blobforge.client import ApiError, ClientError
from blobforge.livelog import MOST_PIECE, MOST_SENT, UNWATCHED_SECONDS, harmless, left_out
from blobforge.machinery.redaction import GONE, SHORTEST
from blobforge.runner.events import say
from blobforge.runner.redacting import Redaction, Redactor

_HALF = MOST_SENT // 2
_LONGEST_LINE = 8_192  # characters without an end, after which they count as a line
_LONGEST_WORD = 4_096  # characters; a longer one is cut
_JOINED = 512  # characters on either side of a cut that are looked at together
_UNENDED_SECONDS = 5.0  # for which the beginning of a line waits for its end
_SENT_WITHIN = 10.0
_AGAIN_SECONDS = 15.0  # after a piece that got no answer
_SHORTEST = 0.25
_BAR = 3  # so many kinds of characters a bar of dots may have; a secret has more
_BREAKS = re.compile(r"[\s\"',;&]")
# Escape sequences of terminals: CSI, OSC, and the rest.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?|[ -/]*[0-~])"
)


class LiveLog:
    """The log of one attempt. `due` is the time (trio's clock) before which no further piece is to be sent."""

    def __init__(self, redactor: Redactor, on_news: Callable[[], object]) -> None:
        self.due = -math.inf
        self._on_news = on_news
        self._clean = redactor.line
        self._redaction = Redaction(redactor)
        self._streams: dict[str, _StreamLines] = {}
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = self._left_out = 0
        self._sent = 0
        self._unsent = ""  # a piece that got no answer
        self._ended = False

    def add(self, stream: str, data: bytes | bytearray) -> None:
        """Take in bytes that the converter has written to this stream (`stdout`, `stderr`)."""
        if self._ended:
            return
        lines = self._streams.setdefault(stream, _StreamLines(self._clean))
        self._keep(lines.add(data))
        self._on_news()

    def end(self) -> None:
        """No more of it is to be sent."""
        self._ended = True
        self._head, self._tail, self._unsent, self._streams = [], deque(), "", {}
        self._head_size = self._tail_size = 0

    @property
    def waits(self) -> bool:
        """Whether there is something to send, now or when a line's end does not come."""
        return bool(self._unsent or self._head or self._tail) or any(each.waits for each in self._streams.values())

    def piece(self, now: float) -> tuple[int, str]:
        """The place (in characters) of the next piece in what is sent, and its text; an empty one where there is
        nothing to send yet. It is the same until `taken`."""
        if not self._unsent:
            for lines in self._streams.values():
                self._keep(lines.overdue(now))
            text = self._shown("".join(self._head))
            if self._left_out:
                text += left_out(self._left_out)
                self._redaction.skip()
            # What stands in the place of a secret may be longer.
            self._unsent = (text + self._shown("".join(self._tail)))[:MOST_PIECE]
            self._head, self._tail = [], deque()
            self._head_size = self._tail_size = self._left_out = 0
        return self._sent, self._unsent

    def taken(self) -> None:
        """The server has the piece."""
        self._sent += len(self._unsent)
        self._unsent = ""

    def _keep(self, lines: str) -> None:
        """Keep lines to be sent: the first and the last. Those between are dropped before they are looked at."""
        if not lines:
            return
        if not self._tail:
            room = _HALF - self._head_size
            end = len(lines) if len(lines) <= room else lines.rfind("\n", 0, room) + 1
            self._head.append(lines[:end])
            self._head_size += end
            lines = lines[end:]
            if not lines:
                return
        self._tail.append(lines)
        self._tail_size += len(lines)
        while (surplus := self._tail_size - _HALF) > 0:
            first = self._tail.popleft()
            end = len(first) if surplus >= len(first) else first.find("\n", surplus - 1) + 1
            if end < len(first):
                self._tail.appendleft(first[end:])
            self._tail_size -= end
            self._left_out += end

    def _shown(self, lines: str) -> str:
        return self._redaction.lines(_plain(lines))


class _StreamLines:
    """One stream, as whole lines.

    A line that does not end is taken in parts, each up to the beginning of its last word: half of a secret would
    not be known for one. What the parts say only together is a secret, too: then the rest of the line is left out.
    """

    def __init__(self, clean: Callable[[str], str]) -> None:
        """`clean` takes the secrets out of a line."""
        self._clean = clean
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._since = math.inf  # for which it waits for its end; a word that is held back has no such time
        self._part = ""  # the end of what was taken of the line so far
        self._hidden = False

    @property
    def waits(self) -> bool:
        return not math.isinf(self._since)

    def add(self, data: bytes | bytearray) -> str:
        """The lines that have ended."""
        text = self._begun + self._decoder.decode(data)
        end = text.rfind("\n") + 1
        lines, self._begun = text[:end], text[end:]
        if lines and (self._part or self._hidden):
            rest, _, others = lines.partition("\n")
            lines = self._next_part(rest) + others
            self._part, self._hidden = "", False
        if len(self._begun) > _LONGEST_LINE:
            # Of a bar that is drawn over itself the last state is enough.
            self._begun = self._begun.rpartition("\r")[2]
        if len(self._begun) > _LONGEST_LINE:
            lines += self._take_part()
        if not self._begun:
            self._since = math.inf
        elif lines or math.isinf(self._since):
            self._since = trio.current_time()
        return lines

    def overdue(self, now: float) -> str:
        """A line that has begun long ago."""
        if not self._begun or now < self._since + _UNENDED_SECONDS:
            return ""
        self._since = math.inf
        return self._take_part()

    def _take_part(self) -> str:
        """The line that has begun, without its last word where that may be half of a secret."""
        word = _BREAKS.split(self._begun[-_LONGEST_WORD:])[-1]
        held = SHORTEST <= len(word) < _LONGEST_WORD and len(set(word)) > _BAR
        end = len(self._begun) - len(word) if held else len(self._begun)
        part, self._begun = self._begun[:end], self._begun[end:]
        return self._next_part(part) if part else ""

    def _next_part(self, part: str) -> str:
        before, begin = self._part, part[:_JOINED]
        if before and self._clean(before + begin) != self._clean(before) + self._clean(begin):
            self._hidden = True
        self._part = (before + part)[-_JOINED:]
        return f"{GONE if self._hidden else part}\n"


def _plain(lines: str) -> str:
    """Lines as a terminal would leave them: without its escapes, and of what was drawn over itself the last state."""
    if "\r" in lines:
        lines = "".join(f"{_last_state(line)}\n" for line in lines[:-1].split("\n"))
    if "\x1b" in lines:
        lines = _ESCAPES.sub("", lines)
    return harmless(lines)


def _last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


class LogSender:
    """Sends the logs of all attempts in hand, one piece after the other, at the server's pace.

    `send` hands one attempt's piece (its place and its text) to the server, and returns the seconds to the next.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._open: dict[LiveLog, Callable[[int, str], Awaitable[float]]] = {}
        self._news = trio.Event()
        self._off = False

    def begin(self, send: Callable[[int, str], Awaitable[float]]) -> LiveLog:
        log = LiveLog(self._redactor, self._tell)
        if not self._off:
            self._open[log] = send
        else:
            log.end()
        return log

    def end(self, log: LiveLog) -> None:
        log.end()
        self._open.pop(log, None)

    def _tell(self) -> None:
        self._news.set()

    async def run(self) -> None:
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            for log in [log for log in self._open if log.waits and log.due <= now]:
                await self._send(log)
            due = self._next_due(log for log in self._open if log.waits)
            with trio.move_on_at(due):
                await self._news.wait()
                # What is printed in the next moments goes along.
                await trio.sleep(_SHORTEST)

    @staticmethod
    def _next_due(waiting: Iterable[LiveLog]) -> float:
        return max(min((log.due for log in waiting), default=math.inf), trio.current_time() + _SHORTEST)

    async def _send(self, log: LiveLog) -> None:
        place, text = log.piece(trio.current_time())
        send = self._open.get(log)
        if not text or send is None:
            log.due = trio.current_time() + 1.0
            return
        pause = _AGAIN_SECONDS
        try:
            with trio.move_on_after(_SENT_WITHIN):
                pause = max(_SHORTEST, min(await send(place, text), 4 * UNWATCHED_SECONDS))
                log.taken()
        except ApiError as error:
            if error.status in (404, 405) and error.type in ("no-such-route", "method-not-allowed", ""):
                self._switch_off()
            elif error.status < 500 and error.status != 429:
                self.end(log)  # the attempt is no longer ours, or the text is not wanted
        except ClientError:
            pass  # it is away: said by the heartbeat
        log.due = trio.current_time() + pause

    def _switch_off(self) -> None:
        say("no-live-log", "this server takes no live logs: it is of an earlier release")
        self._off = True
        for log in list(self._open):
            self.end(log)
