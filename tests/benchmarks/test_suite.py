"""What the suite makes of its figures: medians, verdicts, the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from benchmarks import usage
from benchmarks.__main__ import QUESTIONS
from benchmarks.native import Result
from benchmarks.page import write_page
from benchmarks.plot import bars, short
from benchmarks.question import BUSY, OWN, Answer, Cell, Column, Figures, Question, Spread, Target, spread
from benchmarks.verdict import PeerFound, Results, judge, verdicts

PEER = "peer & co"


def _answer(server: str, rate: float, **more: float) -> Answer:
    figures = {"rate": Spread(rate, rate * 0.9, rate * 1.1)}
    return Answer("wide", server, figures | {name: Spread(value, value, value) for name, value in more.items()})


async def _nothing(_seconds: float) -> Figures:
    return {}


def _cells(_quick: bool) -> Sequence[Cell]:
    return [Cell("wide", OWN, _nothing)]


def _question(*targets: Target) -> Question:
    return Question("fanout", "Fan-out", "What it asks.", [Column("rate", "a second", "more")], _cells, targets)


def _results(*answers: Answer, present: bool = True) -> Results:
    return Results(
        when="now",
        quick=False,
        runs=3,
        stretch=1.0,
        machine={"cores": "2"},
        settings={"calls": "9"},
        peers={PEER: PeerFound("Peer & Co", "1.0", {"compression": "off"}, "It says so.", present)},
        self_test=Result(mode="self-test", dialect="floor", join=64, deliveries_per_second=9.5e6, times_the_floor=60.0),
        answers={"fanout": list(answers)},
        failed=["fanout, wide, other (it was not there)"],
    )


def test_a_figure_is_the_median_of_its_runs_with_its_spread() -> None:
    """One wild run moves the spread and not the figure."""
    found = spread([{"rate": 10.0}, {"rate": 1000.0}, {"rate": 12.0}])
    assert found == {"rate": Spread(12.0, 10.0, 1000.0)}


@pytest.mark.parametrize(("rate", "met"), [(130.0, True), (129.0, False)])
def test_a_target_is_a_ratio_to_a_peer_of_the_same_workload(rate: float, met: bool) -> None:
    """It is met from exactly its number on."""
    target = Target("at least 1.3 times", "wide", "rate", PEER, at_least=1.3)
    verdict = judge(target, _results(_answer(OWN, rate), _answer(PEER, 100.0)), _question())
    assert verdict.met is met
    assert verdict.figure == pytest.approx(rate / 100)


def test_a_target_may_be_a_difference_between_two_of_our_own() -> None:
    """What one installation adds to another is what is taken off, not a ratio."""
    target = Target("at most 0.6 more", "wide", "rate", OWN, at_most=0.6, server="many", difference=True)
    verdict = judge(target, _results(_answer(OWN, 0.4), _answer("many", 0.9)), _question())
    assert verdict.figure == pytest.approx(0.5)
    assert verdict.met is True


def test_a_target_whose_peer_is_absent_says_so_and_is_not_met() -> None:
    """What could not be compared is neither met nor missed, and the page says why."""
    target = Target("at least 1.3 times", "wide", "rate", PEER, at_least=1.3)
    results = _results(_answer(OWN, 500.0), present=False)
    verdict = judge(target, results, _question(target))
    assert (verdict.met, verdict.figure) == (None, None)
    assert verdict.why == f"{PEER} is absent"
    assert [verdict.met for verdict in verdicts(results, [_question(target)])].count(True) == 0


def test_every_target_is_about_a_cell_that_is_asked() -> None:
    """Workload, server and column of each target are those of a cell, in the full run and where it is quick."""
    for question in QUESTIONS:
        for quick in (True, False):
            asked = {(cell.workload, cell.server) for cell in question.cells(quick)}
            for target in question.targets:
                assert (target.workload, target.server) in asked, (question.name, target.text)
                assert target.column in {column.name for column in question.columns}, (question.name, target.text)


def test_the_page_has_every_figure_and_a_chart_that_is_xml(tmp_path: Path) -> None:
    """The page says what missed its target as plainly as what met it, and charts that were there before are gone."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "old.svg").write_text("")
    question = _question(Target("at least twice", "wide", "rate", PEER, at_least=2.0))
    results = _results(_answer(OWN, 150.0), _answer(PEER, 100.0, **{BUSY: 0.97}))
    page = write_page(results, [question], tmp_path).read_text()
    assert "| **not met** | 1.5 | Fan-out: at least twice |" in page
    assert "0 of 1 are met" in page
    assert f"| **{OWN}** | 150<br><sub>135 to 165</sub> |  |" in page
    assert f"| {PEER} | 100<br><sub>90 to 110</sub> | 1.5 |" in page
    assert f"may be the limit of: {PEER}" in page
    assert "9.5 M deliveries/s" in page
    assert "**Peer & Co** 1.0. `compression=off`. It says so." in page
    assert "fanout, wide, other (it was not there)" in page
    (chart,) = (tmp_path / "benchmarks").glob("*.svg")
    assert f"benchmarks/{chart.name}" in page
    assert ElementTree.parse(chart).getroot().tag.endswith("svg")
    written = msgspec.json.decode((tmp_path / "benchmarks" / "results.json").read_bytes(), type=Results)
    assert written == results


def test_a_table_of_many_figures_is_turned(tmp_path: Path) -> None:
    """What would be wider than a page has its figures one below the other."""
    columns = [Column(name, "ms", "less") for name in ("a", "b", "c", "d", "e", "f")]
    question = Question("many", "Many", "What it asks.", columns, _cells)
    results = _results()
    results.answers["many"] = [
        Answer("wide", name, {column.name: Spread(figure, figure, figure) for column in columns})
        for name, figure in ((OWN, 2.0), ("other", 4.0))
    ]
    page = write_page(results, [question], tmp_path).read_text()
    assert f"| server | **{OWN}** | other |" in page
    assert "| a, ms | 2 | 4 |" in page
    assert "as good |  | 2 |" in page


def test_a_chart_has_its_own_ground() -> None:
    """Its text is read on the chart's own colour, whatever the page's is, and servers' names cannot break it."""
    chart = bars("a < b", "µs", [("x & y", Spread(1.0, 0.5, 2.0))], OWN)
    root = ElementTree.fromstring(chart)
    assert next(root.iter("{http://www.w3.org/2000/svg}rect")).get("class") == "ground"


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (0.0, "0"),
        (-0.5, "-0.5"),
        (0.1237, "0.124"),
        (97.25, "97.2"),
        (999.6, "1,000"),
        (9123.4, "9,123"),
        (97_251, "97.3 k"),
        (999_700, "1 M"),
        (7_962_455, "7.96 M"),
    ],
)
def test_a_figure_is_short(figure: float, said: str) -> None:
    """Three digits are what runs on a shared machine can tell."""
    assert short(figure) == said


def test_usage_counts_what_a_process_and_its_children_used() -> None:
    """CPU and memory of the process that asks are above nothing, and those of no process are nothing."""
    assert usage.cpu(os.getpid()) > 0
    assert usage.resident(os.getpid()) > 1_000_000
    assert usage.cpu(2**22 + 1) == 0
