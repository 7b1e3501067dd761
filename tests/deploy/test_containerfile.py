"""The Containerfile, by what can be said without building it; `make check` lints it."""

from __future__ import annotations

import re

from tests.deploy.compose import ROOT

CONTAINERFILE = ROOT / "Containerfile"


def test_entrypoint_command_and_health_check_start_no_shell() -> None:
    """A shell as the first process would keep signals from the server."""
    text = CONTAINERFILE.read_text().replace("\\\n", "")
    for name in ("ENTRYPOINT", "CMD"):
        forms = re.findall(rf"^(?:HEALTHCHECK .*)?{name} +(.)", text, re.MULTILINE)
        assert set(forms) == {"["}


def test_the_context_is_what_the_image_is_made_of() -> None:
    """Named one by one: what is new in the checkout (data, secrets) stays out until somebody lets it in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert [name for name in let_in if not (ROOT / name).exists()] == []
    assert "data" not in let_in
