"""Our HMAC with a prepared key is the standard library's."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from blobforge.objects.keyed import Keyed


@given(st.binary(max_size=150), st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_equal_to_hmac(key: bytes, messages: list[bytes]) -> None:
    keyed = Keyed(key)
    assert [keyed.hexdigest(each) for each in messages] == [hmac.digest(key, m, "sha256").hex() for m in messages]
