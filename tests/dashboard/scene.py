"""A queue with something of everything in it, made through the API as workers and clients make it."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx

from blobforge import demo

SAMPLE = Path(demo.__file__).parent / "samples" / "report.pdf"
TRACEBACK = """Traceback (most recent call last):
  File "/opt/convert/pages.py", line 88, in render
    image = decode(page.stream)
  File "/opt/convert/images.py", line 41, in decode
    raise DecodeError(f"bad JPEG marker at {offset:#x}")
convert.images.DecodeError: bad JPEG marker at 0x1f3a
"""
MARKDOWN = b"""# The Banquet

*Obelix* found **seventeen** boars. See [the map](https://example.org/map).

| dish | boars |
| --- | --- |
| roast | 15 |
| stew | 2 |

```
menhir.deliver()
```
"""
# What strangers may send wherever a name or a text is taken.
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "\u202egnp.exe \u2066abc \u05e9\u05dc\u05d5\u05dd \u200f",
    "'; DROP TABLE jobs; --{{ 7 * 7 }}{% raw %}%s%n\\n",
    "javascript:document.title='owned'//</textarea></title></style>--><svg onload=document.title='owned'>",
)
# Ids that mean something in an address.
HOSTILE_IDS = ("a?b#c%2Fd&e=f", "\"quoted'<b>", "..;%2e%2e", "w\u00f6rker-\u202e\u5de5\u4eba", "x" * 200)
HOSTILE_MARKDOWN = b"""<script>document.title='owned'</script><img src=x onerror="document.title='owned'">
[script](javascript:document.title='owned') [data](data:text/html,<script>document.title='owned'</script>)
![image](data:image/svg+xml,<svg onload=alert(1)>) ![far](https://example.org/pixel.png) [near](/auth/logout)
[vb]: vbscript:x
<style>body { display: none }</style><iframe src="/admin/tokens"></iframe><form action="/do/jobs/delete"></form>
"""


class Scene:
    """Calls the API as an administrator with `work` scope would; each method is what somebody did."""

    def __init__(self, client: httpx.Client) -> None:
        self.http = client

    def call(self, method: str, path: str, body: Any = None, *, content: bytes | None = None) -> Any:
        answer = self.http.request(method, path, json=body, content=content)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content and "json" in answer.headers.get("Content-Type", "") else None

    def submit(self, path: str, *, content: bytes | None = None, upload: bool = True, **fields: Any) -> int:
        """A job; with its source in the store unless `upload` is false."""
        content = content if content is not None else path.encode()
        body = {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest(), "source_path": path,
                "source_size": len(content)} | fields  # fmt: skip
        made = self.call("POST", "/api/jobs", body)
        if upload and "upload_url" in made:
            httpx.put(made["upload_url"], content=content, trust_env=False).raise_for_status()
        return int(made["job_id"])

    def worker(self, name: str, type_: str = "pdf", **fields: Any) -> None:
        self.call("POST", "/api/workers/register", {"id": name, "type": type_} | fields)

    def claim(self, worker: str, type_: str = "pdf", wait: float = 0) -> Any:
        grant = self.call("POST", "/api/jobs/claim", {"worker_id": worker, "job_type": type_, "wait": wait})
        assert grant["job"] is not None
        return grant

    def beat(self, worker: str, grant: Any, **progress: Any) -> None:
        body = {"jobs": [{"job_id": grant["job"]["id"], "lease": grant["lease"], "progress": progress}]}
        self.call("POST", f"/api/workers/{worker}/heartbeat", body)

    def complete(self, worker: str, grant: Any, output: bytes = MARKDOWN, filename: str = "output.md") -> None:
        httpx.put(grant["upload_url"], content=output, trust_env=False).raise_for_status()
        body = {"worker_id": worker, "lease": grant["lease"], "output_key": grant["output_key"],
                "result": {"filename": filename, "pages": 12}}  # fmt: skip
        self.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)

    def complete_all(self, worker: str, grant: Any, outputs: dict[str, bytes]) -> None:
        """With several outputs, by their names."""
        job, lease = grant["job"]["id"], grant["lease"]
        body = {"job_id": job, "lease": lease, "worker_id": worker, "names": list(outputs)}
        for each in self.call("POST", "/api/files/upload-url", body)["urls"]:
            content, headers = outputs[each["name"]], each.get("headers")
            httpx.put(each["url"], content=content, headers=headers, trust_env=False).raise_for_status()
        body = {"worker_id": worker, "lease": lease, "outputs": "all"}
        self.call("POST", f"/api/jobs/{job}/complete", body)

    def fail(self, worker: str, grant: Any, error: str = "bad JPEG marker at 0x1f3a", **fields: Any) -> None:
        body = {"worker_id": worker, "lease": grant["lease"], "error": error, "kind": "DecodeError",
                "traceback": TRACEBACK, "log_tail": "page 11 ok\npage 12 ok\npage 13 failed\n"} | fields  # fmt: skip
        self.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)


def furnish(scene: Scene) -> dict[str, int]:
    """One of each: returns the ids of jobs by what they are."""
    facts = {"hostname": "gaul-1", "cpus": 8, "memory": 16 << 30, "gpus": [{"name": "RTX 4000", "memory": 20 << 30}]}
    scene.worker("obelix", labels={"gpu": True, "zone": "armorica"}, version="1.4.0", metadata=facts)
    scene.worker("asterix", labels={"zone": "armorica"}, version="1.4.0")
    scene.worker("dogmatix", "epub", version="1.3.9")
    ids: dict[str, int] = {}
    batch = scene.call("POST", "/api/batches", {"name": "letters of November", "metadata": {"for": "caesar"}})["id"]
    banquet = {"tags": ["books", "comics"], "metadata": {"isbn": "978-2"}, "batch": batch}
    ids["completed"] = scene.submit("books/comics/banquet.pdf", **banquet)
    scene.complete("obelix", scene.claim("obelix"))
    for n in range(3):
        ids[f"dead{n}"] = scene.submit(f"scans/broken-{n}.pdf", max_attempts=1, tags=["scans"])
        scene.fail("asterix", scene.claim("asterix"))
    ids["failed"] = scene.submit("scans/torn.pdf", max_attempts=5)
    scene.fail("obelix", scene.claim("obelix"), "the page tree has a loop", kind="PageError")
    ids["running"] = scene.submit("books/comics/obelix-and-co.pdf", priority=1, tags=["books", "comics"])
    grant = scene.claim("obelix")
    scene.beat("obelix", grant, stage="pages", done=31, total=44, message="rendering page 31")
    ids["running2"] = scene.submit("books/caesar.pdf", priority=2)
    scene.beat("asterix", scene.claim("asterix"), stage="ocr", percent=12.5)
    for n in range(12):
        ids[f"pending{n}"] = scene.submit(f"letters/{n:03}.pdf", priority=3 + n % 3, batch=batch)
    ids["waiting"] = scene.submit("maps/gaul.svg", type="svg")
    ids["uploading"] = scene.submit("huge/library.pdf", content=b"not sent yet", upload=False)
    ids["cancelled"] = scene.submit("letters/draft.pdf")
    scene.call("POST", f"/api/jobs/{ids['cancelled']}/cancel")
    ids["family"] = chained(scene)
    for cpu in (0.2, 0.85, 0.6):
        gpu = {"utilization": cpu, "memory": 19 << 30, "memory_total": 20 << 30}
        load = {"cpu": cpu, "cpus": 8, "memory": 5 << 30, "memory_total": 16 << 30, "gpus": [gpu]}
        scene.call("POST", "/api/workers/obelix/heartbeat", {"load": load})
    ids["album"] = illustrated(scene)
    scene.call("POST", "/api/workers/dogmatix/drain")
    scene.call("POST", "/api/admin/workers", {"id": "getafix", "type": "pdf", "name": "The druid"})
    scene.call("POST", "/api/admin/workers/getafix/disable")
    scene.call("POST", "/api/jobs/priority", {"ids": [ids["completed"]], "priority": 3, "background": True})
    scene.call("POST", "/api/canaries", {"types": ["pdf"], "made_by": "marker 2.0", "sample": 2})
    scene.call("POST", "/api/admin/tokens", {"name": "ci pipeline", "scopes": ["submit", "read"]})
    hook = {"url": "https://hooks.rome.example/blobforge", "events": ["batch.ended", "worker.lost"], "types": ["pdf"]}
    scene.call("POST", "/api/admin/webhooks", hook)
    scene.call("POST", "/api/admin/webhooks/1/test")
    return ids


def chained(scene: Scene) -> int:
    """A document whose pages are read one by one and joined to a book: more of them than are drawn one by one, in
    several states. Returns the job of one page."""
    then = [{"type": "ocr", "outputs": "pages/*", "join": {"type": "book", "then": [{"type": "index"}]}}]
    pages = {f"pages/{n:02}.txt": f"page {n}".encode() for n in range(12)}
    scene.worker("vitalstatistix", "scroll")
    scene.worker("geriatrix", "ocr")
    scene.submit("scrolls/gallic-war.pdf", type="scroll", then=then)
    scene.complete_all("vitalstatistix", scene.claim("vitalstatistix", "scroll"), pages)
    for _ in range(5):
        scene.complete("geriatrix", scene.claim("geriatrix", "ocr", wait=20))
    scene.fail("geriatrix", grant := scene.claim("geriatrix", "ocr", wait=20))
    scene.claim("geriatrix", "ocr", wait=20)
    return int(grant["job"]["id"])


def picture(width: int = 240, height: int = 160) -> bytes:
    """A PNG with a gradient; of that size, whatever it says."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in (x % 256, y % 256, 140)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def illustrated(scene: Scene) -> int:
    """A PDF of which an output of each kind came."""
    table = "dish,boars,at\n" + "".join(f"roast {n},{n},2026-11-{n:02}\n" for n in range(1, 29))
    outputs = {
        "book.md": MARKDOWN,
        "figures/1.png": picture(),
        "meta.json": b'{"title":"The Banquet","pages":12,"by":["Uderzo","Goscinny"],"share":1e-3}',
        "table.csv": table.encode(),
        "whole.pdf": SAMPLE.read_bytes(),
    }
    scene.worker("cacofonix", "album")
    job = scene.submit("albums/banquet.pdf", content=SAMPLE.read_bytes(), type="album")
    scene.complete_all("cacofonix", scene.claim("cacofonix", "album", wait=20), outputs)
    return job


def furnish_hostile(scene: Scene) -> tuple[list[int], list[str]]:
    """The same kinds of things, with every field that a stranger fills holding what a stranger may put there.

    Returns the ids of the jobs and of the workers.
    """
    ids, workers = [], [f"evil-{n}" for n in range(len(HOSTILE))]
    for n, evil in enumerate(HOSTILE):
        worker, type_ = workers[n], f"type-{n}"
        scene.worker(worker, type_, metadata={"host": evil, evil: evil}, labels={evil: evil}, version=evil * 9)
        scene.call("POST", "/api/admin/tokens", {"name": evil})
        if "/" not in evil:
            scene.call("POST", "/api/batches", {"name": evil, "metadata": {evil: evil}})
        for kind in ("fail", "complete", "run"):
            fields = {"max_attempts": 1, "tags": [evil[:100], "t" * 100], "metadata": {evil: evil}}
            ids.append(scene.submit(f"{evil}/{kind}", type=type_, **fields))
            grant = scene.claim(worker, type_)
            if kind == "fail":
                scene.fail(worker, grant, evil * 30, kind=evil[:100], traceback=evil * 20, log_tail=evil * 500)
            elif kind == "complete":
                scene.complete(worker, grant, evil.encode() + HOSTILE_MARKDOWN + MARKDOWN, filename=f"{evil}.md")
            else:
                scene.beat(worker, grant, stage=evil * 9, message=evil * 20, percent=50, total="x", done={})
    for name, type_ in zip(HOSTILE_IDS, "ABCDE", strict=True):
        made = {"id": name, "type": type_ * 100, "name": "n" * 200}
        scene.call("POST", "/api/admin/workers", made)
    workers += HOSTILE_IDS
    ids.append(scene.submit("n" * 4000 + ".pdf", type="L" * 100, metadata={"k" * 200: "v" * 60_000}))
    ids.append(scene.submit("\u202e" + "/../" * 300 + "\n" * 50, type="deep"))
    scene.worker("deep", "deep", metadata=_nested(60))
    grant = scene.claim("deep", "deep")
    scene.complete("deep", grant, b">" * 20_000 + b"\n" + b"[" * 5000 + b"* " * 3000, filename="deep.md")
    return ids, [*workers, "deep"]


def _nested(depth: int) -> dict[str, Any]:
    return {"m" * 100: _nested(depth - 1)} if depth else {"end": "e" * 5000}
