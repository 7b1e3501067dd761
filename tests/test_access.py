"""Credentials, scopes and callers."""

from __future__ import annotations

import hashlib

import pytest

from blobforge.access import (
    Caller,
    Scope,
    Token,
    hash_secret,
    new_token,
    shown_prefix,
)

TOKEN = Token(1, "t", "hash", "bf_abc", frozenset({Scope.READ}), created_at=0, expires_at=1000)


def test_admin_implies_every_scope_and_no_other_scope_implies_any() -> None:
    for scope in Scope:
        caller = Caller(frozenset({scope}), token_id=1)
        assert {other for other in Scope if caller.may(other)} == (set(Scope) if scope is Scope.ADMIN else {scope})
    assert not any(Caller(frozenset(), token_id=1).may(scope) for scope in Scope)


@pytest.mark.parametrize(
    ("make", "prefix"), [(new_token, "bf_"), (lambda: new_token().replace("bf_", "bfw_"), "bfw_")]
)
def test_secrets_name_their_kind_and_show_little(make, prefix: str) -> None:
    made = {make() for _ in range(50)}
    assert len(made) == 50
    for secret in made:
        assert secret.startswith(prefix)
        assert len(secret) - len(prefix) >= 43  # 256 bits in base64
        shown = shown_prefix(secret)
        assert secret.startswith(shown)
        assert len(shown) <= len(prefix) + 8


def test_only_the_hash_is_kept() -> None:
    assert hash_secret("bf_x") == hashlib.sha256(b"bf_x").hexdigest()


def test_a_token_ends_at_its_time_and_not_before() -> None:
    assert not TOKEN.expired(999)
    assert TOKEN.expired(1000)
    forever = Token(1, "t", "hash", "bf_abc", frozenset(), created_at=0)
    assert not forever.expired(2**62)


def test_subjects_of_different_kinds_never_meet() -> None:
    """Idempotency keys are scoped by the subject: a worker named `1` is not token 1."""
    callers = [Caller(frozenset(), token_id=1), Caller(frozenset(), worker_id="1"), Caller(frozenset(), user_id=1)]
    assert len({caller.subject for caller in callers}) == 3
