"""Several at once: batches, several messages in one transaction; and requests that come again."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from actors import messages as m
from blobforge.job import JobStatus
from blobforge.store.filters import JobFilter
from tests.model.plans.asked import Asked, Letter
from tests.model.plans.attempts import Attempts
from tests.model.plans.batches import Batches
from tests.model.plans.choices import JOBS, LEASE, SOURCES
from tests.model.plans.decisions import Decisions
from tests.model.plans.retention import Retention
from tests.model.plans.sources import Sources
from tests.model.world.labels import GPU, LARGE
from tests.model.world.things import No, is_compared

ITEMS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "complete",
                "complete",
                "complete and claim",
                "fail",
                "submit",
                "arrive",
                "retry",
                "cancel",
                "priority",
                "retype",
                "requires",
                "delete",
            ]
        ),
        JOBS,
        LEASE,
    ),
    min_size=1,
    max_size=4,
)


class Many(Batches, Sources, Attempts, Decisions, Retention):
    def item(self, kind: str, job: str, lease: str) -> Asked:
        match kind:
            case "complete" | "complete and claim":
                return self.completion(job, lease=lease, claim_next=kind != "complete")
            case "fail":
                return self.failure(job, lease=lease)
            case "submit":
                requires = GPU if lease == "wrong" else None
                group = "b" if lease == "stale" else None
                type_ = "ocr" if lease == "right" else "pdf"
                return self.submission(SOURCES[len(job) % 3], type_, requires=requires, group=group)
            case "arrive":
                return self.arrival(SOURCES[len(job) % 3], 1, verified=lease == "right", behind=0)
            case "retry":
                return self.retrying(job)
            case "cancel":
                return self.cancelling(job, "b")
            case "retype":
                return self.retyping(job, "ocr" if lease == "right" else "pdf", "b")
            case "requires":
                return self.requiring(job, [None, GPU, LARGE][len(job) % 3], "b")
            case "priority":
                return self.moving(job, 1 + len(job) % 3, "b")
            case _:
                return self.deletion(job, objects=True)

    def one_of_many(self, asked: Asked, answer: object, only: str | None) -> object:
        """A job that has moved on since it was chosen is left alone; a comparison is chosen by no filter."""
        chosen = m.Retry | m.Cancel | m.SetPriority | m.Retype | m.SetRequirements | m.ChangeTags | m.DeleteJob
        if only is not None and isinstance(asked.message, chosen):
            job = self.world.jobs.get(asked.message.job_id)
            if job is not None and (job.status != only or is_compared(job.type)):
                return No("job-moved-on")
        return asked.expect(answer)

    @rule(items=ITEMS, only=st.sampled_from([None, None, *JobStatus]))
    def batch(self, items: list[tuple[str, str, str]], only: JobStatus | None) -> None:
        asked = [self.item(*each) for each in items]
        self.do(
            Asked(
                m.Batch(tuple(each.message for each in asked), None if only is None else JobFilter(only)),
                lambda answer: (
                    "BatchDone",
                    tuple(self.one_of_many(each, said, only) for each, said in zip(asked, answer.items, strict=True)),
                ),
            )
        )

    @rule(items=ITEMS, worker=st.sampled_from(["w1", "w2"]))
    def in_one_transaction(self, items: list[tuple[str, str, str]], worker: str) -> None:
        """What has gathered in the writer's mailbox. Nobody in there sees more of the others than later ones do."""
        claim = self.claiming(worker, "own", self.allowed(worker, ("pdf", "ocr")), 2, None)
        self.send(*(Letter(self.item(*each)) for each in items), Letter(claim))

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 2), twice=st.booleans(), changed=st.sampled_from([False, False, True]))
    def a_request_comes_again(self, which: int, twice: bool, changed: bool) -> None:
        """With its idempotency key, whatever has happened since. `changed`: the key of one, the body of another."""
        letter = self.sent[min(which, len(self.sent) - 1)]
        assert letter.repeat is not None
        if changed:
            letter = letter._replace(repeat=replace(letter.repeat, fingerprint=b"another request"))
        self.send(*[letter] * (1 + twice))
