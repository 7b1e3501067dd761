"""The images, built once for the run, or the reason why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.image import building
from tests.image.building import Builder, CannotBuildError


@dataclass(frozen=True)
class Image:
    """What was built: its root file system, its configuration, its size in bytes."""

    root: Path
    config: dict[str, Any]
    size: int


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Buildah with the base. Skips where this machine cannot; `.ci/run` asks for a failure instead."""
    try:
        building.check_machine()
    except CannotBuildError as error:
        if os.environ.get("IMAGE_TESTS") == "required":
            raise
        pytest.skip(f"the image is not built here: {error}")
    folder = tmp_path_factory.mktemp("image")
    with ThreadPoolExecutor(1) as beside, building.builder(folder) as made:
        fetched = beside.submit(building.wheelhouse)  # the one waits for a mirror, the other for an index
        made.import_base(building.base_archive(tmp_path_factory.mktemp("base")))
        fetched.result()
        yield made


@pytest.fixture(scope="session")
def server_image(builder: Builder) -> Image:
    return _built(builder, "server")


@pytest.fixture(scope="session")
def worker_image(builder: Builder) -> Image:
    return _built(builder, "worker")


def _built(builder: Builder, target: str) -> Image:
    name = builder.build(target, building.wheelhouse())
    return Image(builder.mounted(name), builder.config(name), builder.size(name))
