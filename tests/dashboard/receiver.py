"""A receiver of webhooks, which answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers:
    """Takes everything, and answers with `status` and `body`. `got`: bodies and headers, as they came."""

    def __init__(self, body: str = "", path: str = "") -> None:
        self.status = 200
        self.got: list[tuple[bytes, dict[str, str]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((sent, dict(self.headers.items())))
                self.send_response(receiver.status)
                if receiver.status != 204:
                    self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                if receiver.status != 204:
                    self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{path}"


@contextmanager
def answering(body: str = "", path: str = "/") -> Iterator[Answers]:
    made = Answers(body, path)
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
