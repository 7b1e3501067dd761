"""What plans choose from: small numbers and words, so that most messages hit something."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from actors import messages as m
from actors.effects.transaction import Rules
from blobforge.chain import Join, Step
from blobforge.job import RetryPolicy
from tests.model.world import things as w
from tests.model.world.labels import BOTH, GPU, LARGE, MEETS
from tests.store.making import hash_of

LIMITS = w.Rules()
RULES = Rules(
    RetryPolicy(
        backoff=LIMITS.backoff_ms / 1000,
        backoff_max=LIMITS.backoff_max_ms / 1000,
        jitter=0,
        max_losses=LIMITS.max_losses,
        max_releases=LIMITS.max_releases,
        avoid=LIMITS.avoid_ms / 1000,
    ),
    max_attempts=LIMITS.max_attempts,
    max_types=LIMITS.max_types,
    max_requirement_sets=LIMITS.max_sets,
    max_converters=LIMITS.max_converters,
    idempotency_window=LIMITS.window_ms / 1000,
    beat=LIMITS.beat_ms / 1000,
    worker_timeout=LIMITS.timeout_ms / 1000,
    compare_for=LIMITS.compare_ms / 1000,
    quarantine=False,  # by itself: for that tests/model/test_quarantine.py has fleets that are large enough
)
WORKERS = ("w1", "w2", "w3")
TOKENS = ("admin", "two", "three")
SOURCES = [hash_of(number) for number in range(3)]
NOBODY = 999  # no job has this id, until a restore skips a million

SIZES = st.sampled_from([None, 1, 2])
PRIORITIES = st.integers(1, 5)
JOBS = st.sampled_from(["apt"] * 5 + ["last apt"] * 2 + ["1st", "2nd", "none"])
HASHES = st.sampled_from(SOURCES)
TYPES = st.sampled_from(["pdf", "pdf", "pdf", "ocr", "tiff", "one-too-many", "one-too-many"])
CALLERS = st.sampled_from(["own"] * 9 + [*TOKENS, "another worker"])
UNLUCKY = st.sampled_from(["holder", "holder", *WORKERS])  # who leaves, is removed, disabled
CLAIMERS = st.sampled_from(["w1", "w1", "w2", "w3"])
WHO = st.sampled_from(["holder", "holder", "holder", *WORKERS])
LEASE = st.sampled_from(["right", "right", "right", "none", "stale", "wrong"])
INSTANCES = st.sampled_from([None, None, "current", "current", "one", "two", "three"])
TAGS = st.sampled_from([(), ("a",), ("b", "a"), ("c",)])
UNDO = st.sampled_from(["", "a", "b"])
STARTS = st.sampled_from([None, None, None, 0, 1000, 100_000])  # ms until a job may be started
ENDS = st.sampled_from([None, None, None, None, -1, 1, 2000, 200_000])  # ms until one expires
OPTIONS = st.sampled_from([None, None, None, '{"dpi":1}'])
ACCEPTS = st.sampled_from([("options",), (), ("options", "heartbeat_interval"), ("options", "comparisons-only")])
LABELS = st.sampled_from(list(MEETS))
JOINED = Step("ocr", "*", None, (), Join("tiff", None, (Step("pdf", "*", '{"dpi":2}', ()),)))
THEN = st.sampled_from([
    None, None, (), (Step("ocr"),), (Step("ocr", "a*"), Step("tiff", "*", None, (Step("ocr"),))), (JOINED,),
    (Step("ocr", "*", None, (), Join("tiff")),),
])  # fmt: skip
BATCHES = st.sampled_from([None, None, "first", "last", "last", "none"])
GROUPS = st.sampled_from([None, None, "a", "a", "b"])
REQUIRES = st.sampled_from([None, None, None, GPU, GPU, LARGE, BOTH])
CONVERTER = st.sampled_from([None, None, "marker 1.2", "marker 1.2", "marker 1.3", "marker 1.4"])
OUTPUT = st.sampled_from(["none", "right", "right", "former"])
CHECKSUM = st.sampled_from([None, hash_of("output"), hash_of("another")])
SEEN = st.builds(
    m.ObjectSeen,
    seen=st.sampled_from([m.Seen.VERIFIED, m.Seen.VERIFIED, m.Seen.PRESENT, m.Seen.ABSENT, m.Seen.UNKNOWN]),
    size=st.just(1),
    sha256=st.sampled_from([None, hash_of("output")]),
)
OUTPUT_SEEN = st.builds(
    m.ObjectSeen,
    seen=st.sampled_from([m.Seen.VERIFIED, m.Seen.VERIFIED, m.Seen.PRESENT, m.Seen.ABSENT, m.Seen.UNKNOWN]),
    size=st.sampled_from([1, 2, 3, None]),
    sha256=st.sampled_from([None, hash_of("output")]),
)
SOURCE_IS_THERE = m.ObjectSeen(m.Seen.VERIFIED, size=1)
OUTPUT_IS_THERE = m.ObjectSeen(m.Seen.PRESENT, size=1)

# What upsets the others, or is quickly done: not in every step, or nothing would get far.
seldom = precondition(lambda machine: machine.steps % 4 == 0)


def when_some(*statuses: str):  # type: ignore[no-untyped-def]  # as Hypothesis has it
    """Only while there are jobs of these statuses."""
    return precondition(lambda machine: machine.has(*statuses))
