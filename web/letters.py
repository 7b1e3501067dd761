"""What webhooks are sent: the body, its links, and the signatures of Standard Webhooks.

Links to results are signed when they are sent, so that each try has fresh ones.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import standardwebhooks

from actors.courier import Letter
from blobforge.job import Job
from blobforge.machinery.release import version
from blobforge.objects.keys import named_output_key, prefix_of
from blobforge.outputs import Output
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from blobforge.webhook import Delivery, Webhook, WebhookEvent, message_id
from web.api.encode import rfc3339
from web.api.grants import last_part, output_name
from web.api.outputs import place
from web.auth.sessions import Sealer
from web.served import served
from web.services import Services

PREFIX = "whsec_"
MOST_OUTPUTS = 10  # of a job with several, whose URLs are sent along


class Sealed(msgspec.Struct, frozen=True):
    """A secret as it rests in the database, encrypted."""

    webhook: bytes


class SealedCallback(msgspec.Struct, frozen=True):
    """A callback as it rests in the database, encrypted."""

    url: str
    secret: bytes


def secret_of(services: Services, salt: str) -> bytes:
    """256 bits that the salt stands for, by a secret of the servers: a request that is repeated shows them again."""
    return hmac.digest(services.signing_secret, f"{PREFIX}\n{salt}".encode(), "sha256")


def shown(secret: bytes) -> str:
    return PREFIX + base64.b64encode(secret).decode()


def read_secret(text: str) -> bytes | None:
    """The secret that is written so; None: it is none, or one of another length than the specification has."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        return None
    return secret if text.startswith(PREFIX) and 24 <= len(secret) <= 64 else None


def seal(sealer: Sealer, secret: bytes) -> bytes:
    return sealer.seal(Sealed(secret))


def seal_callback(sealer: Sealer, url: str, secret: bytes) -> str:
    return sealer.seal(SealedCallback(url, secret)).decode()


def headers(id_: str, body: bytes, keys: Sequence[bytes], *, now: int) -> dict[str, str]:
    """Those of a message, signed with each of the secrets; `now` is in ms."""
    at = datetime.fromtimestamp(now // 1000, UTC)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"BlobForge/{version()}",
        "webhook-id": id_,
        "webhook-timestamp": str(now // 1000),
        "webhook-signature": " ".join(standardwebhooks.Webhook(key).sign(id_, at, body.decode()) for key in keys),
    }


class Letters:
    def __init__(self, services: Callable[[], Services], base: Callable[[], str], hosts: Set[str]) -> None:
        """`base`: our own address, without a slash at the end. `hosts`: those that callbacks may be at."""
        self._services = services
        self._base = base
        self._hosts = hosts

    async def write(self, webhook: Webhook, delivery: Delivery) -> Letter | str:
        """The letter, or why there is none. Raises DatabaseError."""
        services = self._services()
        now = services.now()
        if webhook.host is not None:
            if webhook.host not in self._hosts:
                return f"{webhook.host} is none of BLOBFORGE_CALLBACK_HOSTS (any more)"
            to = services.sealer.open((delivery.sealed or "").encode(), SealedCallback)
            if to is None:
                return "its URL and secret were sealed by another server, with another data folder"
            url, keys = to.url, [to.secret]
        else:
            former = webhook.former if webhook.former_until is not None and now < webhook.former_until else None
            secret, *others = [
                services.sealer.open(each, Sealed) for each in (webhook.sealed, former) if each is not None
            ]
            if secret is None:
                return "its secret was sealed by another server, with another data folder: rotate it"
            url, keys = webhook.url, [each.webhook for each in (secret, *others) if each is not None]
        body = msgspec.json.encode(await self._body(services, webhook, delivery))
        return Letter(url, body, headers(message_id(services.installation, delivery.id), body, keys, now=now))

    async def _body(self, services: Services, webhook: Webhook, delivery: Delivery) -> dict[str, Any]:
        data: dict[str, Any] = msgspec.json.decode(delivery.data)
        base = self._base()
        links = {}
        if (job_id := data.get("job_id")) is not None:
            links = {"job": f"{base}/api/jobs/{job_id}", "page": f"{base}/jobs/{job_id}"}
            if webhook.results and delivery.event == WebhookEvent.JOB_COMPLETED:
                data["outputs"] = await self._outputs(services, job_id, base)
        elif (batch := data.get("batch")) is not None:
            links = {"batch": f"{base}/api/batches/{batch}"}
        elif (worker_id := data.get("worker_id")) is not None:
            links = {"worker": f"{base}/api/workers/{quote(worker_id, safe='')}"}
        elif (type_ := data.get("type")) is not None:
            links = {"type": f"{base}/api/types/{quote(type_, safe='')}"}
        if links:
            data["links"] = links
        return {"type": delivery.event, "timestamp": rfc3339(delivery.at), "data": data}

    async def _outputs(self, services: Services, job_id: int, base: str) -> list[dict[str, Any]]:
        """The outputs that the job has now, the first of several, with URLs to download them; none where the object
        store does not answer."""

        def look(reader: Reader) -> tuple[Job | None, list[Output]]:
            with reader.snapshot():
                job = reader.job_to_name(job_id)
                if job is None or place(job, "output", None) is None:
                    return job, []
                assert job.result_attempt is not None
                return job, reader.outputs.page(job.id, job.result_attempt, after="", limit=MOST_OUTPUTS)

        job, several = await services.reads.run(look)
        if job is None:
            return []

        def signed(key: str, filename: str, version: str | None = None) -> str:
            lifetime = round(services.settings.url_lifetime)
            url = services.objects.sign_download(key, expires_in=lifetime, filename=filename, version=version)
            return base + url if url.startswith("/") else url

        if several:
            prefix = prefix_of(job.output_key or "")
            return [
                {"name": each.name, "size": each.size,
                 "url": signed(named_output_key(prefix, each.name), last_part(each.name))}
                for each in several
            ]  # fmt: skip
        found = await served(services, job, "output")
        if isinstance(found, Refusal):
            return []
        name = output_name(job)
        size = found.info.size if found.info is not None else None
        return [{"name": name, "size": size, "url": signed(found.key, name, found.version)}]
