"""`blobforge/client/sync.py`, made of the AsyncClient: each of its methods without `async`.

`make docs` writes it, and tests/client/test_twins.py compares.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "blobforge" / "client"
TARGET = CLIENT / "sync.py"
# Where the methods of the AsyncClient stand.
PARTS = {
    CLIENT / "scripting.py": "AsyncClient",
    CLIENT / "api.py": "Endpoints",
    CLIENT / "files.py": "FileEndpoints",
    CLIENT / "batches.py": "BatchEndpoints",
    CLIENT / "administration.py": "AdminEndpoints",
    CLIENT / "webhooks.py": "WebhookEndpoints",
}
# Of the AsyncClient: what only a worker asks for, and the parts of an upload.
WORKERS_OWN = {
    "register", "unregister", "heartbeat", "claim", "complete", "fail", "release", "fresh_source_url",
    "fresh_upload_url", "begin_multipart", "upload_part", "complete_multipart", "abort_multipart",
    "send_log",
}  # fmt: skip

HEADER = '''"""`Client`: the AsyncClient without `async` and `await`, for scripts.

    with Client() as client:
        report = client.submit("report.pdf")
        job = client.wait(report)
        client.save(job, "results/")

Made of it by `make docs`: change that one, and never this file.
"""

from __future__ import annotations

from functools import partial
'''


def methods(module: Path, name: str) -> Iterator[ast.AsyncFunctionDef]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for each in node.body:
                if isinstance(each, ast.AsyncFunctionDef) and each.name[0] != "_" and each.name not in WORKERS_OWN:
                    yield each


def twin(method: ast.AsyncFunctionDef) -> str:
    """The method as it stands in the synchronous class."""
    asked = method.args
    given = [each.arg for each in asked.args[1:]] + [f"{each.arg}={each.arg}" for each in asked.kwonlyargs]
    given += [f"**{asked.kwarg.arg}"] if asked.kwarg else []
    returns = ast.unparse(method.returns) if method.returns else "None"
    doc = ast.get_docstring(method, clean=False)
    head = f"    def {method.name}({ast.unparse(asked)}) -> {returns.replace('AsyncIterator', 'Iterator')}:\n"
    said = f'        """{doc}"""\n'
    if returns.startswith("AsyncIterator"):
        return f"{head}{said}        return self._each(self._client.{method.name}({', '.join(given)}))\n"
    call = ", ".join([f"self._client.{method.name}", *given])
    return f"{head}{said}        return self._run(partial({call}))\n"


def imports(text: str, *modules: Path) -> Iterator[str]:
    """What the text needs of what these modules import or define."""
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    seen: set[str] = set()
    for module in modules:
        named = f"blobforge.client.{module.stem}"
        for node in ast.parse(module.read_text()).body:
            match node:
                case ast.Import():
                    origin = [(alias.asname or alias.name, f"import {alias.name}") for alias in node.names]
                case ast.ImportFrom():
                    origin = [(alias.name, f"from {node.module} import {alias.name}") for alias in node.names]
                case ast.ClassDef():
                    origin = [(node.name, f"from {named} import {node.name}")]
                case ast.Assign(targets=[ast.Name(name)]):
                    origin = [(name, f"from {named} import {name}")]
                case _:
                    origin = []
            for name, line in origin:
                if name in used and name not in seen and name not in {"partial", "annotations"}:
                    seen.add(name)
                    yield line


def source() -> str:
    """The whole module."""
    made = [twin(method) for module, name in PARTS.items() for method in methods(module, name)]
    told = "A client of one server, with one credential, for scripts; see AsyncClient, whose methods it has."
    body = f'class Client(BlockingClient):\n    """{told}"""\n\n' + "\n".join(made)
    needed = [
        *imports(body, *PARTS),
        "from collections.abc import Iterator",
        "from blobforge.client.blocking import BlockingClient",
    ]
    return tidy(HEADER + "\n".join(needed) + "\n\n" + body)


def tidy(text: str) -> str:
    """As ruff has it: imports in order, lines of one length."""
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for command in (["check", "--select", "I,F401", "--fix-only", "-q"], ["format", "-q"]):
        run = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(TARGET), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        text = run.stdout
    return text


if __name__ == "__main__":
    TARGET.write_text(source())
