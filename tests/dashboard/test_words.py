"""How pages say things, and what their forms, notices and files take and refuse: without a browser."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from blobforge.forecast import Expected
from blobforge.job import Attempt, Outcome
from blobforge.refusals import Refusal, RefusalCode
from tests.fixtures.local import LocalServer
from web.api import wire_access, wire_bulk
from web.dashboard import words
from web.dashboard.assets import Assets
from web.dashboard.bars import Bar, Bars, bars_of
from web.dashboard.forms import LONGEST_FORM, MOST_FIELDS, back, body_of, fields_of, read_form
from web.html import Templates, safe_next
from web.routing import Call

NOW = 1_800_000_000_000
TEXTS = st.text(max_size=300)

# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (3661, "1 h 1 min"), (86_400, "1 d"), (90_061, "1 d 1 h"),
     (-5, "0.0 s"), (None, "–"), (59.6, "1 min"), (3599.7, "1 h")],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_has_two_parts_at_most(seconds: float) -> None:
    assert re.fullmatch(r"\d+(\.\d)? (d|h|min|s)( \d+ (h|min|s))?", words.duration(seconds))


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "now"), (1500, "a second ago"), (-1500, "in a second"), (5 * 60_000, "5 minutes ago"),
     (-3 * 3_600_000, "in 3 hours")],
)  # fmt: skip
def test_relative_times(ms: int, said: str) -> None:
    assert words.relative(NOW - ms, NOW) == said


def test_a_range_by_the_clock() -> None:
    """NOW is 08:00 UTC."""
    text = re.sub("<[^>]*>", "", words.clock(Expected(NOW + 60_000, NOW + 3_600_000, "durations"), NOW))
    assert text == "08:01 UTC to 09:00 UTC"
    assert re.sub("<[^>]*>", "", words.clock(Expected(NOW, NOW + 30_000, "durations"), NOW)) == "08:00 UTC"
    assert "16 Jan 08:00 UTC" in words.clock(Expected(NOW, NOW + 86_400_000, "durations"), NOW)


@pytest.mark.parametrize(("rate", "said"), [(0, "0"), (0.75, "0.8"), (9.96, "10.0"), (12.4, "12"), (1240, "1,240")])
def test_a_rate(rate: float, said: str) -> None:
    assert words.per_hour(rate) == said


@pytest.mark.parametrize(
    ("values", "points", "said"),
    [((0, 5, 10), "0,19.0 4,10.0 8,1.0", "At most 10 done, 10 in the latest"), ((0, 0, 0), "0,19 8,19", "None done")],
)
def test_a_line_of_numbers(values: tuple[int, ...], points: str, said: str) -> None:
    shown = words.spark(values, "done")
    assert f'points="{points}"' in shown
    assert f'aria-label="{said}"' in shown


def test_attempts_are_bars_on_a_line_of_time() -> None:
    def made(number: int, began: int, ended: int | None, outcome: Outcome | None) -> Attempt:
        ended_at = None if ended is None else NOW + ended
        return Attempt(7, number, "w", "", NOW + began, ended_at=ended_at, outcome=outcome)

    first, second = made(1, 0, 1000, Outcome.FAILED), made(2, 3000, None, None)
    assert bars_of([first], NOW + 4000) is None, "one says nothing that its words do not"
    shown = bars_of([second, first], NOW + 4000)
    assert shown == Bars([Bar(first, 0, 250, 1), Bar(second, 750, 250, 1)], NOW, 1004, 4)
    # An attempt that was over at once, and one that the clock was set back under, are still there.
    shown = bars_of([made(1, 0, 0, Outcome.LOST), made(2, 9000, 8000, Outcome.LOST)], NOW)
    assert shown is not None
    assert [bar.length for bar in shown.bars] == [4, 4]


def test_a_time_has_the_exact_one_with_it() -> None:
    shown = words.ago(NOW - 60_000, NOW)
    assert shown == words.ago("2027-01-15T07:59:00.000Z", NOW)
    assert 'datetime="2027-01-15T07:59:00.000Z" title="2027-01-15T07:59:00.000Z" data-ago' in shown
    assert words.ago(None, NOW) == "–"


def test_a_time_in_a_field_is_one_that_the_field_takes() -> None:
    assert words.time_field(NOW) == words.time_field("2027-01-15T09:00:59.9+01:00") == "2027-01-15T08:00"
    assert [words.time_field(each) for each in (None, "")] == ["", ""]
    assert words.time_field("0001-01-01T00:00+14:00") == "0001-01-01T00:00"
    assert words.time_field("9999-12-31T23:59-14:00") == "9999-12-31T23:59"


def test_what_is_hidden_in_the_value_of_a_field_is_kept_and_not_seen() -> None:
    text = "a\u202e\u200fb\ufeff\x01<\"'&"
    assert html.unescape(words.exact(text)) == text.replace("\x01", "")  # no text of ours has such a one
    assert words.visible(words.exact(text)) == words.exact(text)
    assert words.exact("<\"'&>") == "&lt;&#34;&#39;&amp;&gt;"
    assert words.exact(5) == "5"


# What fields that are not seen, and choices, have of our own, and how often: numbers, and words of the program. What
# stood in a field of a type's settings is compared with what is seen of it now.
OURS = {
    "admin_tokens.html": {"each": 1, "scope": 1}, "webhook_fields.html": {"event": 1},
    "job.html": {"each": 1}, "login.html": {"next": 1}, "page.html": {"notice.undo": 1},
    "jobs.html": {"name": 1, "job.id": 1, "each": 4, "value": 1, "table.said[name]": 1},
    "submit.html": {"each": 2}, "types.html": {"name": 1}, "type.html": {"at": 1, "each": 1, "field.text": 1},
    "webhook.html": {"each": 1, "seconds": 1}, "workers.html": {"each": 1, "sort": 1},
    "webhook_again.html": {"asked.since.isoformat()": 1, "asked.until.isoformat()": 1, "cursor": 1, "sent": 1},
}  # fmt: skip
CHOSEN = re.compile(r'<input type="(?:hidden|checkbox)"[^>]*? value="{{ (.+?) }}"|<option[^>]*? value="{{ (.+?) }}"|'
                    r"<option(?![^>]* value=)[^>]*>{{ (.+?) }}")  # fmt: skip


def test_every_table_is_a_list_on_the_phone() -> None:
    """Also those of which the pages of the scene have none."""
    templates = [
        each
        for each in Path(words.__file__).with_name("templates").glob("*.html")
        if each.name != "docs_contents.html"
    ]
    tables = [table for each in templates for table in re.findall("<table[^>]*>", each.read_text())]
    assert {table for table in tables if not re.search('class="(cards|histogram)', table)} == set()


def test_a_strangers_text_is_sent_back_as_it_was_from_fields_that_are_not_seen() -> None:
    found: dict[str, Counter[str]] = {}
    for template in Path(words.__file__).with_name("templates").glob("*.html"):
        for expressions in CHOSEN.findall(template.read_text()):
            expression = "".join(expressions)
            if not expression.endswith("| exact"):
                found.setdefault(template.name, Counter())[expression] += 1
    assert found == OURS


def test_an_expected_end_is_a_range_that_is_never_past() -> None:
    early, late = NOW - 60_000, NOW + 120_000
    said = words.span(Expected(early, late, "progress"), NOW)
    assert said.startswith("within <time")
    assert said.endswith('data-ago="bare">2 minutes</time>'), "and not: now to in 2 minutes"
    hours = words.span(Expected(NOW + 60_000, NOW + 7_200_000, "progress"), NOW)
    assert ">in a minute</time> to <time" in hours
    assert hours.endswith(">2 hours</time>")
    assert words.span(Expected(late, late + 1000, "progress"), NOW) == words.ago(late + 1000, NOW)
    assert words.span(Expected(early, NOW - 1, "progress"), NOW) == "any moment"


@given(TEXTS)
def test_a_name_is_shown_whole_or_with_a_gap_and_isolated(text: str) -> None:
    shown = words.short(text)
    assert isinstance(shown, Markup)
    if not text:
        assert shown == "–"
        return
    inside = Markup(re.sub(r"^<bdi title=\"[^\"]*\">|</bdi>$", "", shown)).unescape()
    assert len(inside) <= words.STEM + words.TAIL + 1
    ends = inside[: words.STEM], inside[-words.TAIL :]
    assert inside == text or ends == (text[: words.STEM], text[-words.TAIL :])
    assert "<" not in str(shown).removeprefix("<bdi").removesuffix("</bdi>")


@given(st.text(alphabet=st.characters(categories=["Cc", "Cf", "L"]), max_size=50))
def test_nothing_turns_the_order_around_unseen(text: str) -> None:
    shown = words.visible(text)
    assert len(shown) == len(text)
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert [c for c in shown if unicodedata.bidirectional(c) in turning] == []
    assert words.visible("a\tb\nשלום") == "a\tb\nשלום"
    assert words.visible(7) == 7


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('{"percent": 12.345}', {"percent": 12.3}),
        ('{"percent": 250}', {"percent": 100.0}),
        ('{"percent": -3}', {"percent": 0.0}),
        ('{"done": 1, "total": 4, "stage": "ocr"}', {"percent": 25.0, "of": "1 of 4", "stage": "ocr"}),
        ('{"done": 1, "total": 0}', {"of": "1 of 0"}),
        ('{"percent": true, "stage": 7, "message": null}', {}),
        ('{"percent": 1e300}', {}),
        ("[1]", {}),
        ("not json", {}),
        (None, {}),
    ],
)
def test_progress_is_taken_as_far_as_it_is_one(sent: str | None, shown: dict[str, Any]) -> None:
    assert words.progress(sent) == shown


@given(st.text())
def test_whatever_was_sent_as_facts_is_a_short_list(text: str) -> None:
    for lines in (words.facts(text), words.facts(f'{{"a": [{{"b": 1}}], "c": {text!r}}}')):
        assert len(lines) <= 40


def test_facts_are_flat() -> None:
    sent = '{"host": "gaul", "gpus": [{"name": "RTX", "memory": 21474836480}], "hot": true, "none": null}'
    assert words.facts(sent) == [
        ("host", "gaul"), ("gpus.0.name", "RTX"), ("gpus.0.memory", "20.0 GiB"), ("hot", "true"),
    ]  # fmt: skip


# ------------------------------------------------------------------ forms


class Asked:
    """What `back` and `read_form` look at of a call: its body and its headers."""

    def __init__(self, raw: bytes = b"", referrer: str = "") -> None:
        self.raw = raw
        self.request = self
        self.headers = {"Referer": referrer} if referrer else {}
        self.services = self
        self.site = self

    def base(self, request: object) -> str:
        return "http://localhost:8080"


def asked(raw: bytes = b"", referrer: str = "") -> Call:
    return cast(Call, Asked(raw, referrer))


@pytest.mark.parametrize(
    ("to", "leads"),
    [("/jobs?status=dead", "/jobs?status=dead"), ("//evil.test", "/"), ("/\\evil.test", "/"),
     ("https://evil.test", "/"), ("javascript:alert(1)", "/"), ("/a\r\nSet-Cookie: x", "/"), ("/\t/evil.test", "/"),
     ("jobs", "/"), ("/" * 2000, "/"), ("", "/")],
)  # fmt: skip
def test_a_form_leads_back_to_a_page_of_ours_only(to: str, leads: str) -> None:
    assert back(asked(urlencode({"return_to": to}).encode())) == leads


@pytest.mark.parametrize(
    ("referrer", "leads"),
    [("http://localhost:8080/jobs/1?a=b", "/jobs/1?a=b"), ("http://evil.test/jobs", "/"), ("", "/"),
     ("http://localhost:8080/do/jobs/cancel", "/"), ("http://localhost/jobs", "/"),
     ("http://localhost:8080//evil", "/")],
)  # fmt: skip
def test_a_form_that_names_no_page_leads_to_where_it_stood(referrer: str, leads: str) -> None:
    assert back(asked(b"", referrer)) == leads


@given(st.text())
def test_no_text_at_all_leads_elsewhere(to: str) -> None:
    found = urlsplit(safe_next(to))
    assert (found.scheme, found.netloc) == ("", "")
    assert found.path.startswith("/")


def test_forms_are_read_or_refused_in_words() -> None:
    assert read_form(asked(b"a=1&a=2&b=%C3%A4&empty=")) == {"a": ["1", "2"], "b": ["ä"]}
    for raw, code in (
        (b"x" * (LONGEST_FORM + 1), RefusalCode.TOO_LARGE),
        (b"&".join([b"a=1"] * (MOST_FIELDS + 1)), RefusalCode.MALFORMED),
        (b"a=%00", RefusalCode.INVALID),
        (b"\xff\xfe", RefusalCode.MALFORMED),
    ):
        found = read_form(asked(raw))
        assert isinstance(found, Refusal)
        assert found.code is code


@given(st.binary(max_size=200))
def test_whatever_comes_as_a_form_is_a_form_or_a_refusal(raw: bytes) -> None:
    found = read_form(asked(raw))
    assert isinstance(found, dict | Refusal)
    assert back(asked(raw)).startswith("/")


def test_a_bulk_action_is_for_the_ticked_or_for_the_filter() -> None:
    form = {"ids": ["1", "2"], "filter_status": ["dead"], "filter_priority": ["5"], "to_priority": ["1"]}
    ticked = {"ids": ["1", "2"], "to_priority": ["1"]}
    assert fields_of(form, wire_bulk.BulkPriority) == ticked | {"priority": ["1"]}
    assert fields_of(form, wire_bulk.BulkRetry) == ticked, "the field for a new priority is none of a retry's"
    everything = fields_of(form | {"everything": ["1"]}, wire_bulk.BulkPriority)
    assert "ids" not in everything
    assert everything["status"] == ["dead"]
    assert everything["only_priority"] == ["5"]
    assert everything["priority"] == ["1"]
    # Nothing ticked is no job, and never all of them.
    assert fields_of({"filter_status": ["dead"]}, wire_bulk.BulkRetry) == {"ids": []}
    assert isinstance(body_of({"ids": []}, wire_bulk.BulkRetry), Refusal)


def test_a_form_becomes_the_body_of_the_api() -> None:
    assert body_of({"name": ["ci"], "scopes": ["read", "submit"], "expires_in": ["30"]}, wire_access.TokenBody) == (
        wire_access.TokenBody(name="ci", scopes=["read", "submit"], expires_in=30)
    )
    for form in ({"name": ["x" * 10_000]}, {"name": ["ci"], "expires_in": ["soon"]}, {}):
        refused = body_of(form, wire_access.TokenBody)
        assert isinstance(refused, Refusal)
        assert refused.code is RefusalCode.INVALID


# ------------------------------------------------------------------ files and notices


def test_files_are_known_by_their_content() -> None:
    files = Assets()
    assert re.fullmatch(r"/static/app\.js\?v=[0-9a-f]{12}", files.url("app.js"))
    with pytest.raises(KeyError):
        files.url("../page.py")


async def test_files_over_http(local: LocalServer, autojump_clock: Any) -> None:
    url = Assets().url("site.css")
    for path, encoding, cached in ((url, None, "immutable"), (url.partition("?")[0], "gzip", "no-cache"),
                                   (url[:-1], None, "no-cache")):  # fmt: skip
        answer = await local.http.get(path, headers={"Accept-Encoding": encoding or "identity"})
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"].endswith(cached)
        assert answer.headers.get("Content-Encoding") == encoding
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert answer.headers["Vary"] == "Accept-Encoding"
    same = await local.http.get(url, headers={"If-None-Match": answer.headers["ETag"]})
    assert (same.status_code, await same.get_data(as_text=False)) == (304, b"")
    for name in ("nothing.css", "../page.py", "..%2Fpage.py", "%2e%2e/page.py", "vendor", "vendor/README.md", "/etc"):
        assert (await local.http.get(f"/static/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("said", "packed"),
    [("gzip, br", True), ("br;q=1.0, GZIP;q=0.5", True), ("gzip;q=0, identity", False), ("br, gzip; q=0.000", False),
     ("xgzip", False), ("", False)],
)  # fmt: skip
async def test_what_a_client_does_not_take_it_does_not_get(
    local: LocalServer, autojump_clock: Any, said: str, packed: bool
) -> None:
    for path in (Assets().url("site.css"), "/api/docs"):
        answer = await local.http.get(path, headers={"Accept-Encoding": said})
        assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None), path


async def test_a_notice_is_shown_once_and_to_nobody_who_forges_it(local: LocalServer, autojump_clock: Any) -> None:
    local.http = local.app.test_client(use_cookies=False)  # the test sends what it wants to send
    token = {"Authorization": f"Bearer {local.parts.admin_token}"}
    await local.submit()
    done = await local.http.post("/do/jobs/1/cancel", headers=token, data="return_to=/jobs/1&undo=true")
    assert done.status_code == 303
    assert done.headers["Location"] == "/jobs/1"
    sealed = done.headers["Set-Cookie"]
    assert "HttpOnly" in sealed
    assert "SameSite=Strict" in sealed
    name, _, value = sealed.partition(";")[0].partition("=")

    async def shown(cookie: str, **headers: str) -> str:
        answer = await local.http.get("/jobs/1", headers=token | headers | {"Cookie": f"{name}={cookie}"})
        assert answer.status_code == 200
        if "is cancelled" in (text := await answer.get_data(as_text=True)):
            assert f"{name}=;" in answer.headers["Set-Cookie"], "and once only"
        else:
            assert "Set-Cookie" not in answer.headers, "nobody has read it"
        return str(text)

    # It is for the page that the browser was sent to, and not for one that refreshes itself meanwhile.
    assert "Job 1 is cancelled." not in await shown(value, **{"X-Live": "1"})
    assert "Job 1 is cancelled." in await shown(value)
    for forged in ("x", "Job 1 is cancelled.", value[:-4] + "AAAA", value.swapcase()):
        assert "Job 1 is cancelled." not in await shown(forged)
    # Nor a minute later: who comes back tomorrow is not told what was done today.
    await trio.sleep(120)
    assert "Job 1 is cancelled." not in await shown(value)


async def test_addresses_that_are_none_are_pages_for_people_and_problems_for_programs(
    local: LocalServer, autojump_clock: Any
) -> None:
    for_people = await local.http.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert (for_people.status_code, for_people.content_type) == (404, "text/html; charset=utf-8")
    for_programs = await local.http.get("/nothing")
    assert (for_programs.status_code, for_programs.content_type) == (404, "application/problem+json")


def test_a_machine_in_a_line() -> None:
    gpus = [{"name": "RTX 4000"}, {"name": "RTX 4000"}, {"name": "A100"}]
    told = json.dumps({"hostname": "gaul-1", "cpus": 8, "memory": 16 << 30, "gpus": gpus})
    assert words.machine(told) == "gaul-1 · 8 CPUs · 16.0 GiB · 2 × RTX 4000 · A100"


@pytest.mark.parametrize("told", [None, "", "null", "[]", "7", "{", '{"cpus": "8", "gpus": [1], "memory": null}'])
def test_a_machine_that_tells_nothing_of_use(told: str | None) -> None:
    assert words.machine(told) == ""


async def test_no_template_is_made_to_wait(local: LocalServer, autojump_clock: Any) -> None:
    """A template that can wait awaits each value that it prints: more than half of what a page costs."""
    templates = local.app.jinja_env
    assert isinstance(templates, Templates)
    assert not templates.is_async


async def test_the_documentation_is_made_once(local: LocalServer, autojump_clock: Any) -> None:
    app, made = local.app, []
    get_template = app.jinja_env.get_template

    def counted(name: str, *more: Any) -> Any:
        made.append(name)
        return get_template(name, *more)

    app.jinja_env.get_template = counted  # type: ignore[method-assign,assignment]
    client = app.test_client()
    first, second = await client.get("/api/docs"), await client.get("/api/docs")
    assert await first.get_data() == await second.get_data()
    assert Counter(made) == {"docs.html": 2, "docs_contents.html": 1, "macros.html": 1}


def test_of_what_is_not_to_be_seen_nothing_is_printable() -> None:
    """A text that is printable is looked at no further."""
    assert [hex(code) for code in words.UNSEEN if chr(code).isprintable()] == []
