"""From the environment to the settings: what each variable says, which of them fit together, which mean nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import msgspec

from blobforge.config import MASK, PREFIX, ConfigError, Settings, meta_of, types_of_settings
from blobforge.outward.addresses import allowed, callback_hosts

_S3_NEEDS = ("endpoint", "bucket", "access_key", "secret_key")


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings. An empty variable counts as absent. Raises ConfigError."""
    values: dict[str, Any] = {}
    for name, type_ in types_of_settings().items():
        text = environ.get(PREFIX + name.upper(), "").strip()
        if text and not _of_kubernetes(PREFIX + name.upper(), text):
            values[name] = _convert(name, text, type_)
    settings = Settings(**values)
    _check(settings)
    return settings


# Read by the command line and the worker, not by the server; listed so that a typing error is still found.
CLIENT_VARIABLES = frozenset(
    PREFIX + name for name in ("SERVER_URL", "API_TOKEN", "DEBUG", "WORKER_ID", "WORKER_SECRET", "CALLBACK_SECRET")
)
# Variables of earlier releases, and why each has no effect any more.
RETIRED_VARIABLES = {PREFIX + "FRONTS": "one process serves HTTP, and does more than several did"}


def retired_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of earlier releases that are set, each with the reason that it has no effect."""
    return {name: reason for name, reason in RETIRED_VARIABLES.items() if environ.get(name, "").strip()}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables that look like ours and are not: most likely typing errors."""
    known = CLIENT_VARIABLES | RETIRED_VARIABLES.keys() | {PREFIX + name.upper() for name in types_of_settings()}
    ours = (key for key in environ if key.startswith(PREFIX) and key not in known)
    return sorted(key for key in ours if not _of_kubernetes(key, environ[key]))


# What Kubernetes sets in each container of a namespace that has a Service called `blobforge`.
_SERVICE = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def _of_kubernetes(name: str, value: str) -> bool:
    """Whether the variable is that of a Service, and no setting of ours."""
    if name in {PREFIX + each.upper() for each in types_of_settings()}:
        return _SERVICE_URL.match(value) is not None and _SERVICE.fullmatch(name) is not None
    return _SERVICE.fullmatch(name) is not None


def service_variables(environ: Mapping[str, str]) -> list[str]:
    """The settings that a Kubernetes Service has set to what is none: their defaults are in force."""
    names = (PREFIX + name.upper() for name in types_of_settings())
    return [name for name in names if _of_kubernetes(name, environ.get(name, ""))]


def _convert(name: str, text: str, type_: Any) -> Any:
    try:
        return msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError as error:
        got = MASK if meta_of(type_)["secret"] else repr(text)
        takes = meta_of(type_)["description"]
        reason = str(error).replace("`str`", "text").replace("Expected", "expected")
        raise ConfigError(f"{PREFIX}{name.upper()}={got}: {reason} ({takes}).") from None


def _check(settings: Settings) -> None:
    """Raise ConfigError where settings that are good by themselves do not fit together."""
    s3 = {name: getattr(settings, f"s3_{name}") for name in _S3_NEEDS}
    if any(s3.values()) and not all(s3.values()):
        missing = next(name for name, value in s3.items() if not value)
        raise ConfigError(
            f"{PREFIX}S3_{missing.upper()} is missing: S3 needs endpoint, bucket, access key and secret key, or none "
            "of them (objects then live in the data folder)."
        )
    _check_backup(settings)
    _check_oidc(settings)
    _check_proxies(settings)
    _check_webhooks(settings)
    if settings.heartbeat_interval >= settings.worker_timeout:
        raise ConfigError(
            f"{PREFIX}HEARTBEAT_INTERVAL={settings.heartbeat_interval:.10g}: it must be shorter than "
            f"{PREFIX}WORKER_TIMEOUT ({settings.worker_timeout:.10g}), or every lease expires."
        )


def _check_backup(settings: Settings) -> None:
    named = [name for name in _S3_NEEDS if getattr(settings, f"backup_s3_{name}")]
    missing = [name for name in _S3_NEEDS if not settings.backup_s3(name)]
    if named and missing:
        raise ConfigError(
            f"{PREFIX}BACKUP_S3_{missing[0].upper()} is missing, and so is {PREFIX}S3_{missing[0].upper()}: a place "
            "for backups needs endpoint, bucket, access key and secret key."
        )
    secret, public = settings.litestream_age_secret_key, settings.litestream_age_public_key
    if bool(secret) != bool(public):
        lacking = "PUBLIC" if secret else "SECRET"
        raise ConfigError(
            f"{PREFIX}LITESTREAM_AGE_{lacking}_KEY is missing: encryption takes both keys, the public one to write "
            "backups and the secret one to read them (`age-keygen` makes a pair)."
        )


def _check_webhooks(settings: Settings) -> None:
    try:
        allowed(settings.webhook_allow)
    except ValueError as error:
        raise ConfigError(f"{PREFIX}WEBHOOK_ALLOW={settings.webhook_allow!r}: {error}.") from None
    try:
        callback_hosts(settings.callback_hosts)
    except ValueError as error:
        raise ConfigError(f"{PREFIX}CALLBACK_HOSTS={settings.callback_hosts!r}: {error}.") from None


def _check_oidc(settings: Settings) -> None:
    if not settings.oidc_issuer:
        return
    redirect = "oidc_redirect_url" if settings.oidc_redirect_url else "public_url"
    for name in ("oidc_issuer", redirect):
        url = urlsplit(getattr(settings, name))
        local = url.hostname in {"localhost", "127.0.0.1", "::1"}
        if getattr(settings, name) and not (url.scheme == "https" or (url.scheme == "http" and local)):
            raise ConfigError(
                f"{PREFIX}{name.upper()}={getattr(settings, name)!r}: it must be an https:// URL "
                "(http:// is for localhost only): who can read the line could sign in."
            )
    if not settings.oidc_client_id:
        raise ConfigError(f"{PREFIX}OIDC_CLIENT_ID is missing: the provider knows this server by it.")
    if not settings.oidc_redirect_url and not settings.public_url:
        raise ConfigError(
            f"{PREFIX}OIDC_REDIRECT_URL is missing: where the provider sends people back to, "
            "for example https://blobforge.example.org/auth/callback."
        )


def _check_proxies(settings: Settings) -> None:
    for name in filter(None, (part.strip() for part in settings.trusted_proxies.split(","))):
        try:
            ip_network(name, strict=False)
        except ValueError:
            raise ConfigError(
                f"{PREFIX}TRUSTED_PROXIES={settings.trusted_proxies!r}: {name!r} is no address and no network."
            ) from None
