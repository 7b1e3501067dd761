"""`make screenshots`: every page in both themes, wide and as on a phone, into a folder that git ignores."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.dashboard.scene import Scene, furnish
from tests.fixtures.chromium import ARGUMENTS, CHROMIUM
from tests.fixtures.engines import looked_into
from tests.fixtures.server import ServerProcess

SIZES = {"wide": (1360, 860), "phone": (390, 844)}


def pages(ids: dict[str, int]) -> dict[str, str]:
    """Name and address of each page."""
    return {
        "overview": "/",
        "overview-tables": "/?figures=tables",
        "jobs": "/jobs",
        "jobs-dead": "/jobs?status=dead",
        "jobs-sorted": "/jobs?sort=-size&density=compact&columns=tags,status,tries,size,group,batch,worker,made_by,"
        "created,ended,duration,news",
        "jobs-none": "/jobs?q=nothing+like+this",
        "job-running": f"/jobs/{ids['running']}",
        "job-dead": f"/jobs/{ids['dead0']}",
        "job-completed": f"/jobs/{ids['completed']}",
        "job-waiting": f"/jobs/{ids['waiting']}",
        "job-view": f"/jobs/{ids['album']}/view",
        "job-view-outputs": f"/jobs/{ids['album']}/view?left=output:figures/1.png&right=output:table.csv",
        "job-family": f"/jobs/{ids['family']}/family",
        "failures": "/failures",
        "types": "/types",
        "type": "/types/pdf",
        "type-month": "/types/pdf?window=30d",
        "batches": "/batches",
        "batch": "/batches/1",
        "submit": "/submit",
        "operations": "/operations",
        "operation": "/operations/1",
        "canaries": "/canaries",
        "canary": "/canaries/1",
        "find": "/find?q=obelix",
        "workers": "/workers",
        "worker": "/workers/obelix",
        "machine": "/add-machine?type=pdf&labels=gpu,zone%3Darmorica",
        "admin-tokens": "/admin/tokens",
        "admin-users": "/admin/users",
        "admin-webhooks": "/admin/webhooks",
        "webhook": "/admin/webhooks/1",
        "admin-audit": "/admin/audit",
        "admin-backup": "/admin/backup",
        "admin-servers": "/admin/servers",
        "admin-settings": "/admin/settings",
        "login": "/login",
        "api": "/api/docs",
    }


def sign_in(page: Page, server: ServerProcess) -> None:
    page.goto(f"{server.url}/login")
    page.get_by_label("API token").fill(server.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{server.url}/")


def remember(database: Path) -> None:
    """An hour and a day behind the scene, for the charts: what a server that has run so long would have noted."""
    now = int(time.time())
    happened, depths, splits = [], [], []
    for step, slots in ((300, 12), (3600, 24), (21_600, 5)):
        for back in range(slots):
            slot, wave = now // step - back, 1 + math.sin(back / 3)
            for bucket in range(12):
                bell = 40 * math.exp(-((bucket - 5 - wave) ** 2) / 5)
                splits += [
                    (step, slot, of, what, least + bucket, int(bell) + 1)
                    for of in ("pdf", "") for what, least in (("queued", 32), ("ran", 40))
                ]  # fmt: skip
            splits += [
                (step, slot, of, "cause", cause, 1 + int(wave * 6 / cause))
                for of in ("pdf", "") for cause in (1, 2, 3)
            ]  # fmt: skip
    for step, slots in ((60, 60), (900, 96), (3600, 24), (21_600, 5)):
        for back in range(1, slots):
            slot, wave = now // step - back, 1 + math.sin(back / 7)
            ended = {"submitted": 9 * wave + back % 4, "completed": 6 * wave + back % 3 + 3, "failed": back % 13 == 0}
            happened += [(step, slot, "pdf", what, int(n)) for what, n in ended.items() if n]
            stood = {"pending": 25 + 12 * wave + back // 6, "running": 6 + back % 3, "dead": 0}
            depths += [(step, slot, "pdf", status, int(n)) for status, n in stood.items()]
            depths.append((step, slot, "", "online", 6 + back % 2))
    with looked_into(database) as found:
        for table, kind, noted in (("happenings", "what", happened), ("depths", "status", depths)):
            found.probe.remove(table)
            found.probe.remove(f"{table}_of_all")
            found.probe.add_all(table, ("step", "slot", "type", kind, "n"), noted)
        found.probe.remove("splits")
        found.probe.add_all("splits", ("step", "slot", "type", "what", "part", "n"), splits)


def shoot(browser: Browser, server: ServerProcess, ids: dict[str, int], folder: Path) -> None:
    for theme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            context = browser.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            sign_in(page, server)
            context.add_cookies([{"name": "theme", "value": theme, "url": server.url}])
            page.emulate_media(color_scheme=theme)
            for name, address in pages(ids).items():
                page.goto(server.url + address)
                page.wait_for_timeout(300)  # charts draw themselves after they have fetched their figures
                if page.locator("iframe").count():  # Chromium paints no frame outside of the view
                    whole = page.evaluate("document.documentElement.scrollHeight")
                    page.set_viewport_size({"width": width, "height": whole})
                    page.wait_for_timeout(300)
                page.screenshot(path=folder / f"{name}-{theme}-{size}.png", full_page=True)
                page.set_viewport_size({"width": width, "height": height})
            context.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(Path(scratch) / "data", worker_timeout=600)
        server.folder.mkdir()
        try:
            server.start()
            with server.client() as client:
                ids = furnish(Scene(client))
            remember(server.database)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                shoot(browser, server, ids, folder)
                browser.close()
        finally:
            server.close()
    print(f"Screenshots are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
