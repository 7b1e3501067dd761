"""The write side of the database: the working set, and what is asked of the database itself: by rare verbs,
which change rows at once. State owned here: the write connection. Used by one thread at a time: the writer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from blobforge.access import Scope, Token
from blobforge.installation import SigningKey
from blobforge.job import Attempt, Job, JobStatus
from blobforge.options import QueueLine
from blobforge.people import Session, User
from blobforge.store.bulk import BulkAccess
from blobforge.store.keeping import DatabaseFile
from blobforge.store.sql import rows, sql
from blobforge.store.sql.arrivals import Arrivals
from blobforge.store.sql.batches import BatchRows
from blobforge.store.sql.canaries import Canaries
from blobforge.store.sql.doomed import Doomed
from blobforge.store.sql.kin import KinRows
from blobforge.store.sql.lookups import CredentialLookups
from blobforge.store.sql.operations import Operations
from blobforge.store.sql.outputs import Outputs
from blobforge.store.sql.pastattempts import PastAttempts
from blobforge.store.sql.recovery import Recovery
from blobforge.store.sql.requirementsets import Requirements
from blobforge.store.sql.rollups import Rollups
from blobforge.store.sql.running import Statements
from blobforge.store.sql.searches import Searches
from blobforge.store.sql.superseded import Superseded
from blobforge.store.sql.textrows import TextRows
from blobforge.store.sql.typesettings import Types
from blobforge.store.sql.webhooks import Webhooks
from blobforge.store.workingset import WorkingSet
from blobforge.worker import Worker


class SqlStore(CredentialLookups, WorkingSet):
    """Reads and writes inside the transaction that the writer has open."""

    # What the index of texts keeps of what a job says.
    kept_text: Callable[[str], str] = staticmethod(str)

    def __init__(self, statements: Statements, bulk: BulkAccess, database_file: DatabaseFile | None) -> None:
        self._do = self._runs = statements
        self.database_file = database_file
        super().__init__(bulk)
        self.rollups = Rollups(self._do, self)
        self.recovery = Recovery(self._do, self)
        self.doomed = Doomed(self._do, self)
        self.operations = Operations(self._do)
        self.batches = BatchRows(self._do, self)
        self.requirements = Requirements(self._do, bulk, self)
        self.arrivals = Arrivals(self._do, self, self.requirements)
        self.outputs = Outputs(self._do)
        self.kin = KinRows(self._do, self)
        self.texts = TextRows(self._do, self, self.kept_text)
        self.superseded = Superseded(self._do, self)
        self.past = PastAttempts(self._do, self)
        self.types = Types(self._do, bulk, self)
        self.searches = Searches(self._do)
        self.canaries = Canaries(self._do, self)
        self.webhooks = Webhooks(self._do, bulk, self)
        self._installation = ""  # read when needed; it never changes

    @property
    def written(self) -> int:
        """How many rows have been written so far: it goes up when, and only when, a statement changes one."""
        return self._do.written

    def close(self) -> None:
        self._do.close()

    @property
    def installation(self) -> str:
        if not self._installation:
            row = self._do.row(sql.INSTALLATION)
            assert row is not None, "named when it was opened"
            self._installation = str(row[0])
        return self._installation

    def become(self, installation: str) -> None:
        self._do.rows(sql.RENAME_INSTALLATION, (installation,))
        self._installation = ""

    def is_fresh(self) -> bool:
        return self._do.row(sql.HAD_JOBS) is None

    def add_signing_key(self, key: SigningKey) -> None:
        self._do.rows(sql.ADD_SIGNING_KEY, (key.public_key, key.sealed, key.made_at))

    # --- jobs

    def jobs_between(self, first: int, last: int, *, limit: int) -> list[Job]:
        self.settle()
        return self.known([rows.job(row) for row in self._do.rows(sql.JOBS_BETWEEN, (first, last, limit))])

    def running_on(self, workers: Sequence[str], *, limit: int) -> list[Job]:
        self.settle()
        asked = msgspec.json.encode(list(workers)).decode()
        return self.known([rows.job(row) for row in self._do.rows(sql.RUNNING_OF_THESE, (asked, limit))])

    def ended_before(self, status: JobStatus, before: int, *, limit: int) -> list[Job]:
        self.settle()
        return self.known([rows.job(row) for row in self._do.rows(sql.ENDED_BEFORE, (status, before, limit))])

    def ready_longest(self, line: QueueLine, priority: int, *, limit: int) -> list[Job]:
        self.settle()
        found = self._do.rows(sql.READY_LONGEST, (*line, priority, limit))
        return self.known([rows.job(row) for row in found])

    def compared_until(self, before: int, *, limit: int) -> list[Job]:
        self.settle()
        return self.known([rows.job(row) for row in self._do.rows(sql.COMPARED_UNTIL, (before, limit))])

    def due_starts(self, until: int, *, limit: int) -> list[Job]:
        self.settle()
        return self.known([rows.job(row) for row in self._do.rows(sql.DUE_STARTS, (until, limit))])

    def due_expiries(self, until: int, *, limit: int) -> list[Job]:
        self.settle()
        return self.known([rows.job(row) for row in self._do.rows(sql.DUE_EXPIRIES, (until, limit))])

    def next_time(self) -> int | None:
        self.settle()
        found = [row[0] for row in (self._do.row(sql.NEXT_START), self._do.row(sql.NEXT_EXPIRY)) if row is not None]
        return min(found, default=None)

    def has_converter(self, converter: str) -> bool:
        if converter in self._rows.converters:
            return True
        less = converter in self._rows.converters_less  # what is written may be of those that have it no longer
        found = not less and self._is_written(converter)
        if not found:
            self.settle()
            found = self._is_written(converter)
        if found and self._open and not less:
            self._rows.converters.add(converter)
        return found

    def _is_written(self, converter: str) -> bool:
        return self._do.row(sql.HAS_CONVERTER, (converter,)) is not None

    def count_converters(self) -> int:
        row = self._do.row(sql.KNOWN_CONVERTERS)
        assert row is not None
        return int(row[0])

    def attempts(self, job_id: int, *, limit: int) -> list[Attempt]:
        self.settle()
        found = [rows.attempt(row) for row in self._do.rows(sql.LATEST_ATTEMPTS, (job_id, limit))]
        return found[::-1]

    def output_keys(self, job_id: int) -> list[str]:
        if self.attempts_changed:
            self.settle()
        return [row[0] for row in self._do.rows(sql.OUTPUT_KEYS, (job_id,))]

    def purge(self, *, before: int, limit: int) -> bool:
        self.forget()
        more = False
        for statement in (sql.PURGE_CLAIM_KEYS, sql.PURGE_IDEMPOTENT):
            more = self._do.change(statement, (before, limit)) == limit or more
        return more

    # --- what can be undone

    def undos(self, token: str, *, since: int, limit: int) -> list[tuple[int, str, str, int]]:
        self.settle()
        found = self._do.rows(sql.UNDOS, (token, since, limit))
        return [(job_id, was, became, at) for job_id, was, became, at in found]

    def purge_undos(self, *, before: int, limit: int) -> None:
        self._do.rows(sql.PURGE_UNDOS, (before, limit))

    def delete_undo(self, token: str, job_id: int) -> None:
        self._do.rows(sql.DELETE_UNDO, (token, job_id))

    # --- tokens

    def insert_token(self, token: Token) -> int:
        return self._do.insert(
            sql.INSERT_TOKEN,
            (
                token.name, token.hash, token.prefix, rows.encode_scopes(token.scopes), token.created_at,
                token.expires_at,
            ),
        )  # fmt: skip

    def make_token_admin(self, token: Token) -> None:
        self._do.rows(sql.MAKE_START_TOKEN, (rows.encode_scopes(frozenset({Scope.ADMIN})), token.id))

    def delete_start_tokens(self, *, but: frozenset[str]) -> None:
        for token_id, hash_ in self._do.rows(sql.START_TOKENS):
            if hash_ not in but:
                self.delete_token(token_id)

    def delete_token(self, token_id: int) -> None:
        self._do.rows(sql.DELETE_TOKEN, (token_id,))

    def forgettable_workers(self, before: int, *, limit: int) -> list[Worker]:
        self.settle()
        return [rows.worker(row) for row in self._do.rows(sql.FORGETTABLE_WORKERS, (before, before, limit))]

    def workers_of_token(self, token_id: int) -> list[str]:
        self.settle()
        return [row[0] for row in self._do.rows(sql.WORKERS_OF_TOKEN, (token_id,))]

    def touch_token(self, token_id: int, *, now: int) -> None:
        self._do.rows(sql.TOUCH_TOKEN, (now, token_id))

    # --- people

    def save_user(self, user: User) -> int:
        row = self._do.row(
            sql.SAVE_USER,
            (
                user.issuer, user.subject, user.email, user.name, rows.encode_groups(user.groups),
                int(user.is_admin), user.created_at, user.last_login_at,
            ),
        )  # fmt: skip
        assert row is not None
        return int(row[0])

    def update_user(self, user: User) -> None:
        self._do.rows(
            sql.UPDATE_USER,
            (
                user.email, user.name, rows.encode_groups(user.groups), int(user.is_admin), user.issuer,
                user.subject,
            ),
        )  # fmt: skip

    def user_of(self, issuer: str, subject: str) -> User | None:
        row = self._do.row(sql.USER_OF, (issuer, subject))
        return rows.user(row) if row else None

    def session(self, hash_: str) -> Session | None:
        row = self._do.row(sql.SESSION, (hash_,))
        return rows.session(row) if row else None

    def session_hashes(self, *, user_id: int | None = None, token_id: int | None = None) -> list[str]:
        return [row[0] for row in self._do.rows(sql.SESSION_HASHES, (user_id, token_id))]

    def insert_session(self, session: Session) -> None:
        self._do.rows(sql.INSERT_SESSION, rows.session_values(session))

    def check_session(self, hash_: str, sealed: bytes | None, *, now: int) -> None:
        self._do.rows(sql.CHECK_SESSION, (now, now, sealed, hash_))

    def touch_session(self, hash_: str, *, now: int) -> None:
        self._do.rows(sql.TOUCH_SESSION, (now, hash_))

    def delete_session(self, hash_: str) -> bool:
        return self._do.change(sql.DELETE_SESSION, (hash_,)) == 1

    def delete_sessions_of(self, user_id: int) -> int:
        return self._do.change(sql.DELETE_SESSIONS_OF_USER, (user_id,))

    def sessions_beyond(self, most: int, *, user_id: int | None, token_id: int | None, limit: int) -> list[str]:
        of_user = user_id is not None
        statement = sql.SESSIONS_BEYOND if of_user else sql.SESSIONS_OF_TOKEN_BEYOND
        found = self._do.rows(statement, (user_id if of_user else token_id, limit, most))
        return [row[0] for row in found]

    def purge_sessions(self, *, seen_before: int, now: int, limit: int) -> bool:
        idle = self._do.change(sql.PURGE_IDLE_SESSIONS, (seen_before, limit))
        over = self._do.change(sql.PURGE_EXPIRED_SESSIONS, (now, limit))
        return limit in (idle, over)

    def prune_audit(self, before: int, *, limit: int) -> bool:
        self.settle()
        return self._do.change(sql.PRUNE_AUDIT, (before, limit)) == limit

    # --- upkeep

    def pulse(self, *, now: int) -> None:
        self._do.rows(sql.PULSE, (now,))
