"""Report: what a checker found."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

from msgspec import Struct

__all__ = ["Finding", "Kind", "Report", "ToldGap"]

Kind = Literal["lost", "doubled", "out_of_order", "differing", "phantom", "forbidden", "silent", "late"]
"""How a promise was broken.

`lost`: acknowledged or stored, and not there, without a gap that says so. `doubled`: one effect twice, or one event
twice to a listener. `out_of_order`: an event behind one that follows it. `differing`: two who heard different things at
one place of a log. `phantom`: it happened although it was refused for certain, or was heard and never stored.
`forbidden`: somebody heard or did what they may not. `silent`: what must be answered was not, or twice. `late`: a bound
in time was exceeded. The last three are for who can tell: `Checker` finds the others.
"""

_ANYWHERE: frozenset[Kind] = frozenset({"forbidden", "silent", "late"})
"""What need not be about a channel."""

_SHOWN = 50


class Finding(Struct, frozen=True, kw_only=True):
    """One broken promise."""

    kind: Kind
    channel: str
    text: str
    """A sentence."""
    listener: str = ""
    """Who saw it; empty: it shows in the whole."""
    first: int = 0
    """The first offset that it is about; 0 where it is about none."""
    last: int = 0
    """The last one."""
    effect: Hashable = None

    @property
    def count(self) -> int:
        """How many events it is about."""
        return max(1, self.last - self.first + 1)

    def __str__(self) -> str:
        who = f" ({self.listener})" if self.listener else ""
        where = self.channel or ("" if self.kind in _ANYWHERE else "an unknown channel")
        return f"{self.kind}{where and f' on {where}'}{who}: {self.text}"


class ToldGap(Struct, frozen=True, kw_only=True):
    """A gap that a listener was told of."""

    listener: str
    channel: str
    epoch: str
    first: int
    last: int
    reason: str


class Report(Struct, frozen=True, kw_only=True):
    """What happened in a run, and which promises it broke."""

    sent: int
    """Effects that were asked for."""
    acknowledged: int
    """Effects that a client was told have happened."""
    refused: int
    """Effects that a client was told have not happened, for certain."""
    unknown: int
    """Effects of which a client knows neither, or never heard."""
    delivered: int
    """Events that listeners heard, over all of them, each once."""
    gaps: tuple[ToldGap, ...]
    """What listeners were told to have missed, and have not got since."""
    unverified: int
    """Acknowledged effects that nothing recorded can confirm or disprove."""
    longest_stall: float
    """Seconds from the sending of an effect to its acknowledgement, at most."""
    findings: tuple[Finding, ...]
    """Every broken promise."""

    def count(self, kind: Kind) -> int:
        """How many events a kind of finding is about."""
        return sum(finding.count for finding in self.findings if finding.kind == kind)

    @property
    def lost(self) -> int:
        """Events lost."""
        return self.count("lost")

    @property
    def doubled(self) -> int:
        """Events and effects doubled."""
        return self.count("doubled")

    @property
    def out_of_order(self) -> int:
        """Events out of order."""
        return self.count("out_of_order")

    def verify(self, *, gaps: int | None = 0) -> None:
        """Fail unless every promise was kept.

        Args:
            gaps: how many may have been told; None: any number. On a durable channel there is no need for one, and
                where gaps are not counted, answering everything with a gap would pass.

        Raises:
            AssertionError: with everything that was found.
        """
        if self.findings or (gaps is not None and len(self.gaps) > gaps):
            raise AssertionError(str(self))

    def __str__(self) -> str:
        kinds: tuple[Kind, ...] = ("lost", "doubled", "out_of_order", "differing", "phantom")
        counts = [
            f"sent {self.sent}",
            f"acknowledged {self.acknowledged}",
            f"delivered {self.delivered}",
            *(f"{kind.replace('_', ' ')} {self.count(kind)}" for kind in kinds),
            f"refused {self.refused}",
            f"unknown {self.unknown}",
            f"gaps {len(self.gaps)}",
            f"unverified {self.unverified}",
            f"longest stall {self.longest_stall:.1f} s",
        ]
        lines = [", ".join(counts), *(str(finding) for finding in self.findings[:_SHOWN])]
        lines += [
            f"gap on {gap.channel} ({gap.listener}): {gap.first} to {gap.last}, {gap.reason}"
            for gap in self.gaps[:_SHOWN]
        ]
        hidden = max(0, len(self.findings) - _SHOWN) + max(0, len(self.gaps) - _SHOWN)
        return "\n".join([*lines, *([f"… and {hidden} more"] if hidden else [])])
