"""Wrapped keys in an SQLite file, and the master key that wraps them in a file beside it."""

import contextlib
import os
import sqlite3
from pathlib import Path

from events.sealing import KeyRing


class BrokenKeyFile(Exception):
    """The master key's file does not hold a key; nothing sealed under it can be read without it."""


class SqliteKeyStore:
    """A KeyStore for one machine. Every put is on disk when it returns; processes may share the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS keys (subject TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID")
        path.chmod(0o600)

    def get(self, subject: str) -> bytes | None:
        row = self._connection.execute("SELECT wrapped FROM keys WHERE subject = ?", (subject,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_if_absent(self, subject: str, wrapped: bytes) -> bytes:
        self._connection.execute("INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING", (subject, wrapped))
        kept = self.get(subject)
        if kept is None:
            raise sqlite3.IntegrityError(f"the key of {subject} was not kept")
        return kept

    def close(self) -> None:
        self._connection.close()


def secret_file(path: Path, length: int = 32) -> bytes:
    """The secret in a file, drawn on first use. Readable by its owner only; two processes that race agree on one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, os.urandom(length))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    secret = path.read_bytes()
    if len(secret) != length:
        raise BrokenKeyFile(f"{path} has {len(secret)} bytes, not {length}; restore it from its backup")
    return secret


def open_key_ring(wrapping_key_file: Path) -> tuple[KeyRing, SqliteKeyStore]:
    """The key ring of a local installation. Raises BrokenKeyFile."""
    store = SqliteKeyStore(wrapping_key_file.with_name("wrapped.sqlite"))
    return KeyRing(secret_file(wrapping_key_file), store), store
