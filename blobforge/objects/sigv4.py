"""AWS Signature Version 4 in the query string: presigned S3 URLs, without boto3's cost.

boto3 takes about 200 µs for one URL and a claim needs two, so that signing would cap the claim rate. Here the signing
key is derived once a day, and what is the same for the URLs of one second is put together once. State owned here: the
signing key of the day. The URLs are byte for byte those of boto3 (path style, `s3v4`); tests/objects/test_sigv4.py
holds that.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from blobforge.objects.keyed import Keyed

MAX_EXPIRES = 7 * 24 * 3600  # seconds; S3 refuses more
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = re.compile(r"[A-Za-z0-9._~/-]*")
_ENCODED = re.compile(r"[A-Za-z0-9._~%-]*")
_FREQUENT = tuple((character, quote(character, safe="")) for character in "% \"'*;=/")  # the percent sign first


class _Terms(NamedTuple):
    """What the URLs of one moment, lifetime and list of headers have in common: the parameters of the query in their
    order, what precedes the digest in the text that is signed, and the key."""

    query: str
    to_sign: str
    key: Keyed


class Presigner:
    """Signs URLs for one bucket and one key pair.

    `endpoint` is `scheme://host[:port][/path]`. Raises ValueError for one that cannot be signed for. Safe to
    share between threads: what is cached is replaced whole.
    """

    def __init__(self, endpoint: str, bucket: str, region: str, access_key: str, secret_key: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {endpoint!r}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the S3 endpoint may have no user, query or fragment")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._path = f"{parts.path.rstrip('/')}/{quote(bucket, safe='')}/"
        self._host = _host_header(parts.scheme, parts.hostname, parts.port)
        self._region = region
        self._access_key = access_key
        self._secret_key = secret_key
        self._day: tuple[str, Keyed] = ("", Keyed(b""))
        self._recent: tuple[tuple[datetime, int, str] | None, _Terms] = (None, _Terms("", "", self._day[1]))

    def url(
        self,
        method: str,
        key: str,
        *,
        expires_in: int,
        now: datetime,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        last: str = "",
    ) -> str:
        """Return the URL on which `method` is allowed for `expires_in` seconds (1 to 604,800) from `now` (aware).

        The request has to carry each of `headers` as given. `query` goes into the URL in its own order;
        in its place there may be `last`, one parameter that is encoded already and sorts behind `X-Amz-...`.
        `key` is percent-encoded but otherwise signed as it stands: confinement is the caller's.
        """
        canonical_headers, signed = self._headers(headers)
        terms = self._terms(now, expires_in, signed)
        # The terms are in order already. The canonical form wants all parameters sorted, the URL ours before S3's.
        url_query = canonical_query = terms.query
        if last:
            url_query, canonical_query = f"{last}&{terms.query}", f"{terms.query}&{last}"
        elif query:
            own = [f"{_encoded_name(name)}={_encoded(value)}" for name, value in query.items()]
            url_query = f"{'&'.join(own)}&{terms.query}"
            in_order = sorted(own)
            if in_order[0] > "X-Amz-T":  # behind all of the terms
                canonical_query = f"{terms.query}&{'&'.join(in_order)}"
            else:
                canonical_query = "&".join(sorted([*own, *terms.query.split("&")]))
        path = self._path + (key if _UNRESERVED.fullmatch(key) else quote(key, safe="/"))
        request = f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{signed}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = terms.key.hexdigest(f"{terms.to_sign}{digest}".encode())
        return f"{self._base}{path}?{url_query}&X-Amz-Signature={signature}"

    def _terms(self, now: datetime, expires_in: int, signed: str) -> _Terms:
        """A batch of claims asks for the same ones hundreds of times."""
        wanted = (now, expires_in, signed)
        known, terms = self._recent
        if known == wanted:
            return terms
        if not 1 <= expires_in <= MAX_EXPIRES:
            raise ValueError(f"expires_in must be 1 to {MAX_EXPIRES} seconds, not {expires_in}")
        if now.tzinfo is None:
            raise ValueError("now must be an aware datetime")
        timestamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        date = timestamp[:8]
        scope = f"{date}/{self._region}/s3/aws4_request"
        parameters = (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential={quote(f'{self._access_key}/{scope}', safe='')}"
            f"&X-Amz-Date={timestamp}"
            f"&X-Amz-Expires={expires_in}"
            f"&X-Amz-SignedHeaders={quote(signed, safe='')}"
        )
        terms = _Terms(parameters, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n", self._signing_key(date))
        self._recent = (wanted, terms)
        return terms

    def _headers(self, headers: Mapping[str, str] | None) -> tuple[str, str]:
        """The canonical headers, each line ended, and the list of their names."""
        if not headers:
            return f"host:{self._host}\n", "host"
        lines = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        lines["host"] = self._host
        names = sorted(lines)
        return "".join(f"{name}:{lines[name]}\n" for name in names), ";".join(names)

    def _signing_key(self, date: str) -> Keyed:
        day, key = self._day
        if day != date:
            derived = f"AWS4{self._secret_key}".encode()
            for part in (date, self._region, "s3", "aws4_request"):
                derived = hmac.digest(derived, part.encode(), "sha256")
            key = Keyed(derived)
            self._day = (date, key)
        return key


def _encoded(text: str) -> str:
    """The text as `quote` encodes it, but faster: `quote` goes from byte to byte, and here the characters of nearly
    every header are replaced at once."""
    for character, code in _FREQUENT:
        text = text.replace(character, code)
    return text if _ENCODED.fullmatch(text) else quote(text, safe="%")


_encoded_name = lru_cache(maxsize=16)(_encoded)  # there are a few, and they are ours


def _host_header(scheme: str, hostname: str, port: int | None) -> str:
    """The Host header of an HTTP client: lower case, without the scheme's own port, IPv6 in brackets."""
    host = f"[{hostname}]" if ":" in hostname else hostname
    return host if port is None or port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
