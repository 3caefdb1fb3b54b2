"""Chaos: a load on real processes that get killed, stopped and restarted, and a checker that says what came of it.

`backchannel chaos` runs it; `docs/howto/chaos.md` shows how to run it on handlers of one's own.
"""

from __future__ import annotations

from .options import ChaosOptions
from .report import ChaosReport
from .runner import Progress, run_chaos
from .schedule import ALL, GROUPS, PROCESS_FAULTS, chosen
from .store import SABOTAGE
from .workload import Asked, Execute, LoggedEvent, RightsChange, Workload

__all__ = [
    "ALL",
    "GROUPS",
    "PROCESS_FAULTS",
    "SABOTAGE",
    "Asked",
    "ChaosOptions",
    "ChaosReport",
    "Execute",
    "LoggedEvent",
    "Progress",
    "RightsChange",
    "Workload",
    "chosen",
    "run_chaos",
]
