"""Whether the database is there, whole, up to date, and on a disk with room."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...settings import Settings
from .finding import Finding, failed, fine, warning
from .postgres import check_postgres
from .tables import check_tables

if TYPE_CHECKING:
    from ...app import Migrations

__all__ = ["check_database"]

# SQLite's own check reads all of the file; nobody waits longer than this for it, in seconds.
_PATIENCE: Final = 10.0
_INSTRUCTIONS: Final = 100_000

_FULL: Final = 100 * 2**20
_SCARCE: Final = 2**30

# Where locks and shared memory do not work between the machines that mount them.
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})


def check_database(settings: Settings, migrations: Sequence[Migrations]) -> Iterator[Finding]:
    """PostgreSQL, or the SQLite file of the settings. Nothing is changed, also where a server has it open."""
    if settings.postgres:
        yield from check_postgres(settings, migrations)
        return
    folder, path = settings.data_folder, settings.database
    yield from _folder(folder)
    if not path.exists():
        yield fine(f"there is no {path} yet: the server makes it")
        return
    if not os.access(path, os.R_OK | os.W_OK):
        yield failed(
            f"{path} cannot be read and written by this user", f"chown it, or run the server as {_owner(path)}."
        )
        return
    yield from _holder(path)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            yield from _inside(connection, path, migrations)
    except sqlite3.DatabaseError as exc:
        damaged = getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
        yield failed(f"{path} {'is damaged' if damaged else 'cannot be read'}: {exc}", _RESTORE)


_RESTORE: Final = (
    "Stop the server, keep the file aside, put your last copy in its place, then `backchannel migrate --new-epoch`."
)


def _folder(folder: Path) -> Iterator[Finding]:
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        yield failed(f"{existing} is no folder", "Name another data folder with --data.")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        yield failed(f"{existing} cannot be written by this user", "chown it, or name another data folder with --data.")
    free = shutil.disk_usage(existing).free
    text = f"{free / 2**30:.1f} GiB are free for {folder}"
    if free < _FULL:
        yield failed(text, "Make room: without it no command is accepted.")
    elif free < _SCARCE:
        yield warning(text, "Make room, or move the data folder to a larger disk.")
    else:
        yield fine(text)
    if (kind := _file_system(existing)) in _REMOTE:
        yield failed(f"{folder} is on {kind}, a file system of another machine", "SQLite needs a disk of this machine.")


def _file_system(folder: Path) -> str:
    with suppress(Exception):
        import psutil

        places = {Path(part.mountpoint): str(part.fstype) for part in psutil.disk_partitions(all=True)}
        return next(places[place] for place in (folder, *folder.parents) if place in places)
    return ""


def _owner(path: Path) -> str:
    with suppress(Exception):
        return path.owner()
    return "its owner"


def _holder(path: Path) -> Iterator[Finding]:
    """Who has the database open: a server, which locks `<database>.lock` for as long as it runs."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    lock = path.with_name(path.name + ".lock")
    if not lock.exists():
        yield fine("no server has it open")
        return
    with lock.open("rb") as file:
        try:
            # Shared, and for a moment: it tells whether somebody has it, without being in anybody's way.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield fine(f"process {file.read(32).decode('ascii', 'replace').strip() or 'unknown'} has it open")
        else:
            yield fine("no server has it open")


def _inside(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migrations]) -> Iterator[Finding]:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal":
        yield fine(f"{path} ({path.stat().st_size / 2**20:.1f} MiB) is in WAL mode")
    else:
        yield warning(f"{path} is in mode {mode}, not WAL", "The server changes that when it starts.")
    yield from _intact(connection, path)
    from ...store.sqlite_connection import engine_over

    with engine_over(connection).connect() as alchemy:
        yield from check_tables(alchemy, migrations)


def _intact(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    until = time.monotonic() + _PATIENCE
    connection.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        yield warning(
            f"its integrity was not checked within {_PATIENCE:g} s",
            f"Take time for `sqlite3 {path} 'PRAGMA quick_check'`.",
        )
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found == ["ok"]:
        yield fine("its integrity is checked")
    else:
        yield failed(f"it is damaged: {'; '.join(found)}", _RESTORE)
