"""Replies of language-model judges on disk, so that no question is paid for twice: a question in, its reply out.

One SQLite file for each model, in one folder that many runs share. Each reply is committed as it comes: a killed
process loses none (a power cut may lose the last ones, never the file: WAL with synchronous=NORMAL). Several processes
may use one file at a time. Each reply carries a checksum, for SQLite itself notices no flipped bit in a text.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self  # Any: JSON values

from judging.asking.chat import Choice, Question, Reply

VERSION = 1
"""Part of each key; raise it when a reply is read from a server's JSON in another way."""

_WAIT_S = 60.0  # for another process's commit, which takes a millisecond, or its checkpoint, which waits for the disk
_CHECKSUM_BYTES = 8
_CACHE_KIB = 1024
_LOG_PAGES = 8000  # 32 MB of log between checkpoints, which wait for the disk: on a slow one for a second
_DAMAGED = {"", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_ERROR", "SQLITE_SCHEMA", "SQLITE_MISMATCH"}


class ReplyStore:
    """The stored replies of one model; use it inside `with`."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Name the store.

        Args:
            folder: Where the files lie; made where it is missing.
            identity: What replies depend on beside the question (`ChatModel.identity`).
        """
        name = hashlib.blake2b(identity.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        self.path = folder / f"{name}.sqlite"
        self._identity = identity
        self._open: sqlite3.Connection | None = None
        self._keeps = False

    def __enter__(self) -> Self:
        """Open the file, or make it; what was forgotten when it was open before goes.

        Raises:
            OSError: The folder cannot be written, or the disk is full.
            ValueError: The file is damaged.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._keeps = False
        with ExitStack() as closing, self._clear_errors():
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            closing.callback(connection.close)
            _set_up(connection, self._identity)
            closing.pop_all()  # it stays open
        self._open = connection
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def get(self, question: Question) -> Reply | None:
        """Give the stored reply; None = there is none."""
        key = hash_question(question)
        with self._clear_errors():
            row = self._connection.execute("SELECT checksum, reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        checksum, text = row
        if not isinstance(text, bytes) or checksum != _checksum(key, text):
            raise ValueError(self._damage("a reply's checksum is wrong"))
        return _read(text)

    def put(self, question: Question, reply: Reply) -> None:
        """Store a reply, in place of one to the same question.

        Raises:
            ValueError: The reply has a reason: what went wrong is never stored as done.
        """
        if reply.reason is not None:
            raise ValueError(f"a reply with a reason is not stored: {reply.reason}")
        key, text = hash_question(question), _write(reply)
        row = (key, _checksum(key, text), text)
        with self._clear_errors():
            self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)

    def forget(self, question: Question) -> None:
        """Have a stored reply removed when the store is next opened, so that its question is asked again."""
        if not self._keeps:
            with self._clear_errors():
                self._connection.execute("INSERT OR IGNORE INTO unread VALUES (?)", (hash_question(question),))

    def keep_unread(self) -> None:
        """Take back what was forgotten, and forget nothing more until the store is closed.

        A budget is spent. Were the unreadable replies that it bought removed, the next run would buy them again before
        anything else, and with a budget below their number no run would ever come further.
        """
        if not self._keeps:
            self._keeps = True
            with self._clear_errors():
                self._connection.execute("DELETE FROM unread")

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise RuntimeError("the store of replies is closed: use it inside `with store:`")
        return self._open

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Say which file is in trouble, and what to do about it."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")  # none where Python itself cannot decode a value
            if "_".join(name.split("_")[:2]) in _DAMAGED:
                raise ValueError(self._damage(str(error))) from error
            if name.startswith("SQLITE_BUSY"):
                advice = f"another process has held it for {_WAIT_S:g} s: wait for its end"
            else:
                advice = "make room on the disk, or let this user write into the folder"
            raise OSError(f"the store of replies {self.path} cannot be used ({error}): {advice}") from error

    def _damage(self, why: str) -> str:
        return (
            f"the store of replies {self.path} is damaged ({why}): remove it, with its -wal and -shm, and run again; "
            "its replies are asked for anew"
        )


def hash_question(question: Question) -> bytes:
    """Give 16 bytes that stand for everything in a question, and for how replies are read."""
    parts = {field.name: getattr(question, field.name) for field in fields(question)}  # asdict would copy the texts
    text = json.dumps([VERSION, parts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _set_up(connection: sqlite3.Connection, identity: str) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute("CREATE TABLE IF NOT EXISTS model (identity TEXT PRIMARY KEY)")
    connection.execute("CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, checksum BLOB, reply BLOB)")
    connection.execute("CREATE TABLE IF NOT EXISTS unread (key BLOB PRIMARY KEY)")
    connection.execute("DELETE FROM replies WHERE key IN (SELECT key FROM unread)")
    connection.execute("DELETE FROM unread")
    connection.execute("INSERT OR IGNORE INTO model VALUES (?)", (json.dumps(identity),))  # for people who look


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite's own waiting leaves out two processes that make the file at once."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _checksum(key: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(key + text, digest_size=_CHECKSUM_BYTES).digest()


def _write(reply: Reply) -> bytes:
    choices = [[choice.text, choice.finish_reason, choice.logprobs] for choice in reply.choices]
    return json.dumps([choices, reply.n_tokens_in, reply.n_tokens_out, reply.cost], separators=(",", ":")).encode()


def _read(text: bytes) -> Reply:
    parts: list[Any] = json.loads(text)
    choices, n_tokens_in, n_tokens_out, cost = parts
    return Reply([Choice(*choice) for choice in choices], None, "", n_tokens_in, n_tokens_out, cost)
