"""What goes over the link comes out as it went in, whatever it is; and what is no frame is found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

import actors.messages
from actors.messages import Asked, Message, Outcome
from blobforge.refusals import Refusal
from web.fronts import frames
from web.fronts.frames import Anything, Frame, FromFront, Question, ToFront
from web.fronts.link import FULL, BrokenFrameError, Link, encoded

ASKED: dict[str, Any] = {kind.__name__: kind for kind in (*get_args(Asked), *get_args(Question))}
ANSWERS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Anything)}
FRAMES: dict[str, Any] = {kind.__name__: kind for kind in Frame.__subclasses__()}
BOTH_WAYS = FromFront | ToFront


def values(type_: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that msgspec knows."""
    return _of(msgspec.inspect.type_info(type_))


def _of(info: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case msgspec.inspect.Metadata(type=inner):
            return _of(inner)
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False)
        case msgspec.inspect.StrType():
            return st.text(max_size=20)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=20)
        case msgspec.inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*map(_of, types))
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=2).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(_of, items))
        case msgspec.inspect.ListType(item_type=item):
            return st.lists(_of(item), max_size=2)
        case msgspec.inspect.FrozenSetType(item_type=item):
            return st.frozensets(_of(item), max_size=2)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=2)
        case msgspec.inspect.StructType(cls=cls) if cls.__name__ == "Settings":
            return st.just(cls())
        case msgspec.inspect.StructType(cls=cls) if cls.__name__ == "Spread":
            return st.lists(st.integers(0, 2**40), min_size=16, max_size=16).map(lambda counts: cls(counts=counts))
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _of(field.type) for field in fields})
        case _:
            raise TypeError(f"no values of {info!r}")


async def through(*sent: Frame) -> list[Any]:
    """The frames as they arrive at the other end."""
    near, far = memory_stream_pair()
    sender: Link[Any] = Link(near, BOTH_WAYS, largest=1 << 20)
    receiver: Link[Any] = Link(far, BOTH_WAYS, largest=1 << 20)
    for frame in sent:
        sender.send(frame)
    arrived: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        while len(arrived) < len(sent):
            arrived += await receiver.receive()
        nursery.cancel_scope.cancel()
    return arrived


def subclasses(base: type) -> Iterator[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from subclasses(kind)


def test_every_message_and_outcome_can_cross() -> None:
    ours = {actors.messages.__name__, frames.__name__}
    assert {kind.__name__ for kind in subclasses(Message) if kind.__module__ in ours} <= ASKED.keys()
    known = {*ANSWERS, "PagesFreed", "Sampled"} | {"Refusal"}
    assert {kind.__name__ for kind in subclasses(Outcome) if kind.__module__ in ours} <= known
    assert Refusal.__name__ in ANSWERS
    assert {kind.__name__ for kind in (*get_args(FromFront), *get_args(ToFront))} == FRAMES.keys()


@pytest.mark.parametrize("name", sorted(ASKED))
@settings(max_examples=5)
@given(data=st.data())
def test_messages_come_out_as_they_went_in(name: str, data: Any) -> None:
    message = data.draw(values(ASKED[name]))
    ask = frames.Ask(data.draw(st.integers(0, 2**60)), frames.To.WRITER, message)
    found = msgspec.msgpack.decode(encoded(ask)[4:], type=FromFront)
    assert found == ask
    assert type(found.message) is ASKED[name]


@pytest.mark.parametrize("name", sorted(ANSWERS))
@settings(max_examples=5)
@given(data=st.data())
def test_answers_come_out_as_they_went_in(name: str, data: Any) -> None:
    answer = frames.Answered(1, data.draw(values(ANSWERS[name])))
    found = msgspec.msgpack.decode(encoded(answer)[4:], type=ToFront)
    assert found == answer
    assert type(found.outcome) is ANSWERS[name]


@pytest.mark.parametrize("name", sorted(FRAMES.keys() - {"Ask", "Answered"}))  # what is above
@settings(max_examples=5)
@given(data=st.data())
async def test_frames_arrive_in_their_order(name: str, data: Any) -> None:
    sent = [data.draw(values(FRAMES[name])) for _ in range(3)]
    assert await through(*sent) == sent


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(1, 40), max_size=30))
async def test_frames_that_arrive_in_pieces(cuts: list[int]) -> None:
    sent = [frames.GaveUp(number) for number in range(20)]
    raw = b"".join(map(encoded, sent))
    near, far = memory_stream_pair()
    receiver: Link[Any] = Link(far, BOTH_WAYS, largest=1 << 20)
    arrived: list[Any] = []

    async def send() -> None:
        rest = raw
        for cut in cuts:
            await near.send_all(rest[:cut])
            rest = rest[cut:]
        await near.send_all(rest)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(arrived) < len(sent):
            arrived += await receiver.receive()
    assert arrived == sent


BROKEN = {
    "an empty one": b"\0\0\0\0",
    "no msgpack": b"\0\0\0\1\xc1",
    "another type": b"\0\0\0\1\x00",
    "an unknown frame": b"\0\0\0\x05\x91\xa3Foo",
    "too large": b"\xff\xff\xff\xff",
    "a field that is missing": b"\0\0\0\x05\x91\xa3Ask",
    "deeply nested": (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
}


@pytest.mark.parametrize("what", sorted(BROKEN))
async def test_what_is_no_frame(what: str) -> None:
    near, far = memory_stream_pair()
    receiver: Link[Any] = Link(far, BOTH_WAYS, largest=1 << 20)
    await near.send_all(encoded(frames.Here()) + BROKEN[what])
    with pytest.raises(BrokenFrameError):
        await receiver.receive()


async def test_the_end_of_the_stream() -> None:
    near, far = memory_stream_pair()
    receiver: Link[Any] = Link(far, BOTH_WAYS, largest=1 << 20)
    await near.send_all(encoded(frames.Here())[:-1])
    await near.aclose()
    assert await receiver.receive() == []


async def test_those_who_ask_wait_while_too_much_is_unsent(autojump_clock: Any) -> None:
    near, _far = trio.testing.lockstep_stream_pair()  # nothing is sent that nobody reads
    link: Link[Any] = Link(near, BOTH_WAYS, largest=1 << 20)
    link.send_encoded(b"x" * (FULL + 1))
    woken = []

    async def wait() -> None:
        await link.room()
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        nursery.start_soon(link.run)
        await trio.sleep(1)
        assert not woken
        unread = FULL + 1
        while unread:
            unread -= len(await _far.receive_some(1 << 20))
        await trio.sleep(1)
        assert len(woken) == 3
        nursery.cancel_scope.cancel()
