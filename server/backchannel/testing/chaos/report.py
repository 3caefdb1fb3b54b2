"""ChaosReport: what a run found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..report import Finding, Kind, ToldGap

__all__ = ["ChaosReport", "counts_of", "told"]

_SHOWN = 40


class ChaosReport(Struct, frozen=True, kw_only=True):
    """What happened in a run, and which promises were broken."""

    seed: int
    routing: str
    seconds: float
    """How long load and faults lasted."""
    settled: float
    """Seconds that it took afterwards until everybody had heard everything; negative: it never came to that."""
    sabotage: str | None
    faults: dict[str, int]
    """How often each fault happened."""
    points: dict[str, int]
    """How often a worker failed behind which step of a batch, and how: `written/crash`."""
    sent: int
    """Commands."""
    acknowledged: int
    """Commands that a client was told have happened."""
    unknown: int
    """Commands whose outcome no client knows."""
    unverified: int
    """Acknowledged commands that nothing recorded can confirm or disprove."""
    delivered: int
    """Events of durable channels that listeners heard, over all of them."""
    delivered_live: int
    """The same of live channels."""
    counts: dict[Kind, int]
    """Broken promises by kind, in events."""
    refused: dict[str, int]
    """Refusals by code; a command that was asked again may count more than once."""
    gaps: int
    """Gaps on durable channels that were told and that nothing filled: there must be none."""
    gaps_live: int
    """The same on live channels, which may have them."""
    longest_stall: float
    """Seconds from the sending of a command to its acknowledgement, at most."""
    slowest_revocation: float
    """Seconds that a revoked right outlived its end on an open connection, at most."""
    slowest_exit: float
    """Seconds from SIGTERM to the end of a process, at most."""
    longest_silence: float
    """Seconds that a client heard nothing while everything was restarted in turn, at most."""
    connections: int
    """Connections that the Python clients opened."""
    restarts: int
    """How often gateways and workers were started beyond the first time."""
    deaths: tuple[str, ...]
    """Processes that ended and that nobody had ended."""
    typescript: bool
    """Whether clients of the TypeScript library took part."""
    findings: tuple[str, ...]
    """Every broken promise, as a sentence."""
    logs: str = ""
    """The folder of the logs, kept where a promise was broken or a process ended by itself; empty: it is gone."""

    @property
    def lost(self) -> int:
        """Events and commands lost."""
        return self.counts.get("lost", 0)

    @property
    def doubled(self) -> int:
        """Events and commands doubled."""
        return self.counts.get("doubled", 0)

    @property
    def out_of_order(self) -> int:
        """Events out of order."""
        return self.counts.get("out_of_order", 0)

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not self.findings and not self.gaps and self.settled >= 0

    def verify(self) -> None:
        """Fail unless every promise was kept.

        Raises:
            AssertionError: with everything that was found.
        """
        if not self.kept:
            raise AssertionError(str(self))

    def lines(self) -> Sequence[tuple[str, str]]:
        """Names and values, as people read them."""
        return [
            ("acknowledged", f"{self.acknowledged} of {self.sent} commands, {self.unknown} unknown"),
            ("delivered", f"{self.delivered} durable events, {self.delivered_live} live"),
            ("lost", str(self.lost)),
            ("doubled", str(self.doubled)),
            ("out of order", str(self.out_of_order)),
            *((kind, str(self.counts[kind])) for kind in _OTHERS if self.counts.get(kind)),
            ("gaps", f"{self.gaps} durable, {self.gaps_live} live"),
            ("refused", ", ".join(f"{code} {count}" for code, count in self.refused.items()) or "none"),
            ("longest stall", f"{self.longest_stall:.1f} s"),
            ("settled", f"after {self.settled:.1f} s" if self.settled >= 0 else "never"),
            ("faults", ", ".join(f"{kind} {count}" for kind, count in self.faults.items()) or "none"),
            *([("points", ", ".join(f"{point} {count}" for point, count in self.points.items()))] * bool(self.points)),
            (
                "bounds",
                f"right ended {self.slowest_revocation:.1f} s, exit {self.slowest_exit:.1f} s, silence "
                f"{self.longest_silence:.1f} s",
            ),
            ("processes", f"{self.restarts} restarts; ended by themselves: {', '.join(self.deaths) or 'none'}"),
            ("clients", f"{self.connections} connections, {'with' if self.typescript else 'without'} TypeScript"),
        ]

    def __str__(self) -> str:
        """The lines, then what was found."""
        found = [f"{name:<14}{value}" for name, value in self.lines()]
        found += self.findings[:_SHOWN]
        if (hidden := len(self.findings) - _SHOWN) > 0:
            found.append(f"… and {hidden} more")
        if self.logs:
            found.append(f"Logs: {self.logs}")
        return "\n".join(found)


_OTHERS: Sequence[Kind] = ("differing", "phantom", "forbidden", "silent", "late")


def counts_of(findings: Sequence[Finding]) -> dict[Kind, int]:
    """How many events each kind of finding is about."""
    counts: dict[Kind, int] = {}
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
    return counts


def told(gap: ToldGap) -> str:
    """A gap as a sentence."""
    return f"gap on {gap.channel} ({gap.listener}): {gap.first} to {gap.last} did not come, {gap.reason}"
