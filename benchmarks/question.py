"""A question: what is asked of which servers, and how the answers are compared."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

__all__ = ["BUSY", "OWN", "Answer", "Cell", "Column", "Figures", "Question", "Spread", "Target", "spread"]

OWN: Final = "Backchannel"
"""What we are called in tables."""

BUSY: Final = "generator"
"""The figure of every cell that is no column: the share of the time in which the generator had something to do."""

Figures = Mapping[str, float]
"""What one run of a cell measured, by column."""


class Column(NamedTuple):
    """One figure."""

    name: str
    unit: str
    better: Literal["more", "less"]


class Cell(NamedTuple):
    """One server under one workload. `run` starts it anew and measures for so many seconds."""

    workload: str
    server: str
    run: Callable[[float], Awaitable[Figures]]


class Target(NamedTuple):
    """What one of our figures must be, as a ratio to another's in the same run, or by itself."""

    text: str
    workload: str
    column: str
    peer: str | None
    """Whose figure it is divided by; None: it stands by itself."""
    at_least: float | None = None
    at_most: float | None = None
    server: str = OWN
    """Whose figure it is."""
    difference: bool = False
    """The peer's figure is taken off instead."""


class Question(NamedTuple):
    """One question and the file that asks it."""

    name: str
    title: str
    text: str
    columns: Sequence[Column]
    cells: Callable[[bool], Sequence[Cell]]
    """What is asked; True: only what is quick."""
    targets: Sequence[Target] = ()
    seconds: float = 1.5


class Spread(Struct, frozen=True):
    """The runs of one figure."""

    median: float
    least: float
    most: float


class Answer(Struct):
    """The figures of one cell over all runs."""

    workload: str
    server: str
    figures: dict[str, Spread]


def spread(runs: Sequence[Figures]) -> dict[str, Spread]:
    """Median, least and most of each figure that every run has."""
    names = set(runs[0]).intersection(*runs[1:]) if runs else set()
    found = {name: [run[name] for run in runs] for name in runs[0] if name in names} if runs else {}
    return {name: Spread(statistics.median(values), min(values), max(values)) for name, values in found.items()}
