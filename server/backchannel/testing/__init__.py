"""The public test kit: an installation in one event loop, on virtual time, with faults to inject and a checker.

`docs/howto/testing.md` shows how it is used.
"""

from __future__ import annotations

from .checker import Checker
from .client import SandboxClient
from .faults import Fault
from .life import KillPoint
from .link import Link
from .listener import Listener
from .loop import Stuck, VirtualLoop, run
from .report import Finding, Report
from .sandbox import Sandbox
from .sandboxed import sandboxed
from .watch import Watch, ask, watch
from .wire import Frame, Wire

__all__ = [
    "Checker",
    "Fault",
    "Finding",
    "Frame",
    "KillPoint",
    "Link",
    "Listener",
    "Report",
    "Sandbox",
    "SandboxClient",
    "Stuck",
    "VirtualLoop",
    "Watch",
    "Wire",
    "ask",
    "run",
    "sandboxed",
    "watch",
]
