"""Mosquitto: an MQTT broker in C."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.configuration import write_configuration
from benchmarks.peers.debian_peer import DebianPeer
from benchmarks.peers.install import DEBIAN, output
from benchmarks.peers.peer import Absent

__all__ = ["Mosquitto"]


class Mosquitto(DebianPeer):
    """Debian's build: listeners over WebSocket, publishers over TCP on the next port."""

    name = "mosquitto"
    title = "Mosquitto"
    dialect = "mqtt"
    packages = ("mosquitto", "libcjson1", "libdlt2", "libmosquitto1", "libwrap0", "libnsl2", "libtirpc3")
    binary = "mosquitto"
    settings: ClassVar[Mapping[str, str]] = {
        "allow_anonymous": "true",
        "persistence": "false",
        "set_tcp_nodelay": "true",
        "sys_interval": "0",
        "connection_messages": "false",
        "log_type": "error",
    }
    why = (
        "mosquitto.conf(5) gives set_tcp_nodelay for lower latency; the rest turns off what the question does not ask "
        "for: logins, files, statistics and a log line per connection."
    )
    path = None
    ports = 2

    def version(self) -> str:
        binary = self.program()
        missing = re.findall(r"(\S+) => not found", output(["ldd", str(binary)], variables=self.variables()))
        if missing:
            raise Absent(f"mosquitto lacks {', '.join(missing)}: install mosquitto your system's way")
        # Asked for help, it ends with an error of its own.
        said = output(["sh", "-c", '"$1" -h || true', "sh", str(binary)], variables=self.variables())
        found = re.search(r"version (\S+)", said)
        if found is None:
            raise Absent(f"mosquitto does not tell its version: {said[:200]}")
        return found.group(1)

    def command(self, port: int, folder: Path) -> Sequence[str | Path]:
        return [self.program(), "-c", write_configuration("mosquitto.conf", folder, port=port)]

    def variables(self) -> Mapping[str, str]:
        libraries = DEBIAN / self.name / "usr" / "lib"
        return {"LD_LIBRARY_PATH": str(libraries / f"{platform.machine()}-linux-gnu")} if libraries.exists() else {}
