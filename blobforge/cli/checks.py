"""The examinations of `blobforge doctor`, one after the other. None of them changes anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from blobforge.cli import common, output
from blobforge.cli.common import CliSession
from blobforge.cli.data_folder import look_at_data_folder
from blobforge.cli.finding import Finding, Level
from blobforge.client import ApiError, AsyncClient, ClientError, Glance, ServerUnreachable, WhoAmI
from blobforge.login import credentials, login_file
from blobforge.machinery.release import version

SKEW_TOLERATED = 5.0  # seconds; a Date header has whole seconds
SKEW_FATAL = 300.0  # seconds; signed URLs are refused by clocks that differ by minutes
MOST_COUNTED = 1000  # jobs of one set of requirements that the server counts
FAR_BEHIND = 1000  # turns: a second or so of a busy queue
EXPIRES_SOON = 7 * 86_400  # seconds
_PROBE = hashlib.sha256(b"blobforge doctor looks whether the object store answers").hexdigest()
_OBJECT_IS_THERE = (200, 206, 416)  # 416: an empty object has no first byte


async def examine(session: CliSession) -> list[Finding]:
    """Run every check that the server and the token at hand allow, in the order in which it matters."""
    found: list[Finding] = []
    async with session.client() as client:
        glance = await _reach(session, client, found)
        if glance is not None:
            found.append(_clock(glance))
            found += await _health(client)
            who = await _who(session, client, found)
            if who is not None:
                found.append(_versions(who))
                found.append(await _object_store(client, who))
                found += await _browser(client, who)
                found += await _others(client, who)
                found += await _servers(client, who)
                found += await _database(client, who)
                found += await _work(client, who)
    found += look_at_data_folder(session.url)
    found += _login_file()
    return found


async def _reach(session: CliSession, client: AsyncClient, found: list[Finding]) -> Glance | None:
    try:
        glance = await client.glance("/livez")
    except ServerUnreachable as error:
        advice = (
            "Is it running, and is this its address? `blobforge serve` starts one; --server, BLOBFORGE_SERVER_URL\n"
            "or `blobforge login` names another. Behind a firewall or a proxy, its port must be let through."
        )
        found.append(Finding("server", "failure", str(error), advice, common.UNREACHABLE))
        return None
    if glance.status != 200:
        text = f"{client.base_url} answered {glance.status}, not as a BlobForge server does"
        advice = "Is the URL that of the server itself, with no path behind it? A proxy may stand in between."
        found.append(Finding("server", "failure", text, advice, common.UNREACHABLE))
        return None
    found.append(Finding("server", "ok", f"{client.base_url} answers in {glance.seconds * 1000:.0f} ms"))
    return glance


def _clock(glance: Glance) -> Finding:
    if glance.date is None:
        return Finding("clock", "skipped", "the server does not tell its time")
    # The header was cut to whole seconds, half a round trip ago.
    skew = (datetime.now(UTC) - glance.date).total_seconds() - glance.seconds / 2 - 0.5
    if abs(skew) <= SKEW_TOLERATED:
        return Finding("clock", "ok", "this machine and the server agree")
    ahead = "ahead of" if skew > 0 else "behind"
    text = f"this machine is {abs(skew):.0f} s {ahead} the server"
    advice = "Let NTP set both clocks (`timedatectl` shows whether it does): signed URLs live by them."
    return Finding("clock", "failure" if abs(skew) > SKEW_FATAL else "warning", text, advice)


async def _health(client: AsyncClient) -> list[Finding]:
    try:
        health = await client.health()
    except ClientError as error:
        return [Finding("health", "failure", str(error), "The server's log says more.")]
    found = []
    for name, part in (("database", health.database), ("store", health.object_store), ("backup", health.backup)):
        if part is None or part.status == "disabled":
            continue
        text = f"{part.status}{f' ({part.name})' if part.name else ''}{f': {part.detail}' if part.detail else ''}"
        level: Level = "ok" if part.status == "healthy" else "warning" if name == "backup" else "failure"
        found.append(Finding(name, level, text, "" if level == "ok" else "The server's log says more."))
    if not found:
        level = "ok" if health.status == "healthy" else "failure"
        found.append(Finding("health", level, health.status, "" if level == "ok" else "The server's log says more."))
    return found


async def _who(session: CliSession, client: AsyncClient, found: list[Finding]) -> WhoAmI | None:
    credential = session.credential()
    if credential is None:
        advice = (
            "`blobforge login` keeps one; --token or BLOBFORGE_API_TOKEN gives one. On the server's own machine,\n"
            f"run this where the server was started: its admin token is {credentials.admin_token_file()}."
        )
        found.append(Finding("token", "failure", "there is none", advice, common.UNAUTHORISED))
        return None
    try:
        who = await client.whoami()
    except ApiError as error:
        advice = "`blobforge tokens create NAME` makes another one, by an administrator; `blobforge login` keeps it."
        text = f"the one from {credential.source} is refused: {error.detail}"
        found.append(Finding("token", "failure", text, advice, common.UNAUTHORISED))
        return None
    text = f"{who.name}, from {credential.source}: {', '.join(who.scopes)}"
    if who.expires_at is not None and (who.expires_at - datetime.now(UTC)).total_seconds() < EXPIRES_SOON:
        advice = "Have another one made in time: `blobforge tokens create NAME`, then `blobforge login`."
        found.append(Finding("token", "warning", f"{text}; it expires {output.age(who.expires_at)}", advice))
    else:
        found.append(Finding("token", "ok", text))
    return who


def _versions(who: WhoAmI) -> Finding:
    ours = version()
    if who.server_version == ours:
        return Finding("version", "ok", f"{ours}, here and there")
    text = f"{ours} here, {who.server_version or 'an unknown one'} on the server"
    return Finding("version", "warning", text, "Bring the older one up to date.")


async def _object_store(client: AsyncClient, who: WhoAmI) -> Finding:
    """Whether signed URLs work from here: by the first byte of a file if there is one, else by any answer at all."""
    url, whole = None, True
    try:
        if _may(who, "read"):
            url = await _url_of_a_file(client)
        if url is None and _may(who, "submit"):
            url, whole = (await client.source_upload_url(_PROBE)).url, False
    except ClientError as error:
        return Finding("files", "failure", str(error), "The server's log says more.")
    if url is None:
        return Finding("files", "skipped", "no signed URL to try: it takes the scope submit, or read and a file")
    place = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    try:
        glance = await client.glance(url, headers={"Range": "bytes=0-0"})
    except ServerUnreachable as error:
        return Finding("files", "failure", str(error), _unreachable_store(client, url))
    if glance.status >= 500:
        return Finding("files", "failure", f"{place} answered {glance.status}", "Its own log says more.")
    if not whole:
        # A URL to upload to refuses to be read from; that it says so is all we want. Nothing is written.
        return Finding("files", "ok", f"{place} answers; there is no file yet to try a download with")
    if glance.status in _OBJECT_IS_THERE:
        return Finding("files", "ok", f"{place} gives out a file by its signed URL")
    advice = (
        "The URL was signed a moment ago. Do the clocks of server and store agree, are the server's keys right, and\n"
        "does a proxy on the way change the address, the headers or the query?"
    )
    return Finding("files", "failure", f"{place} refuses a signed URL with {glance.status}", advice)


async def _browser(client: AsyncClient, who: WhoAmI) -> list[Finding]:
    """Whether the dashboard may send files to the object store, and fetch them: a bucket says which pages may."""
    if not _may(who, "submit"):
        return []
    try:
        signed = await client.source_upload_url(_PROBE)
        page, place = (f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in (client.base_url, signed.url))
        if page == place:
            return [Finding("browser", "ok", "the dashboard sends files to the server itself")]
        names = sorted({"content-type", *(each.lower() for each in signed.headers or {})})
        answer = await client.preflight(signed.url, origin=page, method="PUT", names=names)
        fetches = (
            not answer.allows or (await client.preflight(signed.url, origin=page, method="GET", names=names)).allows
        )
    except ClientError:
        return []  # it has been told of
    if answer.allows and fetches:
        return [Finding("browser", "ok", f"pages of {page} may send files to {place}, and fetch them there")]
    rule = {
        "AllowedOrigins": [page],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["*"],
        "MaxAgeSeconds": 3600,
    }
    advice = (
        "It takes that to submit files on the dashboard, and to see a PDF there, and for nothing else.\n"
        "Set the bucket's CORS rules:\n"
        f"aws s3api put-bucket-cors --bucket BUCKET --cors-configuration '{json.dumps({'CORSRules': [rule]})}'\n"
        "If people open the dashboard at another address, name that one among the AllowedOrigins, too."
    )
    if answer.allows:
        return [Finding("browser", "warning", f"pages of {page} may not fetch files from {place}", advice)]
    text = f"pages of {page} may not send files to {place}: it answers a preflight with {answer.status}, and no leave"
    return [Finding("browser", "warning", text, advice)]


async def _others(client: AsyncClient, who: WhoAmI) -> list[Finding]:
    """Whose the object store may be beside this server's, and jobs that no worker can run for its labels."""
    if not _may(who, "read"):
        return []
    try:
        attention = await client.attention()
    except ClientError:
        return []  # an older server does not know; one that is ill has been told of
    advice = (
        "If a database was lost, restore it before anything is deleted. If another server uses the store, give each\n"
        "a prefix of its own. A mark (installations/...) of what is no more is removed by hand, in the store."
    )
    found = [Finding("installations", "warning", text, advice) for text in attention.store]
    for each in attention.unmatched:
        few = "at least " if each.pending >= MOST_COUNTED else ""
        verb = "requires" if each.pending == 1 else "require"
        text = f"{few}{output.count(each.pending, 'job')} of type {each.type} {verb} {', '.join(each.requires)}"
        advice = (
            "No worker that is there has such labels. Start one (blobforge work --label), or change what they\n"
            "require (blobforge jobs require)."
        )
        found.append(Finding("labels", "warning", text, advice))
    for worker in attention.quarantined:
        text = f"worker {worker.id} is in quarantine: {worker.evidence}"
        trials = "It gets a job now and then as a trial, and all again when two in a row have succeeded. "
        advice = f"{trials if worker.by is None else ''}Look at its machine; blobforge workers readmit ends it."
        found.append(Finding("quarantine", "warning", text, advice))
    for hook in attention.webhooks:
        state = f"is disabled: {hook.disabled}" if hook.disabled else f"has taken nothing since {hook.since:%F %H:%M}"
        advice = (
            f"blobforge webhooks deliveries {hook.id} says what was tried. Once the receiver is well again:\n"
            f"blobforge webhooks change {hook.id} --enable, and what has waited is sent."
        )
        found.append(Finding("webhooks", "warning", f"webhook {hook.id} ({hook.host}) {state}", advice))
    return found


async def _servers(client: AsyncClient, who: WhoAmI) -> list[Finding]:
    """The servers that share the database, where there are several."""
    if not _may(who, "read"):
        return []
    try:
        servers = (await client.servers()).servers
    except ClientError:
        return []  # as above
    if len(servers) == 1:
        return []
    found = []
    for one in servers:
        if one.status != "online":
            advice = (
                "Is it stopped? Ten minutes after its last word it is forgotten. Else its log says what it waits for."
            )
            found.append(
                Finding("servers", "warning", f"{one.name} was last heard {output.age(one.seen_at)}", advice)
            )
        elif one.clock_ahead_seconds is not None and abs(one.clock_ahead_seconds) > SKEW_TOLERATED:
            text = f"the clock of {one.name} is {one.clock_ahead_seconds:+.0f} s off the database's"
            found.append(Finding("servers", "warning", text, "Let NTP set the clocks of all servers."))
        elif (one.turns_behind or 0) > FAR_BEHIND:
            text = f"{one.name} has not read {one.turns_behind} turns of the others"
            found.append(Finding("servers", "warning", text, "Its log says why; its event streams are as late."))
    versions = sorted({one.version for one in servers})
    if len(versions) > 1:
        text = f"of versions {' and '.join(versions)}: fine while you upgrade one after the other"
        found.append(Finding("servers", "warning", text, "Bring all of them to the same version in the end."))
    names = ", ".join(one.name for one in servers)
    return found or [Finding("servers", "ok", f"{len(servers)} share the database: {names}")]


async def _database(client: AsyncClient, who: WhoAmI) -> list[Finding]:
    """The database itself, where it is one that can be wrong in ways that the server does not see."""
    if not who.is_admin:
        return []
    try:
        database = await client.database()
    except ClientError:
        return []  # as above
    return [Finding(one.subject, one.level, f"{database.engine} {database.version}: {one.text}", one.advice)
            for one in database.remarks]  # fmt: skip


async def _url_of_a_file(client: AsyncClient) -> str | None:
    kinds: tuple[tuple[str, Literal["source", "output"]], ...] = (("completed", "output"), ("pending", "source"))
    for status, which in kinds:
        for job in (await client.list_jobs(status=status, limit=1)).jobs:
            try:
                return (await client.download_url(job.id, which)).url
            except ApiError as error:
                if error.status != 404:
                    raise
    return None


def _unreachable_store(client: AsyncClient, url: str) -> str:
    here, there = urlsplit(client.base_url).hostname, urlsplit(url).hostname
    if there in credentials.LOOPBACK and here not in credentials.LOOPBACK:
        return (
            f"For the server, {there} is its own machine; for this one it is not. Give the server an address of the\n"
            "store that clients reach, too: BLOBFORGE_S3_ENDPOINT."
        )
    return "Submitters and workers fetch and store files there themselves: its port must be open from here."


async def _work(client: AsyncClient, who: WhoAmI) -> list[Finding]:
    """Jobs whose type has no worker, and jobs whose wait has no end."""
    if not _may(who, "read"):
        return [Finding("workers", "skipped", "it takes the scope read to see them")]
    try:
        stats, workers = await client.stats(), await client.list_workers()
    except ClientError as error:
        return [Finding("workers", "failure", str(error), "The server's log says more.")]
    served: set[str] = set()
    for worker in workers:
        if worker.enabled and worker.status == "online":
            served.add(worker.type)
            more = worker.metadata.get("job_types") if isinstance(worker.metadata, dict) else None
            served.update(one for one in more or [] if isinstance(one, str))
    found = []
    for name, counts in sorted((stats.by_type or {}).items()):
        waiting = counts.get("pending", 0)
        if waiting and name not in served:
            text = f"{output.count(waiting, 'job')} of type {name} waiting, and no worker for them is online"
            advice = (
                f"`blobforge work --type {name} --exec ...` starts one; `blobforge workers list` shows those known."
            )
            found.append(Finding("workers", "warning", text, advice))
    if not found:
        found.append(Finding("workers", "ok", f"{output.count(stats.online_workers, 'worker')} online"))
    if stats.dead_jobs:
        text = f"{output.count(stats.dead_jobs, 'job')} dead: nothing is tried again by itself"
        advice = "`blobforge jobs list --status dead` shows them, `blobforge jobs logs ID` why; `jobs retry` revives."
        found.append(Finding("jobs", "warning", text, advice))
    return found


def _may(who: WhoAmI, scope: str) -> bool:
    return who.is_admin or scope in who.scopes


def _login_file() -> Iterator[Finding]:
    try:
        path = login_file.path()
        mode = path.stat().st_mode & 0o777
    except (OSError, login_file.LoginError):  # none is kept
        return
    if mode & 0o077:
        yield Finding("login", "warning", f"{path} can be read by others", f"chmod 600 {path}")
