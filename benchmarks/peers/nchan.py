"""Nchan: pub/sub in C, a module of nginx."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.configuration import open_files, write_configuration
from benchmarks.peers.debian_peer import DebianPeer
from benchmarks.peers.install import DEBIAN, debian_version, output
from benchmarks.peers.peer import Absent

__all__ = ["Nchan"]

_MODULE = Path("usr/lib/nginx/modules/ngx_nchan_module.so")


class Nchan(DebianPeer):
    """nginx with the module, both from Debian, since the module fits one build of nginx only."""

    name = "nchan"
    title = "Nchan"
    dialect = "nchan"
    packages = ("nginx", "libnginx-mod-nchan", "libpcre2-8-0")
    binary = "nginx"
    settings: ClassVar[Mapping[str, str]] = {
        "worker_processes": "1",
        "worker_connections": "the limit of open files",
        "access_log": "off",
        "nchan_shared_memory_size": "256M",
        "nchan_message_buffer_length": "1000",
        "nchan_subscriber_first_message": "newest",
    }
    why = (
        "Its README names shared memory and a channel's message buffer as what bounds the messages that it keeps: both "
        "are above the load; nginx's documentation advises one worker per core and no more connections than files."
    )

    def version(self) -> str:
        self._module()
        nginx = output([str(self.program()), "-v"]).rpartition("/")[2]
        version = debian_version(self.name, "libnginx-mod-nchan").rpartition(":")[2]
        return f"{re.split('[+-]', version)[0]}, nginx {nginx}"

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        file = write_configuration("nginx.conf", folder, port=port, module=self._module(), files=open_files())
        return [self.program(), "-p", folder, "-c", file, "-e", "stderr"]

    def _module(self) -> Path:
        for root in (DEBIAN / self.name, Path("/")):
            if (root / _MODULE).exists():
                return root / _MODULE
        raise Absent("Nchan's module is not here: python -m benchmarks.peers install, or install libnginx-mod-nchan")
