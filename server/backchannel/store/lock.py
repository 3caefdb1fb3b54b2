"""One process per SQLite database, enforced by the operating system."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import StoreError, StoreLocked

__all__ = ["FileLock"]


class FileLock:
    """An exclusive lock on `<database>.lock`.

    It dies with its process, however that ends, so it is never stale. The file stays, since removing it would let two
    processes lock two files of one name.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock.

        Raises:
            StoreLocked: somebody has it; the message names the process.
            StoreError: the file cannot be made.
        """
        self.path = database.with_name(database.name + ".lock")
        try:
            self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise StoreError(
                f"Cannot write {self.path}: {exc.strerror}. Use a folder that is there and that this user may write."
            ) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
            self.release()
            who = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise StoreLocked(
                f"{database} is open in {who} already, and SQLite means one process. Stop it, or name another data "
                f"folder; several processes need PostgreSQL."
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode("ascii"))

    def release(self) -> None:
        """Let go of it; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
