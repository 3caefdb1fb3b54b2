"""The schedule: which fault happens when, by a seed. Pure; `faults` carries it out."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Final, Literal, get_args

from msgspec import Struct

__all__ = ["ALL", "GROUPS", "PROCESS_FAULTS", "Fault", "FaultKind", "chosen", "schedule"]

FaultKind = Literal[
    "kill_gateway",
    "stop_gateway",
    "kill_worker",
    "stop_worker",
    "empty_redis",
    "pause_redis",
    "restart_postgres",
    "crash_postgres",
    "cut_clients",
    "slow_readers",
    "revoke_right",
    "revoke_token",
    "roll",
]
"""SIGKILL, and SIGSTOP for a while, of a gateway or a worker; Redis killed and restarted empty, and stopped for a
while; PostgreSQL restarted in order, and as after a power failure; clients' sockets cut; clients that do not read for a
while; a right, and a user's tokens, taken away; a rolling restart of every gateway and worker by SIGTERM."""

PROCESS_FAULTS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

GROUPS: Final[dict[str, tuple[FaultKind, ...]]] = {
    "processes": ("kill_gateway", "stop_gateway", "kill_worker", "stop_worker"),
    "redis": ("empty_redis", "pause_redis"),
    "postgres": ("restart_postgres", "crash_postgres"),
    "clients": ("cut_clients", "slow_readers"),
    "rights": ("revoke_right", "revoke_token"),
    "roll": ("roll",),
}
"""Faults by the names that `--faults` takes, beside each by its own; `steps` are the points within a batch."""

ALL: Final = (*GROUPS, "steps")

# How long each lasts, in seconds: shorter and longer than the second or three in which the parts miss each other.
_LASTS: Final[dict[FaultKind, tuple[float, float]]] = {
    "kill_gateway": (0.1, 1.5),
    "stop_gateway": (0.5, 6.0),
    "kill_worker": (0.1, 1.5),
    "stop_worker": (0.5, 6.0),
    "empty_redis": (0.1, 2.0),
    "pause_redis": (0.5, 6.0),
    "restart_postgres": (0.0, 0.0),
    "crash_postgres": (0.0, 0.0),
    "cut_clients": (0.0, 0.0),
    "slow_readers": (1.0, 4.0),
    "revoke_right": (0.5, 2.0),
    "revoke_token": (0.0, 0.0),
    "roll": (0.0, 0.0),
}
# Seconds between the beginnings of two faults, on average: most of them overlap with the next.
_PAUSE: Final = 2.5


class Fault(Struct, frozen=True):
    """One fault."""

    kind: FaultKind
    after: float
    """Seconds since the fault before it began, or ended if that one stands alone."""
    lasts: float
    """For how long, where that is a choice."""
    which: float
    """In [0, 1): chooses whom it befalls."""

    @property
    def alone(self) -> bool:
        """Whether nothing else may happen while it lasts."""
        return self.kind == "roll"


def chosen(names: Collection[str]) -> tuple[set[FaultKind], bool]:
    """The kinds of fault that these names mean, and whether the points within a batch are among them.

    Args:
        names: groups, kinds, `steps`, or `all`.

    Raises:
        ValueError: a name means nothing; the message lists those that do.
    """
    kinds: set[FaultKind] = set()
    for name in names:
        if name == "all":
            kinds.update(PROCESS_FAULTS)
        elif name in GROUPS:
            kinds.update(GROUPS[name])
        elif name in PROCESS_FAULTS:
            kinds.add(name)
        elif name != "steps":
            known = ", ".join([*ALL, "all", *PROCESS_FAULTS])
            raise ValueError(f"There is no fault {name!r}; there are: {known}.")
    return kinds, "steps" in names or "all" in names


def schedule(seed: int, kinds: Collection[FaultKind], seconds: float) -> Iterator[Fault]:
    """Faults without end, the same for the same seed.

    Every kind comes once before any comes again, and all of them begin within `seconds`. A rolling restart comes last,
    for it takes as long as it takes: its bounds are measured, so nothing else happens meanwhile.
    """
    if not kinds:
        return
    chance = random.Random(f"schedule {seed}")  # noqa: S311  # it shall be the same again
    deck: list[FaultKind] = sorted(kinds)
    pause = min(_PAUSE, 0.6 * seconds / len(deck))
    while True:
        chance.shuffle(deck)
        deck.sort(key=lambda kind: kind == "roll")
        for kind in deck:
            yield Fault(
                kind=kind,
                after=pause * chance.uniform(0.5, 1.5),
                lasts=chance.uniform(*_LASTS[kind]),
                which=chance.random(),
            )
