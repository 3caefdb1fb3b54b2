"""The page with the results: docs/benchmarks.md and its charts, from the JSON of one run and nothing else."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from .plot import bars
from .question import Answer, Column, Question, Target

__all__ = ["Results", "Verdict", "judge", "write_page"]


class Results(Struct):
    """Everything that one run of the suite found."""

    when: str
    quick: bool
    runs: int
    seconds: float
    machine: dict[str, str]
    settings: dict[str, str]
    """Settings of Backchannel that differ from the defaults."""
    servers: dict[str, str]
    """What was compared, and its version; or why it could not be."""
    answers: dict[str, list[Answer]]
    """By question."""


class Verdict(Struct):
    """Whether a target is met."""

    text: str
    figure: float | None
    """The ratio, or the figure itself; None where the run has not measured it."""
    met: bool | None


def judge(target: Target, answers: list[Answer], own: str) -> Verdict:
    """Hold a target against what was measured."""
    found = {
        answer.server: answer.figures[target.column].median
        for answer in answers
        if answer.workload == target.workload and target.column in answer.figures
    }
    figure = found.get(own)
    if figure is not None and target.peer is not None:
        other = found.get(target.peer)
        figure = figure / other if other else None
    if figure is None:
        return Verdict(target.text, None, None)
    met = (target.at_least is None or figure >= target.at_least) and (
        target.at_most is None or figure <= target.at_most
    )
    return Verdict(target.text, figure, met)


def write_page(results: Results, questions: list[Question], folder: Path, own: str) -> Path:
    """Write `benchmarks.md` into the folder, and its charts into `benchmarks/` beside it; returns the page."""
    charts = folder / "benchmarks"
    charts.mkdir(parents=True, exist_ok=True)
    for old in charts.glob("*.svg"):
        old.unlink()
    lines = [
        "# Benchmarks",
        "",
        "Written by `./scripts/bench`; nothing here is edited by hand. "
        + (
            f"Each figure is the median of {results.runs} runs of {results.seconds:g} s, and the line across a bar "
            "goes from the least to the most of them."
            if not results.quick
            else "One short run of each: **indicative only**."
        ),
        "",
        "All servers were measured in the same run, one after another and then again, each alone on one core, the load "
        "on another. CPU is the kernel's accounting of the server's processes, and the figure to trust on a machine "
        "that is shared. Each listener checks that no event was lost, doubled or reordered; a run in which one was has "
        "no result.",
        "",
        f"Measured {results.when}, on:",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in results.machine.items()],
        "",
        "Settings of Backchannel above the defaults: "
        + ", ".join(f"`{name}={value}`" for name, value in results.settings.items())
        + ".",
        "",
        "| server | version |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in results.servers.items()],
        "",
    ]
    for question in questions:
        answers = results.answers.get(question.name)
        if answers:
            lines += _section(question, answers, charts, own)
    page = folder / "benchmarks.md"
    page.write_text("\n".join(lines))
    return page


def _section(question: Question, answers: list[Answer], charts: Path, own: str) -> list[str]:
    lines = [f"## {question.title}", "", question.text, ""]
    for workload in dict.fromkeys(answer.workload for answer in answers):
        here = [answer for answer in answers if answer.workload == workload]
        columns = [column for column in question.columns if any(column.name in answer.figures for answer in here)]
        first = columns[0]
        ranked = sorted(
            [(answer.server, answer.figures[first.name]) for answer in here if first.name in answer.figures],
            key=lambda row: row[1].median,
            reverse=first.better == "more",
        )
        name = f"{question.name}-{''.join(c if c.isalnum() else '-' for c in workload)}.svg"
        title = f"{workload}: {first.name}"
        (charts / name).write_text(bars(title, first.unit, ranked, own))
        lines += [f"**{workload}**", "", f"![{title}](benchmarks/{name})", "", *_table(columns, here, own), ""]
    verdicts = [judge(target, answers, own) for target in question.targets]
    if any(verdict.figure is not None for verdict in verdicts):
        lines += ["| target | here | |", "|---|---|---|"]
        lines += [
            f"| {verdict.text} | {verdict.figure:.3g} | {'met' if verdict.met else '**not met**'} |"
            for verdict in verdicts
            if verdict.figure is not None
        ]
        lines.append("")
    return lines


def _table(columns: list[Column], answers: list[Answer], own: str) -> list[str]:
    lines = [
        "| server | " + " | ".join(f"{column.name}, {column.unit}" for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for answer in answers:
        name = f"**{answer.server}**" if answer.server == own else answer.server
        figures = [
            f"{spread.median:,.4g} ({spread.least:,.4g} to {spread.most:,.4g})" if spread is not None else ""
            for spread in (answer.figures.get(column.name) for column in columns)
        ]
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    return lines
