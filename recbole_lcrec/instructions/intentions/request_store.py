"""A store for the answers of a language model, each on disk as soon as it is complete."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from recbole_lcrec.instructions.intentions.questions import Messages
from recbole_lcrec.runtime.errors import RunAborted
from recbole_lcrec.runtime.fingerprints import fingerprint

__all__ = ["RequestStore", "request_key"]

_BUSY_SECONDS = 60.0
"""Seconds to wait while another process writes to the same file."""


def request_key(model: str, base_url: str | None, messages: Messages, max_tokens: int) -> str:
    """Return the key of a request: 64 hexadecimal digits over everything that its answer depends on."""
    return fingerprint({"model": model, "base_url": base_url, "messages": messages, "max_tokens": max_tokens})


class RequestStore:
    """Answers by key in an SQLite file; each is on disk before :meth:`put` returns.

    Threads can share a store, and processes can share a file. The file must be on a local disk, because its write-ahead
    log needs shared memory.

    Args:
        path: the file; created with its folder if it does not exist.

    Raises:
        ValueError: the file is not a store or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                with self._connection:
                    self._connection.execute(
                        "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
                    )
                self._connection.execute("SELECT key, answer FROM answers LIMIT 1").fetchall()
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as err:
            raise ValueError(
                f"{path} cannot be used to keep answers ({err}); move it away, or make its folder writable"
            ) from err

    def get(self, key: str) -> str | None:
        """Return the answer for a key, None if there is none."""
        with self._lock:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, answer: str) -> None:
        """Write an answer to disk; the first answer for a key stays.

        Raises:
            RunAborted: It cannot be written, for example because the disk is full.
        """
        try:
            with self._lock, self._connection:
                self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, answer))
        except sqlite3.Error as err:
            raise RunAborted(f"an answer cannot be written to {self._path} ({err})") from err

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
