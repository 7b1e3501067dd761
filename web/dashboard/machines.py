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


async def shown(call: Call) -> Response | Refusal:
    """The form, and the commands as it says, with a sign where the token goes. Nothing is made."""
    machine = machine_of(call, call.request.args)
    if isinstance(machine, Refusal):
        return machine
    return await machine_page(call, machine)


def machine_of(call: Call, given: Mapping[str, str], token: str = NO_TOKEN) -> Machine | Refusal:
    """What a form says of it; what is empty is as it mostly is."""
    said = {name: value for name in FIELDS if (value := given.get(name, "").strip())}
    labels = tuple(label for each in said.get("labels", "").split(",") if (label := each.strip()))
    try:
        return Machine(
            server=said.get("server", call.services.site.base(call.request)).rstrip("/"),
            type=said.get("type", TYPE),
            command=said.get("command", COMMAND),
            labels=labels,
            image=said.get("image", IMAGE),
            token=token,
        )
    except NoMachine as error:
        return Refusal(RefusalCode.INVALID, str(error), field=error.field)


async def machine_page(call: Call, machine: Machine, made: Any = None) -> Response:
    """`made` is the token that was made for it, and is shown this once."""
    return await page(
        call, "machine.html", title="Add a machine", place="/workers", machine=machine, made=made,
        may_make=call.caller.may(Scope.ADMIN),
    )  # fmt: skip


ROUTES = [
    Route("GET", "/add-machine", Access.READ, shown, "The commands that make a machine a worker", gives=str,
          page=True),
]  # fmt: skip
