"""What makes a machine a worker: commands for Linux, with systemd, for Docker and for Kubernetes, to be pasted."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Final

COMMAND: Final = "pdftotext -layout {source} {output}"
IMAGE: Final = "blobforge-worker"
NO_TOKEN: Final = "PASTE_A_TOKEN_HERE"
LONGEST_SLUG = 40  # characters: the name of a Kubernetes object has room for 63
LONGEST_TEXT = 2000  # characters of each
MOST_LABELS = 50
_PLAIN = re.compile(r"[\w./:@%+=,-]+", re.ASCII)
_ADDRESS = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


class NoMachine(ValueError):
    """`field` is none that can be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Machine:
    """A worker that is to be: `command` converts jobs of `type`, by an API token of the scope `work`. Containers are
    made from `image`. Raises NoMachine."""

    server: str
    type: str
    command: str = COMMAND
    labels: tuple[str, ...] = ()
    image: str = IMAGE
    token: str = NO_TOKEN

    def __post_init__(self) -> None:
        for field in ("server", "type", "command", "image", "token"):
            value = getattr(self, field)
            if not value.strip():
                raise NoMachine(field, f"{field}: it is empty.")
            _check(field, value)
        if not _ADDRESS.fullmatch(self.server):
            raise NoMachine("server", f"server: {self.server!r} is no address; one is https://queue.example.")
        if not re.fullmatch(r"[^\s-]\S*", self.image):
            raise NoMachine("image", f"image: {self.image!r} is no name of an image.")
        if len(self.labels) > MOST_LABELS:
            raise NoMachine("labels", f"labels: {MOST_LABELS} at most.")
        for label in self.labels:
            _check("labels", label)
            name = label.partition("=")[0].strip()
            if not name or name[-1] in "<>!":
                raise NoMachine("labels", f"labels: {label!r} is none; one is gpu, or memory_gib=64.")

    @property
    def slug(self) -> str:
        """What files, containers and objects of this type are called."""
        found = re.sub(r"[^a-z0-9]+", "-", self.type.lower()).strip("-")
        return found[:LONGEST_SLUG].strip("-") or "jobs"

    @property
    def is_local(self) -> bool:
        """Whether the address is one that only the server's own machine has."""
        return bool(re.match(r"https?://(localhost|127[.\d]+|\[::1\])(:|/|$)", self.server))

    def work(self) -> list[str]:
        """What `blobforge` is started with."""
        labels = [part for label in self.labels for part in ("--label", label)]
        return ["work", "--type", self.type, "--exec", self.command, *labels]

    def once(self) -> str:
        """In a shell of any user, as long as it is open."""
        return f"""export BLOBFORGE_SERVER_URL={shlex.quote(self.server)}
export BLOBFORGE_API_TOKEN={shlex.quote(self.token)}
uvx --from blobforge-server blobforge {shlex.join(self.work())}
"""

    def systemd(self) -> str:
        """As root: a service that is started with the machine."""
        labels = shlex.join(part for label in self.labels for part in ("--label", label))
        return f"""python3 -m venv /opt/blobforge
/opt/blobforge/bin/pip install blobforge-server
install -d -m 0700 /etc/blobforge
umask 077
cat > /etc/blobforge/worker.env <<'END'
BLOBFORGE_SERVER_URL={_setting(self.server)}
BLOBFORGE_API_TOKEN={_setting(self.token)}
END
cat > /etc/blobforge/worker-{self.slug}.env <<'END'
TYPE={_setting(self.type)}
CONVERT={_setting(self.command)}
OPTIONS={_setting(labels)}
END
umask 022
cat > /etc/systemd/system/blobforge-worker@.service <<'END'
{UNIT}END
systemctl daemon-reload
systemctl enable blobforge-worker@{self.slug}
systemctl restart blobforge-worker@{self.slug}
"""

    def docker(self) -> str:
        """A container that is started with the machine. Its token is not among its arguments."""
        name = f"blobforge-worker-{self.slug}"
        return f"""export BLOBFORGE_API_TOKEN={shlex.quote(self.token)}
docker run --detach --init --restart unless-stopped --name {name} \\
    --env BLOBFORGE_SERVER_URL={shlex.quote(self.server)} --env BLOBFORGE_API_TOKEN \\
    {shlex.quote(self.image)} {shlex.join(self.work())}
"""

    def kubernetes(self) -> str:
        """A Secret, and a Deployment of one worker, of which there may be more."""
        name = f"blobforge-worker-{self.slug}"
        return f"""kubectl apply --filename - <<'END'
apiVersion: v1
kind: Secret
metadata:
  name: {name}
stringData:
  BLOBFORGE_API_TOKEN: {json.dumps(self.token)}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  replicas: 1
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      shareProcessNamespace: true
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: worker
          image: {json.dumps(self.image)}
          args: {_in_pod(self.work())}
          env:
            - name: BLOBFORGE_SERVER_URL
              value: {_in_pod(self.server)}
          envFrom:
            - secretRef: {{name: {name}}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          volumeMounts:
            - {{name: scratch, mountPath: /app/scratch}}
      volumes:
        - name: scratch
          emptyDir: {{}}
END
"""


def _check(field: str, value: str) -> None:
    """One line of a shell, with nothing in it that is not seen."""
    if not value.isprintable():
        raise NoMachine(field, f"{field}: it has a character that cannot be printed.")
    if len(value) > LONGEST_TEXT:
        raise NoMachine(field, f"{field}: {LONGEST_TEXT:,} characters at most.")


def _setting(value: str) -> str:
    """As systemd reads it in an `EnvironmentFile=`."""
    if _PLAIN.fullmatch(value) or not value:
        return value
    return '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _in_pod(value: str | list[str]) -> str:
    """As YAML, where Kubernetes fills in no variables: a dollar of ours is two there."""
    return json.dumps(value).replace("$", "$$")


# deploy/systemd/blobforge-worker@.service, without what stands above it.
UNIT: Final = """\
[Unit]
Description=BlobForge worker %i
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
# A user of its own that is gone with it: what it converts are strangers' files.
DynamicUser=yes
EnvironmentFile=/etc/blobforge/worker.env
EnvironmentFile=/etc/blobforge/worker-%i.env
CacheDirectory=blobforge-worker-%i
# Which process this worker was, so that it takes over at once when it is started again.
StateDirectory=blobforge-worker-%i
Environment=XDG_STATE_HOME=%S/blobforge-worker-%i
CacheDirectoryMode=0700
WorkingDirectory=%C/blobforge-worker-%i
ExecStart=/opt/blobforge/bin/blobforge work --worker-id %H-%i --type ${TYPE} --exec ${CONVERT} \\
    --workdir %C/blobforge-worker-%i $OPTIONS
UMask=0077

# A wrong setting (exit code 2) or credential (4) is not cured by trying again, and with 6 another process is this
# worker now; all else may be.
Restart=always
RestartSec=5
RestartPreventExitStatus=2 4 6
# SIGTERM goes to the worker alone: it ends its converter and gives the job back. What is left then is killed.
KillMode=mixed
TimeoutStopSec=120

CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
