"""For the Containerfile: import all that the server and its commands are made of, so that it lies there compiled.

At run time the root file system may be read-only, and a start would compile everything anew. Compiling all that is
installed, whether it is ever imported or not, would cost 20 MB more. A part that cannot be imported ends the build.
"""

from __future__ import annotations

import importlib
import pkgutil

import boto3

PACKAGES = ("actors", "blobforge", "web")
NOT_OURS = ("blobforge.demo",)  # needs what the extra `demo` installs


def main() -> None:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.startswith(NOT_OURS) and not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    boto3.client("s3", region_name="auto", aws_access_key_id="-", aws_secret_access_key="-")  # imports what it needs


if __name__ == "__main__":
    main()
