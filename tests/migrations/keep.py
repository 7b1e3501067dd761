"""`make schema`: keeps the schema of PostgreSQL as a fixture, once for each migration.

For migration N there are two files in tests/migrations/postgres: `N.sql`, a filled database as a server of that
release leaves it (pg_dump), with the digest of the migration in its first line, and `N.statements`, the statements
that came with it (JSON lines), which servers of that release have prepared, and as `{"gone": ...}` those that came
before and that they did without. A file that is there is left as it is:
while a migration is being written, delete its files and run it again.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
from contextlib import closing
from importlib import resources
from pathlib import Path

from blobforge.config import Settings
from blobforge.moving import copying
from blobforge.serve.engines import engine_of, new_tables_at, tables_of
from blobforge.store.postgres import bulk_sql, commons_sql, database, turns_sql
from blobforge.store.postgres.spelling import spelled
from blobforge.store.sqlite import database as on_sqlite
from tests.fixtures.postgres import Cluster, program
from tests.migrations.sample import make
from tests.store.postgres.test_spelling import SHARED

KEPT = Path(__file__).parent / "postgres"
JOBS = 24  # of a kept database
_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")


def scripts() -> dict[str, str]:
    """Names of the migrations, and the digests of what is in them."""
    folder = resources.files("blobforge.store.postgres") / "migrations"
    entries = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in entries}


def statements() -> list[str]:
    """All that servers of this release prepare and that have one text."""
    own = [
        text
        for module in (bulk_sql, commons_sql, turns_sql)
        for name, text in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(text, str) and _STATEMENT.match(text)
    ]
    return sorted({*own, *map(spelled, SHARED.values())})


def kept_statements(upto: int) -> list[tuple[set[str], set[str]]]:
    """For each schema up to that one the statements that came with it, and those that servers of it did without."""
    kept = []
    for number in range(1, upto + 1):
        lines = [json.loads(line) for line in (KEPT / f"{number:04}.statements").read_text().splitlines()]
        came = {line for line in lines if isinstance(line, str)}
        kept.append((came, {line["gone"] for line in lines if not isinstance(line, str)}))
    return kept


def used_since(oldest: int, kept: list[tuple[set[str], set[str]]]) -> set[str]:
    """Those of all servers that know schema `oldest`, or a later one."""
    used, since = set[str](), set[str]()
    for number, (came, gone) in enumerate(kept, start=1):
        used = (used - gone) | came
        if number >= oldest:
            since |= used
    return since


def keep() -> None:
    known = scripts()
    for number, (name, digest) in enumerate(known.items(), start=1):
        dump = KEPT / f"{number:04}.sql"
        if dump.exists():
            continue
        assert number == len(known), f"{name} has no fixture, and there is a later one: keep it from its own commit"
        dump.write_text(f"-- {name} {digest}\n{_dumped()}")
        before = kept_statements(number - 1)
        used, now = used_since(len(before), before), set(statements())
        lines = [*sorted(now - used), *({"gone": each} for each in sorted(used - now))]
        (KEPT / f"{number:04}.statements").write_text("".join(json.dumps(each) + "\n" for each in lines))
        print(f"kept: {dump}")


def _dumped() -> str:
    with tempfile.TemporaryDirectory() as folder, closing(Cluster()) as cluster:
        file = Path(folder) / "blobforge.db"
        make(file, len(on_sqlite.migrations()), jobs=JOBS)
        engine_of(Settings(data_dir=folder)).open_store().close()  # it gets its name
        name = cluster.database()
        url = cluster.url(name)
        with tables_of(f"sqlite:///{file}") as ours, new_tables_at(url, ours.installation) as theirs:
            copying.copy(ours, theirs, on_done=lambda _: None)
            theirs.finish(ours.numbers())
        database.prepare(url)
        said = subprocess.run(
            [program("pg_dump"), "--inserts", "--no-owner", "--no-privileges", url],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("--", "\\"))]
    return "\n".join(line for line in lines if "set_config('search_path'" not in line) + "\n"


if __name__ == "__main__":
    keep()
