"""A compose file without an engine: its processes, with the environment and the commands that stand in it.

Only what an engine would provide is replaced: names of services by 127.0.0.1 and ports that are free, paths inside
of containers by folders, images by this checkout.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


def load(name: str, variables: dict[str, str]) -> dict[str, Any]:
    """The file, with its ${VARIABLES} filled in as Compose does. Raises LookupError where one is required."""

    def fill(found: re.Match[str]) -> str:
        variable, operator, rest = found.groups()
        if variable is None:
            return "$"
        value = variables.get(variable, "")
        if not value and operator == "?":
            raise LookupError(f"{variable}: {rest}")
        return value or (rest if operator == "-" else "")

    def walk(node: Any) -> Any:
        match node:
            case dict():
                return {key: walk(value) for key, value in node.items()}
            case list():
                return [walk(value) for value in node]
            case str():
                return VARIABLE.sub(fill, node)
            case _:
                return node

    filled: dict[str, Any] = walk(yaml.safe_load((DEPLOY / name).read_text()))
    return filled


def env_file(text: str) -> dict[str, str]:
    """An .env file: NAME=value lines."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class Host:
    """What stands for the engine: where things are here."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self.folder = folder
        self.replaced = replaced
        self.children: list[subprocess.Popen[bytes]] = []

    def here(self, text: str) -> str:
        for there, ours in self.replaced.items():
            text = text.replace(there, ours)
        return text

    def environment(self, service: dict[str, Any], **more: str) -> dict[str, str]:
        """Of a service; the test's own settings are not passed on."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        given = {name: self.here(str(value)) for name, value in service.get("environment", {}).items()}
        return {**kept, "PATH": path, **more, **given}

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [self.here(part) for part in command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.children.append(child)
        return child

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        shutil.rmtree(self.folder / "objects", ignore_errors=True)
