"""`python -m blobforge.healthcheck`: exit code 0 while the server of this data folder is ready, else 1 and why.

For the image's HEALTHCHECK and all that ask by running a command: an image that is small has no curl. The
address is the one that the server itself wrote down, so that no port and no host is named twice; the file is there
only while it serves. Only the standard library is imported: this runs every few seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

READY_FILE = "server.json"  # datadir.READY_FILE, without importing what the server is made of
PATIENCE_SECONDS = 6.0  # longer than the server gives its writer to come round


def trouble(folder: Path) -> str:
    """Why the server that keeps its data in `folder` is not ready; empty when it is."""
    try:
        url = urlsplit(json.loads((folder / READY_FILE).read_text())["url"])
    except OSError:
        return f"no server is ready in {folder}"
    # http.client knows nothing of proxies: this never leaves the machine.
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(1000).decode(errors="replace")
    except OSError as error:
        return f"{url.geturl()} does not answer: {error}"
    finally:
        connection.close()
    return "" if answer.status == http.HTTPStatus.OK else f"/readyz says {answer.status}: {body}"


if __name__ == "__main__":
    sys.exit(trouble(Path(os.environ.get("BLOBFORGE_DATA_DIR") or "data")) or 0)
