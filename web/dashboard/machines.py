"""A machine is added: the commands that make it a worker, with a token that is made for it and shown once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response

from blobforge.access import Scope
from blobforge.machines import COMMAND, IMAGE, NO_TOKEN, Machine, NoMachine
from blobforge.refusals import Refusal, RefusalCode
from web.dashboard.page import page
from web.routing import Access, Call, Route

FIELDS = ("server", "type", "command", "labels", "image")
TYPE = "pdf"


async def shown(call: Call) -> Response:
    """The form, and the commands as it says, with a sign where the token goes. Nothing is made."""
    given = _given(call, call.request.args)
    machine = machine_of(call, given)
    if isinstance(machine, Refusal):
        return await _page(call, given, None, wrong=machine.detail)
    return await _page(call, given, machine)


def machine_of(call: Call, given: Mapping[str, str], token: str = NO_TOKEN) -> Machine | Refusal:
    """What a form says of it; what is empty is as it mostly is."""
    said = _given(call, given)
    try:
        return Machine(
            server=said["server"].rstrip("/"),
            type=said["type"],
            command=said["command"],
            labels=tuple(label for each in said["labels"].split(",") if (label := each.strip())),
            image=said["image"],
            token=token,
        )
    except NoMachine as error:
        return Refusal(RefusalCode.INVALID, str(error), field=error.field)


async def machine_page(call: Call, machine: Machine, made: Any) -> Response:
    """`made` is the token that was made for it, and is shown this once."""
    return await _page(call, {}, machine, made=made)


def _given(call: Call, given: Mapping[str, str]) -> dict[str, str]:
    usual = {"server": call.services.site.base(call.request), "type": TYPE, "command": COMMAND, "image": IMAGE}
    return {name: given.get(name, "").strip() or usual.get(name, "") for name in FIELDS}


async def _page(
    call: Call, given: Mapping[str, str], machine: Machine | None, *, made: Any = None, wrong: str = ""
) -> Response:
    here = call.services.site.base(call.request).rstrip("/")
    return await page(
        call, "machine.html", title="Add a machine", place="/workers", status=422 if wrong else 200, given=given,
        machine=machine, made=made, wrong=wrong, may_make=call.caller.may(Scope.ADMIN),
        other_address=machine is not None and machine.server != here,
    )  # fmt: skip


ROUTES = [
    Route("GET", "/add-machine", Access.READ, shown, "The commands that make a machine a worker", gives=str,
          page=True),
]  # fmt: skip
