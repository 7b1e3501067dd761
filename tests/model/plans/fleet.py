"""Workers: they come, beat, fall silent and go; operators and credentials."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from actors import messages as m
from blobforge.chain import Step
from blobforge.jobtype import TypeChanges
from tests.model.plans.asked import Asked
from tests.model.plans.base import Base
from tests.model.plans.choices import (
    CALLERS,
    CONVERTER,
    INSTANCES,
    JOBS,
    LABELS,
    LEASE,
    TYPES,
    UNLUCKY,
    WORKERS,
    seldom,
)


class Fleet(Base):
    @seldom
    @rule(
        worker=st.sampled_from(WORKERS), caller=CALLERS, type_=st.sampled_from(["pdf", "ocr"]), instance=INSTANCES,
        replaces=INSTANCES, converter=CONVERTER, labels=LABELS,
    )  # fmt: skip
    def register(
        self, worker: str, caller: str, type_: str, instance: str | None = None, replaces: str | None = None,
        converter: str | None = None, labels: str | None = None,
    ) -> None:  # fmt: skip
        real, who = self.caller(caller, worker)
        instance, replaces = self.instance_of(worker, instance), self.instance_of(worker, replaces)
        message = m.Register(
            real, worker, type_, instance=instance, replaces=replaces, converter=converter, labels=labels
        )
        who = who._replace(instance=instance)
        self.do(
            Asked(message, lambda _: self.world.register(who, worker, type_, replaces, self.now, converter, labels))
        )

    @rule(
        worker=st.sampled_from(WORKERS), caller=CALLERS, instance=INSTANCES,
        beats=st.lists(st.tuples(JOBS, LEASE, st.sampled_from([None, '{"percent":1}'])), max_size=3),
    )  # fmt: skip
    def heartbeat(
        self, worker: str, caller: str, beats: list[tuple[str, str, str | None]], instance: str | None = None
    ) -> None:
        real, who = self.caller(caller, worker)
        instance = self.instance_of(worker, instance)
        who = who._replace(instance=instance)
        named = [(self.job_id(job, "running"), lease, said) for job, lease, said in beats]
        named = [(job, self.lease_of(job, lease), said) for job, lease, said in named]
        message = m.Heartbeat(real, worker, tuple(m.JobBeat(*each) for each in named), instance)
        self.do(Asked(message, lambda _: self.world.heartbeat(who, worker, named, self.now)))

    @seldom
    @rule(worker=UNLUCKY, caller=CALLERS, instance=INSTANCES)
    def unregister(self, worker: str, caller: str, instance: str | None = None) -> None:
        worker = self.unlucky(worker)
        real, who = self.caller(caller, worker)
        instance = self.instance_of(worker, instance)
        who = who._replace(instance=instance)
        self.do(Asked(m.Unregister(real, worker, instance), lambda _: self.world.unregister(who, worker, self.now)))

    @seldom
    @rule(worker=UNLUCKY, verb=st.sampled_from(["drain", "enable", "disable", "remove", "create", "hold", "readmit"]))
    def an_operator(self, worker: str, verb: str) -> None:
        worker = self.unlucky(worker)
        match verb:
            case "drain":
                self.do(Asked(m.Drain(worker), lambda _: self.world.drain(worker)))
            case "enable":
                self.do(Asked(m.EnableWorker(worker), lambda _: self.world.enable(worker)))
            case "hold":
                message = m.QuarantineWorker(worker, "token:1", "odd" if self.steps % 2 else None)
                held = (worker, "token:1", message.reason)
                self.do(Asked(message, lambda _: self.world.quarantine(*held, self.now)))
            case "readmit":
                self.do(Asked(m.ReadmitWorker(worker, "token:1"), lambda _: self.world.readmit(worker, self.now)))
            case "disable":
                self.do(Asked(m.DisableWorker(worker), lambda _: self.world.disable(worker, self.now)))
            case "remove":
                self.do(Asked(m.RemoveWorker(worker), lambda _: self.world.remove(worker, self.now)))
            case _:
                self.create_worker(worker)

    def create_worker(self, worker: str) -> None:
        message = m.CreateWorker(worker, "pdf", "secret")
        self.do(Asked(message, lambda _: self.world.create_worker(worker, "pdf", "secret")))

    @seldom
    @rule(worker=UNLUCKY, token=st.sampled_from([None, 2, 3]))
    def credentials_change(self, worker: str, token: int | None) -> None:
        worker = self.unlucky(worker)
        if token is None:
            message = m.ReplaceSecret(worker, "newer")
            self.do(Asked(message, lambda _: self.world.replace_secret(worker, "newer", self.now)))
        else:
            self.do(Asked(m.DeleteToken(token), lambda _: self.world.delete_token(token, self.now)))
            self.register(worker, "three" if token == 2 else "two", "pdf")

    @seldom
    @rule(
        type_=TYPES,
        what=st.sampled_from(
            [
                "pause",
                "pause why",
                "why",
                "resume",
                "resume",
                "tries",
                "wait",
                "as all",
                "one",
                "none",
                "any",
                "slow",
                "patient",
                "weights",
                "hasty",
                "fragile",
                "fragile",
                "urgent at once",
                "urgent some day",
                "followed",
                "followed by two",
            ]
        ),
    )
    def a_type_is_set(self, type_: str, what: str) -> None:
        wanted: dict[str, Any] = {
            "pause": {"paused": True},
            "pause why": {"paused": True, "reason": "broken"},
            "why": {"reason": "because"},
            "resume": {"paused": False},
            "one": {"max_running": 1},
            "none": {"max_running": 0},
            "any": {"max_running": None, "rate": None},
            "slow": {"rate": (2, 50_000)},
            "tries": {"max_attempts": 1},
            "wait": {"retry_backoff": 90_000},
            "patient": {"worker_timeout": 3_600_000},
            "hasty": {"worker_timeout": 6_000},
            "fragile": {"breaker": 2},
            "urgent at once": {"urgent_after": 1},
            "urgent some day": {"urgent_after": 10**11},
            "as all": {
                "breaker": None,
                "urgent_after": None,
                "max_attempts": None,
                "retry_backoff": None,
                "worker_timeout": None,
                "weights": None,
                "then": None,
            },
            "followed": {"then": (Step("ocr"),)},
            "followed by two": {"then": (Step("tiff", "a*"), Step("pdf", "*", None, ()))},
            "weights": {"weights": {"a": 3, "": 2}},
        }[what]
        message = m.ChangeType(type_, "token:1", TypeChanges(**wanted))
        self.do(Asked(message, lambda _: self.world.change_type(type_, "token:1", self.now, **wanted)))

    @seldom
    @rule(workers=st.lists(st.sampled_from(WORKERS), max_size=2), stale=st.booleans())
    def workers_are_silent(self, workers: list[str], stale: bool) -> None:
        beats = [
            (each, (self.world.workers[each].seen or 0) - stale) for each in workers if each in self.world.workers
        ]
        message = m.ExpireWorkers(tuple(m.SilentWorker(*each) for each in beats))
        self.do(Asked(message, lambda _: self.world.expire_workers(beats)))
