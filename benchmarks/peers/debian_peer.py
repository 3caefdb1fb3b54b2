"""What the peers that Debian has share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.install import debian, program
from benchmarks.peers.peer import Absent, Peer, Progress

__all__ = ["DebianPeer"]


class DebianPeer(Peer):
    """A server out of unpacked Debian packages, or else the one that this machine has."""

    packages: ClassVar[Sequence[str]]
    """What it needs, with the libraries that not every Debian has."""
    binary: ClassVar[str]

    def install(self, progress: Progress) -> None:
        try:
            debian(self.name, self.packages, progress)
        except Absent as exc:
            try:
                self.version()
            except Absent:
                raise exc from None
        self.version()

    def program(self) -> Path:
        """The server's path. Raises `Absent` where there is none."""
        return program(self.binary, peer=self.name, package=self.packages[0])
