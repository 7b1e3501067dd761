"""Actions of callers: how their browser shows pages, what they sign in with, what they submit; and the backup."""

from __future__ import annotations

import time

from playwright.sync_api import FilePayload, Page

from tests.dashboard.trials.case import VIEW, Case, Props, filled, opened, trial


@trial("/do/theme", "dark", unseen=VIEW)
def theme(props: Props, script: bool) -> Case:
    """Of three that stand side by side."""

    def other(page: Page) -> None:
        page.context.add_cookies([{"name": "theme", "value": "", "url": props.stage.server.url}])
        page.locator("#who summary").click()

    return Case(at="/types", before=other, within=".themes", cookie="theme", to="dark", says="html[data-theme=dark]",
                said="Types")  # fmt: skip


@trial("/do/jobs/view", "Show these", unseen=VIEW)
def show_columns(props: Props, script: bool) -> Case:
    def choose(page: Page) -> None:
        for each in page.locator("input[name=columns]").all():
            each.set_checked(each.get_attribute("value") == "made_by")
        page.locator("#density").select_option("compact")

    return Case(at="/jobs", before=opened("Columns", choose), within="#table-view", cookie="jobs-table", says="thead",
                to="compact.made_by", said="Made by")  # fmt: skip


@trial("/do/jobs/view", "The usual ones", unseen=VIEW)
def usual_columns(props: Props, script: bool) -> Case:
    def others(page: Page) -> None:
        page.context.add_cookies([{"name": "jobs-table", "value": "compact.size", "url": props.stage.server.url}])
        opened("Columns")(page)

    return Case(
        at="/jobs", before=others, within="#table-view", cookie="jobs-table", says="thead", to="", said="Prio"
    )


# --- tokens and people


@trial("/do/admin/tokens", "Make the token")
def make_token(props: Props, script: bool) -> Case:
    name = props.name("token")
    return Case(at="/admin/tokens", before=filled(name=name), stored=props.count("tokens", name=name), to=1,
                said="shown this once", shown="/admin/tokens", sign="[data-row]", text=name)  # fmt: skip


@trial("/do/admin/tokens", "Make a token for it")
def make_token_for_a_machine(props: Props, script: bool) -> Case:
    name = props.name("token")
    return Case(at="/add-machine?type=scan", before=filled(name=name), stored=props.count("tokens", name=name), to=1,
                said="shown this once", shown="/admin/tokens", sign="[data-row]", text=name)  # fmt: skip


def token(props: Props, *scopes: str) -> tuple[int, str]:
    made = props.call("POST", "/api/admin/tokens", {"name": props.name("token"), "scopes": scopes or ["read"]})
    return made["id"], made["token"]


@trial("/do/admin/tokens/<id:token_id>/delete", "Delete", asks=True)
def delete_token(props: Props, script: bool) -> Case:
    number, _ = token(props)
    return Case(at="/admin/tokens", within=f"#token-{number}", stored=props.count("tokens", id=number), to=0,
                said="The token is deleted", shown="/admin/tokens", sign=f"#token-{number}", gone=True)  # fmt: skip


@trial("/do/admin/users/<id:user_id>/sessions/delete", "End all sessions", asks=True)
def end_sessions(props: Props, script: bool) -> Case:
    name, now = props.name("person"), int(time.time() * 1000)
    props.add("users", issuer="https://people.example", subject=name, name=name, groups="[]", is_admin=0,
              created_at=now, last_login_at=now)  # fmt: skip
    number = props.stage.value("users", "id", subject=name)
    props.add("sessions", hash=name, user_id=number, created_at=now, seen_at=now, checked_at=now,
              expires_at=now + 3_600_000)  # fmt: skip
    return Case(at="/admin/users", within=f"#user-{number}", stored=props.count("sessions", user_id=number), to=0,
                said="sessions of this person are ended: 1.", shown="/admin/users", sign=f"#user-{number} td details",
                gone=True)  # fmt: skip


@trial("/login", "Sign in")
def sign_in(props: Props, script: bool) -> Case:
    number, secret = token(props)
    return Case(who="", at="/login", before=lambda page: page.get_by_label("API token").fill(secret), said="Find",
                stored=props.count("sessions", token_id=number), to=1, shown="/admin/tokens",
                sign=f"#token-{number} td details")  # fmt: skip


@trial("/auth/logout", "Sign out")
def sign_out(props: Props, script: bool) -> Case:
    number, secret = token(props)
    return Case(who=secret, at="/", before=lambda page: page.locator("#who summary").click(), within="#who",
                stored=props.count("sessions", token_id=number), to=0, said="Signed out", shown="/admin/tokens",
                sign=f"#token-{number} td details", gone=True)  # fmt: skip


# --- the backup, and the way in


@trial("/do/admin/backup/drill", "Run a drill now")
def drill(props: Props, script: bool) -> Case:
    """Its outcome comes to the page by itself."""

    def outcomes() -> tuple[int, list[str]]:
        """How many have passed, and why each of the others has not."""
        drills = props.call("GET", "/api/admin/backup/drills")["drills"]
        return sum(each["ok"] for each in drills), [each["detail"] for each in drills if not each["ok"]]

    before, failed = outcomes()
    return Case(
        at="/admin/backup",
        stored=outcomes,
        to=(before + 1, failed),
        later=True,
        said="The drill runs; its outcome will stand here.",
        shown="/admin/backup",
        sign=f"tbody tr:nth-child({before + 1}) .pill-proven",
    )


@trial("/do/jobs", "Submit")
def submit(props: Props, script: bool) -> Case:
    """With a script it hashes and sends the file by itself."""
    name = props.name("submitted")
    file = FilePayload(name=f"{name}.pdf", mimeType="application/pdf", buffer=name.encode())

    def fill(page: Page) -> None:
        page.locator("#files" if script else "#plain-file").set_input_files([file])
        filled(**({"type": "acted", "tags": name} if script else {"plain-type": "acted", "plain-tags": name}))(page)

    return Case(at="/submit", before=fill, within="#submit" if script else "#no-script", later=True,
                stored=props.count("jobs", source_path=f"{name}.pdf", status="pending"), to=1,
                said="All is submitted" if script else "Submitted: job", shown=f"/jobs?tag={name}", sign="[data-row]",
                sends="POST /api/jobs/batch" if script else "")  # fmt: skip
