"""The settings: one table, frozen. `environment.py` reads it once.

README and `blobforge config` show this table; a test holds the README to it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "BLOBFORGE_"
MASK = "********"
Seconds = Annotated[float, Meta(gt=0, le=10 * 365 * 86_400)]
KeptFor = Annotated[float, Meta(ge=0, le=100 * 365 * 86_400)]  # 0: for ever
HowMany = Annotated[int, Meta(ge=1, le=10_000_000)]
Bytes = Annotated[int, Meta(ge=0, le=2**50)]
LIVES_IN = {"db_path": "{data_dir}/blobforge.db", "heartbeat_interval": "a sixth of the worker timeout"}


class ConfigError(Exception):
    """A variable has a wrong value. The message is one line: its name, what it got, what it takes."""


def _doc(text: str, *, secret: bool = False, group: str = "server", unit: str = "") -> Meta:
    return Meta(description=text, extra={"secret": secret, "group": group, "unit": unit})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default. The variable is the field's name in capitals behind `BLOBFORGE_`.

    Durations are in seconds, sizes in bytes.
    """

    # --- server
    host: Annotated[str, _doc("Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _doc("HTTP server port; 0 takes a free one")] = 8080
    public_url: Annotated[
        str, Meta(pattern=r"^(https?://[^/?#\s]+)?/?$"), _doc("The address that others reach this server at")
    ] = ""
    server_name: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_.:-]{0,100}$"),
        _doc("What this server is called among several that share a database; empty: its host's name and its port"),
    ] = ""
    data_dir: Annotated[str, Meta(min_length=1), _doc("Folder for everything that is kept locally")] = "./data"
    db_path: Annotated[str, _doc("SQLite database path")] = ""
    database_url: Annotated[
        str,
        Meta(pattern=r"^(postgres(ql)?://\S*|[a-z_]+ *= *.*)?$"),
        _doc(
            "PostgreSQL (15 or newer) for any number of servers, as libpq takes it: `postgresql://user@host/name`, "
            "several hosts and TLS options too; empty: SQLite, for one server",
            secret=True,
        ),
    ] = ""
    admin_token: Annotated[
        str,
        Meta(pattern=r"^(bf_[A-Za-z0-9_-]{20,200}={0,2})?$"),
        _doc(
            "Administrator's API token (`bf_` and at least 20 letters or digits); made at the first start if empty",
            secret=True,
        ),
    ] = ""
    log_level: Annotated[
        str, Meta(pattern=r"^(debug|info|warning|error)$"), _doc("debug, info, warning or error")
    ] = "info"
    log_format: Annotated[
        str, Meta(pattern=r"^(auto|json|console)$"), _doc("json, console, or auto: console on a terminal")
    ] = "auto"
    otel_endpoint: Annotated[
        str,
        Meta(pattern=r"^(https?://[^/?#@\s]+(/[^?#\s]*)?)?$"),
        _doc("OTLP/HTTP endpoint of a collector that traces are sent to (extra `otel`); empty: no traces"),
    ] = ""
    trusted_proxies: Annotated[
        str,
        _doc("Comma-separated addresses or networks whose X-Forwarded-For and -Proto are believed; empty: nobody's"),
    ] = ""
    webhook_allow: Annotated[
        str,
        _doc(
            "Where webhooks may lead to beside public addresses: comma-separated, of `loopback`, `private`, host names "
            "and networks"
        ),
    ] = ""
    callback_hosts: Annotated[
        str,
        _doc(
            "Hosts that callbacks of batches may be at, by which those who submit are told of ends; comma-separated"
        ),
    ] = ""
    shutdown_grace: Annotated[Seconds, _doc("Longest wait for open requests at shutdown")] = 10.0

    # --- objects
    s3_endpoint: Annotated[
        str,
        Meta(pattern=r"^(https?://[^/?#\s]+/?)?$"),
        _doc("S3/R2/MinIO endpoint URL; empty: objects live in the data folder", group="s3"),
    ] = ""
    s3_bucket: Annotated[str, _doc("S3 bucket name", group="s3")] = ""
    s3_access_key: Annotated[str, _doc("S3 access key", group="s3", secret=True)] = ""
    s3_secret_key: Annotated[str, _doc("S3 secret key", group="s3", secret=True)] = ""
    s3_region: Annotated[str, Meta(min_length=1), _doc("S3 region", group="s3")] = "auto"
    s3_prefix: Annotated[str, _doc("Optional path prefix in bucket", group="s3")] = ""
    s3_timeout: Annotated[Seconds, _doc("Longest wait for one answer of the object store", group="s3")] = 5.0
    url_lifetime: Annotated[
        float, Meta(ge=1, le=604_800), _doc("How long signed URLs are valid (S3 allows a week at most)", group="s3")
    ] = 3600.0
    verify_limit: Annotated[
        Bytes,
        _doc(
            "Sources above this size that came without a checksum are checked for existence and size only",
            group="s3",
            unit="bytes",
        ),
    ] = 1024**3
    max_object_size: Annotated[
        Bytes, _doc("Largest object that the embedded store accepts", group="s3", unit="bytes")
    ] = 50 * 1024**3

    # --- jobs
    worker_timeout: Annotated[
        Seconds,
        _doc("Seconds before worker considered stale: a lease not renewed for this long expires", group="jobs"),
    ] = 180.0
    heartbeat_interval: Annotated[
        float, Meta(ge=0, le=86_400), _doc("What workers are told to beat at", group="jobs")
    ] = 0.0
    max_attempts: Annotated[int, Meta(ge=1, le=1000), _doc("Max job retry attempts", group="jobs")] = 3
    max_losses: Annotated[
        int, Meta(ge=1, le=1000), _doc("How many workers may be lost with one job before it is dead", group="jobs")
    ] = 3
    max_releases: Annotated[
        int,
        Meta(ge=0, le=1000),
        _doc(
            "How often in a row a job may be given back for trouble before each time counts as a loss", group="jobs"
        ),
    ] = 5
    quarantine: Annotated[
        bool,
        _doc("Whether workers whose failures stand out get no jobs but trials", group="jobs"),
    ] = True
    breaker: Annotated[
        int,
        Meta(ge=0, le=100),
        _doc("So many failures in a row of one cause, on most workers, pause a type; 0: none do", group="jobs"),
    ] = 50
    retry_backoff: Annotated[
        float, Meta(ge=0, le=86_400), _doc("Wait before the first retry; doubles with each further one", group="jobs")
    ] = 30.0
    retry_backoff_max: Annotated[
        float, Meta(ge=0, le=30 * 86_400), _doc("Longest wait before a retry", group="jobs")
    ] = 3600.0
    retry_jitter: Annotated[
        float, Meta(ge=0, le=1), _doc("Share by which waits are spread at random", group="jobs", unit="share")
    ] = 0.2
    upload_timeout: Annotated[Seconds, _doc("How long a job waits for its source to be uploaded", group="jobs")] = (
        86_400.0
    )

    # --- limits
    max_body: Annotated[
        int, Meta(ge=1024, le=1024**3), _doc("Largest request body", group="limits", unit="bytes")
    ] = 1024**2
    max_result: Annotated[
        int,
        Meta(ge=1024, le=1024**3),
        _doc("Largest request body that ends attempts, with their results or errors", group="limits", unit="bytes"),
    ] = 16 * 1024**2
    request_timeout: Annotated[Seconds, _doc("Longest time for a request's body to arrive", group="limits")] = 30.0
    max_connections: Annotated[HowMany, _doc("Connections open at once", group="limits")] = 20_000
    max_connections_per_address: Annotated[
        HowMany, _doc("Connections open at once from one address", group="limits")
    ] = 12_000
    max_streams: Annotated[HowMany, _doc("Event streams open at once", group="limits")] = 2000
    max_streams_per_address: Annotated[
        HowMany, _doc("Event streams open at once from one address", group="limits")
    ] = 200
    max_long_polls: Annotated[HowMany, _doc("Claims that wait at once", group="limits")] = 20_000
    max_long_polls_per_address: Annotated[
        HowMany, _doc("Claims that wait at once from one address", group="limits")
    ] = 12_000
    max_types: Annotated[int, Meta(ge=1, le=1000), _doc("Different job types", group="limits")] = 200
    event_replay: Annotated[HowMany, _doc("Events kept for clients that come back", group="limits")] = 10_000
    event_queue: Annotated[
        HowMany, _doc("Events that a slow client may be behind before it must resync", group="limits")
    ] = 1000

    # --- housekeeping
    retention_completed: Annotated[
        KeptFor, _doc("How long completed jobs are kept after their end; 0: for ever", group="housekeeping")
    ] = 0.0
    retention_dead: Annotated[KeptFor, _doc("How long dead jobs are kept; 0: for ever", group="housekeeping")] = 0.0
    retention_cancelled: Annotated[
        KeptFor, _doc("How long cancelled jobs are kept; 0: for ever", group="housekeeping")
    ] = 0.0
    retention_audit: Annotated[
        KeptFor, _doc("How long records of the audit log are kept; 0: for ever", group="housekeeping")
    ] = 0.0
    retention_workers: Annotated[
        KeptFor,
        _doc(
            "How long an offline worker without a job and without a credential of its own is listed; 0: for ever",
            group="housekeeping",
        ),
    ] = 2_592_000.0
    retention_compared: Annotated[
        float,
        Meta(ge=60, le=10 * 365 * 86_400),
        _doc(
            "How long a result that was made anew to be compared (`--compare`) has the former one beside it; at least 60",
            group="housekeeping",
        ),
    ] = 7 * 86_400.0
    retention_objects: Annotated[
        bool,
        _doc(
            "With a job that is not kept any longer, its outputs go, and its source if no other job has it",
            group="housekeeping",
        ),
    ] = False

    retention_deliveries: Annotated[
        Annotated[float, Meta(ge=345_600, le=100 * 365 * 86_400)],
        _doc(
            "How long it is kept what webhooks were told, and what became of it; at least four days",
            group="housekeeping",
        ),
    ] = 604_800.0
    retention_superseded: Annotated[
        KeptFor,
        _doc("How long a result is kept once another one has replaced it; 0: for ever", group="housekeeping"),
    ] = 0.0
    retention_superseded_count: Annotated[
        int,
        Meta(ge=-1, le=1_000_000),
        _doc("How many replaced results a job keeps, the latest ones; -1: any number", group="housekeeping"),
    ] = -1

    # --- OIDC
    oidc_issuer: Annotated[str, _doc("OIDC provider URL", group="oidc")] = ""
    oidc_client_id: Annotated[str, _doc("OAuth2 client ID", group="oidc")] = ""
    oidc_client_secret: Annotated[str, _doc("OAuth2 client secret", group="oidc", secret=True)] = ""
    oidc_client_auth: Annotated[
        Literal["", "client_secret_basic", "client_secret_post"],
        _doc("How the client secret is sent (empty = as the provider's discovery document says)", group="oidc"),
    ] = ""
    oidc_redirect_url: Annotated[str, _doc("OAuth2 callback URL", group="oidc")] = ""
    oidc_groups_claim: Annotated[
        str, Meta(min_length=1), _doc("Claim that holds the groups; dots lead into nested claims", group="oidc")
    ] = "groups"
    oidc_allowed_groups: Annotated[str, _doc("Comma-separated groups allowed access (empty = all)", group="oidc")] = (
        ""
    )
    oidc_admin_groups: Annotated[str, _doc("Comma-separated groups with admin access", group="oidc")] = ""

    session_idle: Annotated[Seconds, _doc("A session ends when it was not used for this long", group="oidc")] = (
        43_200.0
    )
    session_lifetime: Annotated[Seconds, _doc("A session ends after this long, whatever happens", group="oidc")] = (
        604_800.0
    )
    session_recheck: Annotated[
        Seconds,
        _doc("How often the provider is asked whether a person is still there, and in which groups", group="oidc"),
    ] = 600.0

    # --- Litestream
    litestream_disabled: Annotated[bool, _doc("Set to `true` to disable Litestream", group="litestream")] = False
    litestream_skip_restore: Annotated[bool, _doc("Set to `true` to skip restore on startup", group="litestream")] = (
        False
    )
    litestream_age_secret_key: Annotated[
        str, _doc("Age secret key for encryption (optional)", group="litestream", secret=True)
    ] = ""
    litestream_age_public_key: Annotated[
        str, _doc("Age public key for encryption (optional)", group="litestream")
    ] = ""
    litestream_bin: Annotated[
        str, _doc("The Litestream program; looked for if empty: beside Python, on the PATH", group="litestream")
    ] = ""
    backup_s3_endpoint: Annotated[
        str,
        Meta(pattern=r"^(https?://[^/?#\s]+/?)?$"),
        _doc("S3 endpoint of the backups; each `BACKUP_S3_*` that is empty is taken from `S3_*`", group="litestream"),
    ] = ""
    backup_s3_bucket: Annotated[str, _doc("Bucket of the backups", group="litestream")] = ""
    backup_s3_access_key: Annotated[str, _doc("Access key of the backups", group="litestream", secret=True)] = ""
    backup_s3_secret_key: Annotated[str, _doc("Secret key of the backups", group="litestream", secret=True)] = ""
    backup_s3_region: Annotated[str, _doc("Region of the backups", group="litestream")] = ""
    backup_sync_interval: Annotated[
        float, Meta(ge=0.1, le=3600), _doc("What Litestream waits between two copies of changes", group="litestream")
    ] = 1.0
    backup_retention: Annotated[
        float,
        Meta(ge=3600, le=10 * 365 * 86_400),
        _doc("How far back `blobforge backup restore --at` reaches; at least an hour", group="litestream"),
    ] = 7 * 86_400.0
    backup_drill_interval: Annotated[
        float,
        Meta(ge=0, le=365 * 86_400),
        _doc("Time between two drills, which restore the backup and compare it; 0: none", group="litestream"),
    ] = 0.0

    @property
    def superseded_kept(self) -> int | None:
        """How many replaced results a job keeps; None: any number."""
        return self.retention_superseded_count if self.retention_superseded_count >= 0 else None

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir)

    @property
    def database(self) -> Path:
        return Path(self.db_path) if self.db_path else self.data_path / "blobforge.db"

    @property
    def shown_database(self) -> str:
        """Where the state is, without a password."""
        return _without_password(self.database_url) if self.database_url else str(self.database)

    @property
    def beat_every(self) -> float:
        """Seconds between heartbeats: by default six fit into the timeout, so that five may get lost."""
        return self.heartbeat_interval or self.worker_timeout / 6

    @property
    def uses_s3(self) -> bool:
        return bool(self.s3_endpoint)

    def backup_s3(self, name: str) -> str:
        """One of the backups' S3 settings, from `backup_s3_*`, else from `s3_*`."""
        return str(getattr(self, f"backup_s3_{name}") or getattr(self, f"s3_{name}"))

    @property
    def backs_up(self) -> bool:
        """Whether Litestream copies the database: there is a place for backups, it is not turned off, and the database
        is a file."""
        return bool(self.backup_s3("endpoint")) and not self.litestream_disabled and not self.database_url


class Variable(msgspec.Struct, frozen=True):
    """One row of the table. `value` is masked where it is a secret. `unit`: seconds, bytes, or another or none."""

    name: str
    value: str
    default: str
    description: str
    group: str
    unit: str
    is_set: bool


def secrets_of(settings: Settings) -> list[str]:
    """The values that no log and no page may show."""
    named = (
        field.name for field in msgspec.structs.fields(Settings) if meta_of(types_of_settings()[field.name])["secret"]
    )
    return [value for name in named if (value := getattr(settings, name))]


def describe(settings: Settings) -> list[Variable]:
    """Every setting as it is in force, secrets masked."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        meta = meta_of(types_of_settings()[field.name])
        value = getattr(settings, field.name)
        secret = bool(meta["secret"]) and bool(value)
        rows.append(
            Variable(
                PREFIX + field.name.upper(),
                MASK if secret else _show(value),
                LIVES_IN.get(field.name) or _show(field.default),
                str(meta["description"]),
                str(meta["group"]),
                str(meta["unit"] or ("seconds" if isinstance(field.default, float) else "")),
                value != field.default,
            )
        )
    return rows


@cache
def types_of_settings() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def meta_of(type_: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "", "secret": False, "group": "server", "unit": ""}
    for part in get_args(type_)[1:]:
        if isinstance(part, Meta) and part.extra:
            found |= {"description": part.description, **part.extra}
    return found


def _without_password(url: str) -> str:
    """`postgresql://user:...@host/name?password=...`, or `key=value` pairs, as they may be shown."""
    if "://" not in url:
        return re.sub(r"(password *= *)('(?:[^'\\]|\\.)*'|\S+)", rf"\1{MASK}", url)
    url = re.sub(r"(://[^:@/?]*):[^@/?]*@", rf"\1:{MASK}@", url)
    return re.sub(r"([?&]password=)[^&]*", rf"\1{MASK}", url)


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)
