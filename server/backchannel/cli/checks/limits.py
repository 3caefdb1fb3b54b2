"""Whether the operating system gives as much as the settings promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...settings import Settings
from .finding import Finding, failed, fine, warning

__all__ = ["check_limits"]

# Beside its connections: the database with its readers, logs, the event loops.
_OTHER_FILES: Final = 128

# What the server asks `listen` for.
_BACKLOG: Final = 4096

_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")


def check_limits(
    settings: Settings, *, open_files: int | None = None, somaxconn: int | None = None
) -> Iterator[Finding]:
    """What this process was given; a server that a service manager starts may be given something else."""
    files = _open_files() if open_files is None else open_files
    if files is None:
        yield fine("this system has no limit of open files to look at")
    else:
        yield _files(files, settings)
    backlog = _somaxconn() if somaxconn is None else somaxconn
    if backlog is not None and backlog < _BACKLOG:
        yield warning(
            f"{backlog} connections may wait to be accepted; when a server restarts, its clients come back at once",
            f"sysctl -w net.core.somaxconn={_BACKLOG}, and the same in /etc/sysctl.d.",
        )
    elif backlog is not None:
        yield fine(f"{backlog} connections may wait to be accepted")


def _files(files: int, settings: Settings) -> Finding:
    connections = max(0, files - _OTHER_FILES)
    text = f"{files} files may be open, which is enough for about {connections} connections"
    cure = "ulimit -n 65536 before it starts, or LimitNOFILE=65536 in its systemd unit."
    if connections < settings.connections_per_user:
        return failed(f"{text}; one user alone may hold {settings.connections_per_user}", cure)
    if connections < settings.connections_per_address:
        return warning(f"{text}; connections_per_address allows {settings.connections_per_address}", cure)
    return fine(text)


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 62 if soft == resource.RLIM_INFINITY else soft


def _somaxconn() -> int | None:
    try:
        return int(_SOMAXCONN.read_text())
    except (OSError, ValueError):
        return None
