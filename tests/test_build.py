"""`make build`: what it makes installs and runs from an empty folder, with nothing of the checkout beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("actors", "blobforge", "web")


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BLOBFORGE_", "PYTHON"))}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("build")
    checkout = folder / "checkout"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder=checkout)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; what it depends on is borrowed from the tests' environment."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home, symlinks=True)
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", home, "install", "--no-deps", "--no-index", wheel, folder=built)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_every_file_of_the_packages_is_in_both(built: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed:
        assert sorted(expected - set(packed.namelist())) == []
    with tarfile.open(archive) as packed_source:
        names = {name.partition("/")[2] for name in packed_source.getnames()}
    assert sorted(expected - names) == []


def test_it_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import blobforge, web; print(web.__file__)", folder=tmp_path)
    assert str(installed.parent) in where, "not the checkout's"
    assert run(installed / "blobforge", "--version", folder=tmp_path).startswith("blobforge")
    assert "words, checked" in run(installed / "python", "-m", "blobforge.demo", "--once", folder=tmp_path)


def test_its_server_has_a_dashboard(installed: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [installed / "blobforge", "serve", "--port", "0", "--data-dir", "data"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        address = tmp_path / "data" / "server.json"
        while not address.exists():
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        url = json.loads(address.read_text())["url"]
        page = urllib.request.urlopen(f"{url}/login", timeout=30).read().decode()
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert any(".css" in asset for asset in assets)
        for asset in assets:
            assert urllib.request.urlopen(url + asset, timeout=30).read(), asset
        run(installed / "blobforge", "--server", url, "jobs", "list", folder=tmp_path)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
