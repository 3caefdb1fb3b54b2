"""What the suite makes of its figures: medians, verdicts, the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import usage
from benchmarks.page import Results, judge, write_page
from benchmarks.question import Answer, Cell, Column, Figures, Question, Spread, Target, spread


def _answer(server: str, rate: float) -> Answer:
    return Answer("wide", server, {"rate": Spread(rate, rate * 0.9, rate * 1.1)})


async def _nothing(_seconds: float) -> Figures:
    return {}


def _cells(_quick: bool) -> Sequence[Cell]:
    return [Cell("wide", "ours", _nothing)]


def test_a_figure_is_the_median_of_its_runs_with_its_spread() -> None:
    """One wild run moves the spread and not the figure."""
    found = spread([{"rate": 10.0}, {"rate": 1000.0}, {"rate": 12.0}])
    assert found == {"rate": Spread(12.0, 10.0, 1000.0)}


@pytest.mark.parametrize(("rate", "met"), [(130.0, True), (129.0, False)])
def test_a_target_is_a_ratio_to_a_peer_of_the_same_workload(rate: float, met: bool) -> None:
    """It is met from exactly its number on, and has no verdict where the peer was not measured."""
    target = Target("at least 1.3 times", "wide", "rate", "peer", at_least=1.3)
    verdict = judge(target, [_answer("ours", rate), _answer("peer", 100.0)], "ours")
    assert verdict.met is met
    assert verdict.figure == pytest.approx(rate / 100)
    assert judge(target, [_answer("ours", rate)], "ours").met is None


def test_the_page_has_every_figure_and_a_chart_that_is_xml(tmp_path: Path) -> None:
    """The page says what missed its target as plainly as what met it, and charts that were there before are gone."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "old.svg").write_text("")
    question = Question(
        "fanout",
        "Fan-out",
        "What it asks.",
        [Column("rate", "a second", "more")],
        _cells,
        [Target("at least twice", "wide", "rate", "peer & co", at_least=2.0)],
    )
    answers = {"fanout": [_answer("ours", 150.0), _answer("peer & co", 100.0)]}
    results = Results("now", False, 3, 2.0, {"cores": "2"}, {"calls": "9"}, {"peer & co": "1.0"}, answers)
    page = write_page(results, [question], tmp_path, "ours").read_text()
    assert "**not met**" in page
    assert "| **ours** | 150 (135 to 165) |" in page
    (chart,) = (tmp_path / "benchmarks").glob("*.svg")
    assert f"benchmarks/{chart.name}" in page
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")


def test_usage_counts_what_a_process_and_its_children_used() -> None:
    """CPU and memory of the process that asks are above nothing, and those of no process are nothing."""
    assert usage.cpu(os.getpid()) > 0
    assert usage.resident(os.getpid()) > 1_000_000
    assert usage.cpu(2**22 + 1) == 0
