"""Batches are made and closed; jobs come to them with submissions."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from actors import messages as m
from blobforge.webhook import CallbackAddress
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import seldom


class Batches(Base):
    @seldom
    @rule(
        name=st.sampled_from("xy"),
        closed=st.sampled_from([False, False, False, True]),
        host=st.sampled_from([None, None, "hook.example"]),
    )
    def make_batch(self, name: str, closed: bool, host: str | None) -> None:
        def expect(answer: object) -> object:
            made = answer.batch_id if isinstance(answer, m.BatchOpened) else None
            to = {at: number for number, at in self.database.probe.rows("webhooks", "id", "host")}.get(host)
            return self.world.make_batch(name, closed, made, self.now, host, to if host is not None else None)

        callback = CallbackAddress(host, "sealed") if host is not None else None
        self.do(Asked(m.MakeBatch(name, closed=closed, callback=callback), expect))

    @seldom
    @rule(which=st.sampled_from(["first", "last", "none"]))
    def close_batch(self, which: str) -> None:
        number = self.batch_id(which)
        self.do(Asked(m.CloseBatch(number), lambda _: self.world.close_batch(number, self.now)))
