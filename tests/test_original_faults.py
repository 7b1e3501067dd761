"""The faults of the system that this one replaces: a test for each, named after it.

Most stand here, short, over HTTP. Where a fault is the subject of a whole module, the table below names the test
that holds it, and is itself tested: a renamed test is missed.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

ELSEWHERE = {
    "any token presigned an upload for any key": "web/test_files.py::test_no_other_key_is_signed_for_anybody",
    "token scopes were never enforced": "web/test_credentials.py::test_every_route",
    "worker identity came from the body": "web/test_credentials.py::test_a_worker_acts_as_itself_only",
    "no limit on the body": "web/test_requests.py::test_bodies_that_cannot_be_read",
    "no limit on streams": "web/test_events.py::test_streams_are_limited_per_address_and_in_total",
    "no limit on waiting claims": "web/test_claims.py::test_too_many_long_polls_are_slowed_down",
    "the upload URL died after an hour": "web/test_files.py::test_a_worker_gets_a_fresh_url_for_its_own_attempt",
    "and a fresh one for anybody": "web/test_files.py::test_no_fresh_url_once_the_job_was_started_anew",
    "heartbeat progress was thrown away": "web/test_workers.py::test_progress_is_kept_as_it_came",
    "SSE dropped events silently": "web/test_events.py::test_a_slow_reader_is_cut_short_and_told_so",
    "SSE had no ids": "web/test_events.py::test_who_comes_back_gets_what_it_missed",
    "SSE could hang shutdown": "web/test_shutdown.py::test_open_streams_end_first",
    "the CLI's upload_url was never sent": "web/test_existing_clients.py::test_a_command_line_client",
    "open to everyone without OIDC": "authority/test_matrix.py::test_every_address",
    "no PKCE, no nonce": "auth/test_callback.py::test_the_provider_got_a_challenge_and_then_its_verifier",
    "session ids in plain text": "auth/test_attacks.py::test_the_database_is_no_key",
    "groups were frozen for a day": "auth/test_confirmation.py::test_whoever_left_the_group_is_out",
    "no CSRF defence, logout by GET": "authority/test_csrf.py::test_from_another_site_nothing_is_done",
    "assets from a CDN, no CSP": "authority/test_headers.py::test_pages_hold_no_script_and_no_style",
    "restore errors were read as no backup": "backup/test_start.py::test_a_store_that_is_away_is_no_empty_one",
    "secrets in a world-readable file":
        "backup/test_restore.py::test_a_clean_stop_loses_nothing_and_a_restored_lease_is_void",
    "ran as root": "image/test_image.py::test_it_runs_as_nobody_on_a_read_only_root_and_stops_with_0",
    "email UNIQUE": "auth/test_people.py::test_people_are_known_by_issuer_and_subject",
    "six actions changed state and answered 500":
        "dashboard/test_actions.py::test_retry_cancel_undo_and_priority_of_one_job",
    "no token could be made on the page": "dashboard/test_actions.py::test_tokens_are_made_and_deleted",
    "retry reset nothing": "dashboard/test_actions.py::test_a_retry_on_the_page_gives_the_whole_budget_back",
}  # fmt: skip


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_what_is_tested_elsewhere_is_there(fault: str) -> None:
    file, _, name = ELSEWHERE[fault].partition("::")
    tree = ast.parse((ROOT / file).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions, f"{fault}: its test was renamed or lost"
