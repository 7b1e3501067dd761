"""Our presigned URLs are, byte for byte, boto3's."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from blobforge.objects.disposition import attachment, attachment_in_query
from blobforge.objects.sigv4 import Presigner

ACCESS, SECRET, BUCKET = "AKIA/EXAMPLE+1", "wJalr/XUtn+FEMI=", "my-bucket.example"
ENDPOINTS = [
    "http://127.0.0.1:8333",
    "https://s3.example.com",
    "https://s3.example.com:443/",
    "http://s3.example.com:80",
    "https://S3.Example.com:9000/base/path/",
    "http://[::1]:9000",
]
REGIONS = ["auto", "us-east-1", "eu-central-1"]


def boto(endpoint: str = ENDPOINTS[0], region: str = "auto"):
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


BOTO = boto()
OURS = Presigner(ENDPOINTS[0], BUCKET, "auto", ACCESS, SECRET)


def signed_at(url: str) -> datetime:
    """boto3 signs for the time it reads itself: take it from its URL and sign ours for the same."""
    stamp = parse_qs(urlsplit(url).query)["X-Amz-Date"][0]
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize(("endpoint", "region"), list(itertools.product(ENDPOINTS, REGIONS)))
@pytest.mark.parametrize("operation", ["get_object", "head_object", "put_object", "delete_object"])
def test_equal_to_boto3_for_every_endpoint_region_and_verb(endpoint: str, region: str, operation: str) -> None:
    params = {"Bucket": BUCKET, "Key": "sources/" + "a" * 64}
    theirs = boto(endpoint, region).generate_presigned_url(operation, Params=params, ExpiresIn=3600)
    verb = operation.removesuffix("_object").upper()
    ours = Presigner(endpoint, BUCKET, region, ACCESS, SECRET)
    assert ours.url(verb, params["Key"], expires_in=3600, now=signed_at(theirs)) == theirs


@pytest.mark.parametrize(
    ("params", "headers"),
    [
        ({"ContentType": "application/pdf"}, {"Content-Type": "application/pdf"}),
        ({"ContentType": "text/plain;  charset=utf-8 "}, {"Content-Type": "text/plain;  charset=utf-8 "}),
        ({"ChecksumSHA256": "q8a+/w=="}, {"x-amz-checksum-sha256": "q8a+/w=="}),
        (
            {"ContentType": "a/b", "ChecksumSHA256": "q8a+/w=="},
            {"x-amz-checksum-sha256": "q8a+/w==", "Content-Type": "a/b"},
        ),
    ],
)
def test_equal_to_boto3_with_signed_headers(params: dict[str, str], headers: dict[str, str]) -> None:
    everything = {"Bucket": BUCKET, "Key": "outputs/1/2/output", **params}
    theirs = BOTO.generate_presigned_url("put_object", Params=everything, ExpiresIn=60)
    ours = OURS.url("PUT", everything["Key"], expires_in=60, now=signed_at(theirs), headers=headers)
    assert ours == theirs


@pytest.mark.parametrize("key", ["a b+c", "ü/日本.pdf", "%2F%41", "~-_.!*'()&$@=;:,?#", "a//b/../c", "tab\tnul\x01"])
def test_equal_to_boto3_for_odd_keys(key: str) -> None:
    theirs = BOTO.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
    assert OURS.url("GET", key, expires_in=60, now=signed_at(theirs)) == theirs


@pytest.mark.parametrize(
    "filename",
    [
        "report.pdf",
        "a b+c&d=e.pdf",
        "Übergröße – 日本語 😀.pdf",
        "100%.pdf",
        'q"uo\\te;.pdf',
        "a\r\nSet-Cookie: x.pdf",
    ],
)
def test_equal_to_boto3_with_a_content_disposition(filename: str) -> None:
    value = attachment(filename)
    params = {"Bucket": BUCKET, "Key": "k", "ResponseContentDisposition": value}
    theirs = BOTO.generate_presigned_url("get_object", Params=params, ExpiresIn=60)
    query = {"response-content-disposition": value}
    assert OURS.url("GET", "k", expires_in=60, now=signed_at(theirs), query=query) == theirs
    last = f"response-content-disposition={attachment_in_query(filename)}"
    assert OURS.url("GET", "k", expires_in=60, now=signed_at(theirs), last=last) == theirs


@settings(max_examples=150)
@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: not key.startswith("/")),
    value=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    expires=st.integers(1, 604_800),
)
def test_equal_to_boto3_for_any_text(key: str, value: str, expires: int) -> None:
    params = {"Bucket": BUCKET, "Key": key, "ResponseContentDisposition": value}
    theirs = BOTO.generate_presigned_url("get_object", Params=params, ExpiresIn=expires)
    query = {"response-content-disposition": value}
    assert OURS.url("GET", key, expires_in=expires, now=signed_at(theirs), query=query) == theirs


def test_the_cached_key_follows_the_date() -> None:
    evening = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    midnight = evening + timedelta(seconds=1)
    used = Presigner(ENDPOINTS[0], BUCKET, "auto", ACCESS, SECRET)
    for now in (evening, midnight, evening):
        fresh = Presigner(ENDPOINTS[0], BUCKET, "auto", ACCESS, SECRET)
        assert used.url("GET", "k", expires_in=60, now=now) == fresh.url("GET", "k", expires_in=60, now=now)


def test_time_is_utc_whatever_zone_it_comes_in() -> None:
    utc = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    elsewhere = utc.astimezone(timezone(timedelta(hours=-5)))
    assert OURS.url("GET", "k", expires_in=60, now=elsewhere) == OURS.url("GET", "k", expires_in=60, now=utc)
    with pytest.raises(ValueError, match="aware"):
        OURS.url("GET", "k", expires_in=60, now=utc.replace(tzinfo=None))


@pytest.mark.parametrize("expires_in", [0, -1, 604_801])
def test_a_lifetime_that_s3_refuses_is_refused_here(expires_in: int) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        OURS.url("GET", "k", expires_in=expires_in, now=datetime.now(UTC))


@pytest.mark.parametrize("endpoint", ["s3.example.com", "ftp://x", "http://", "http://u:p@host", "http://h/?a=b"])
def test_an_unusable_endpoint_is_refused_and_its_password_not_repeated(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint|http") as caught:
        Presigner(endpoint, BUCKET, "auto", ACCESS, SECRET)
    assert "u:p" not in str(caught.value)
