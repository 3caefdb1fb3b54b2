"""What a chaos run is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from .schedule import FaultKind
from .store import Sabotage

__all__ = ["ChaosOptions"]


class ChaosOptions(Struct, frozen=True, kw_only=True):
    """One run. The same options bring the same schedule; what the machine makes of it differs."""

    seconds: float = 60.0
    """How long faults and load last; settling comes after it, and points that have not struck yet prolong it."""
    seed: int = 1
    routing: Literal["lane", "random"] = "lane"
    kinds: frozenset[FaultKind] = frozenset()
    """The faults that happen."""
    steps: bool = False
    """Whether workers also fail behind each step of a batch, until every way was seen."""
    sabotage: Sabotage | None = None
    """A promise that is broken on purpose, to see the run notice."""
    gateways: int = 2
    workers: int = 2
    python_clients: int = 6
    typescript_clients: int = 3
    guests: int = 2
    """Users whose rights are taken away and given back."""
    rate: float = 60.0
    """Questions a second, over all clients."""
    settling: float = 90.0
    """Seconds that everybody has in the end to hear everything."""
    package: Path | None = None
    """The built folder of `@backchannel/client`; None: the one beside the sources, if it is there."""
    keep: bool = False
    """Whether the folder of logs stays also where every promise was kept."""
