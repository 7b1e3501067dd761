"""inside.py ROOT NETWORK USER SOURCE:TARGET,... -- COMMAND...: becomes COMMAND as a container runtime would start it.

Runs as the first process of fresh mount and process namespaces (`unshare`): the root file system is read-only, the
volumes are not, there are no capabilities and no way to get any. NETWORK is `own` (nothing but a loopback of its own,
so that 0.0.0.0 is nobody else's) or `host`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

DEVICES = ("null", "zero", "full", "random", "urandom")
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        asked = fcntl.ioctl(channel, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack("16xh14x", asked)
        fcntl.ioctl(channel, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main() -> None:
    root, network, user, volumes = sys.argv[1:5]
    command = sys.argv[6:]
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    mount("-t", "proc", "proc", Path(root, "proc"))
    mount("-t", "tmpfs", "-o", "size=64k,mode=755", "dev", Path(root, "dev"))
    for name in DEVICES:
        node = Path(root, "dev", name)
        node.touch()
        mount("--bind", Path("/dev", name), node)
    Path(root, "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")  # as every engine does
    for volume in filter(None, volumes.split(",")):
        source, target = volume.split(":")
        mount("--bind", source, root + target)
    mount("-o", "remount,bind,ro", root)
    if network == "own":
        raise_loopback()
    uid, gid = user.split(":")
    dropped = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    os.chroot(root)
    os.chdir(os.environ["PWD"])
    os.execvp("setpriv", ["setpriv", "--reuid", uid, "--regid", gid, *dropped, "--", *command])


if __name__ == "__main__":
    main()
