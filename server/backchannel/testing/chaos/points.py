"""Fault points: the places within a batch where a worker can be made to fail, and how a run orders it.

The run arms one point at a time as a file; whichever worker renames it first takes it, and renames it again when it
strikes. So nothing is lost when that worker dies of it, and the product needs no hooks.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Final, Literal, get_args

from msgspec import Struct

__all__ = ["POINTS", "Blow", "Point", "Points", "Step", "Strike"]

Step = Literal["locked", "looked_up", "handled", "written", "committed"]
"""Behind which step of a batch: its lanes are locked; its keys are looked up; its handlers ran and nothing is written;
everything is written; it is committed and nobody is told."""

Blow = Literal["crash", "stop", "lost"]
"""What happens there: the process kills itself; it stops, and is let go on later; the connection to the database is
lost. Behind `written` and `committed` that is the answer to the commit, which did not count, or did."""


class Point(Struct, frozen=True, order=True):
    """A step and what befalls it."""

    step: Step
    blow: Blow

    def __str__(self) -> str:
        return f"{self.step}/{self.blow}"


POINTS: Final = tuple(Point(step, blow) for step, blow in itertools.product(get_args(Step), get_args(Blow)))
"""All of them."""


class Strike(Struct, frozen=True):
    """A point that has struck."""

    number: int
    point: Point
    pid: int


class Points:
    """The folder in which points are armed, taken and told. For the run and for its workers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed = folder / "armed"
        self._number = itertools.count(1)

    # The run's side

    def arm(self, point: Point) -> None:
        """Let the next transaction that comes to this point fail there. One is armed at a time."""
        draft = self._folder / "draft"
        draft.write_text(f"{next(self._number)} {point.step} {point.blow}")
        draft.rename(self._armed)

    def disarm(self) -> None:
        """Take back what was armed and nobody has taken."""
        self._armed.unlink(missing_ok=True)

    def waiting(self) -> bool:
        """Whether a point is armed, or taken by a process that lives and has not struck yet."""
        if self._armed.exists():
            return True
        for taken in self._folder.glob("taken-*"):
            if _alive(int(taken.name.removeprefix("taken-"))):
                return True
            taken.unlink(missing_ok=True)
        return False

    def strikes(self) -> list[Strike]:
        """What has struck so far, oldest first."""
        found = []
        for path in self._folder.glob("struck-*"):
            _, number, step, blow, pid = path.name.split("-")
            found.append(Strike(int(number), Point(step, blow), int(pid)))  # type: ignore[arg-type]
        return sorted(found, key=lambda strike: strike.number)

    # The worker's side

    def take(self) -> Point | None:
        """The point that is armed, which is this process's from now on."""
        taken = self._taken()
        try:
            self._armed.rename(taken)
        except FileNotFoundError:
            return None
        _, step, blow = taken.read_text().split()
        return Point(step, blow)  # type: ignore[arg-type]

    def give_back(self) -> None:
        """The transaction never came to the point: another may."""
        self._taken().rename(self._armed)

    def strike(self) -> None:
        """It strikes now: told before it happens, since nobody may be left to tell."""
        taken = self._taken()
        number, step, blow = taken.read_text().split()
        taken.rename(self._folder / f"struck-{number}-{step}-{blow}-{os.getpid()}")

    def _taken(self) -> Path:
        return self._folder / f"taken-{os.getpid()}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A child that has ended and was not waited for yet still has its number.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
