"""The report of a chaos run: what fails it, and what it shows."""

from __future__ import annotations

import msgspec
import pytest

from backchannel.testing import Finding
from backchannel.testing.chaos import ChaosReport
from backchannel.testing.chaos.report import counts_of


def report(**changes: object) -> ChaosReport:
    """A report of a run in which all went well, but for these."""
    sound = ChaosReport(
        seed=1,
        routing="lane",
        seconds=60.0,
        settled=2.0,
        sabotage=None,
        faults={"roll": 1},
        points={},
        sent=10,
        acknowledged=9,
        unknown=0,
        unverified=0,
        delivered=90,
        delivered_live=9,
        counts={},
        refused={"forbidden": 1},
        gaps=0,
        gaps_live=3,
        longest_stall=1.5,
        slowest_revocation=0.2,
        slowest_exit=2.1,
        longest_silence=0.4,
        connections=20,
        restarts=4,
        deaths=(),
        typescript=True,
        findings=(),
    )
    return msgspec.structs.replace(sound, **changes)


def test_a_run_without_findings_passes_and_live_gaps_do_not_count() -> None:
    """Live channels may tell gaps."""
    report().verify()


@pytest.mark.parametrize("changes", [{"findings": ("lost on x: y",)}, {"gaps": 1}, {"settled": -1.0}], ids=str)
def test_whatever_breaks_a_promise_fails_it(changes: dict[str, object]) -> None:
    """A finding, a gap on a durable channel, somebody who never heard everything."""
    with pytest.raises(AssertionError):
        report(**changes).verify()


def test_what_is_found_is_counted_in_events() -> None:
    """A finding about a run of offsets counts each."""
    findings = [
        Finding(kind="lost", channel="a:b", text="", first=3, last=7),
        Finding(kind="late", channel="", text=""),
    ]
    assert counts_of(findings) == {"lost": 5, "late": 1}
    shown = str(report(counts=counts_of(findings), findings=("lost on a:b",), logs="/logs"))
    assert "lost          5" in shown
    assert "late          1" in shown
    assert shown.endswith("lost on a:b\nLogs: /logs")


def test_a_finding_names_its_channel_where_it_is_about_one() -> None:
    """A bound in time, or an answer that never came, need not be."""
    assert str(Finding(kind="late", channel="", listener="bob", text="It took long.")) == "late (bob): It took long."
    assert str(Finding(kind="silent", channel="a:b", text="Nothing came.")) == "silent on a:b: Nothing came."
    assert str(Finding(kind="lost", channel="", text="It is gone.")) == "lost on an unknown channel: It is gone."


def test_it_is_json() -> None:
    """For programs: all of it, and back."""
    assert msgspec.json.decode(msgspec.json.encode(report()), type=ChaosReport) == report()
