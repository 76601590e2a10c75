"""Finished answers of a language model, kept one by one in a file that survives a kill.

Knows keys and answers. Refuses to know who asks whom, and what about.
"""

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
"""How long to wait for another process that writes to the same file."""


def request_key(model: str, base_url: str | None, messages: Messages, max_tokens: int) -> str:
    """The key of a request: 64 hexadecimal digits over all that its answer depends on."""
    return fingerprint({"model": model, "base_url": base_url, "messages": messages, "max_tokens": max_tokens})


class RequestStore:
    """Answers by key in an SQLite file; each is on disk before :meth:`put` returns.

    Threads may share one store, and several processes one file. The file must lie on a local disk: its write-ahead log
    needs memory that the processes share.

    Args:
        path: the file; made, with its folder, where it does not exist.

    Raises:
        ValueError: the file is no store or cannot be opened.
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
        """The answer kept under the key, None where there is none."""
        with self._lock:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: str, answer: str) -> None:
        """Keeps an answer, on disk when this returns; the first answer under a key stays.

        Raises:
            RunAborted: it cannot be written, as on a full disk.
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
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
