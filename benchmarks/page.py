"""The page with the results: docs/benchmarks.md, its charts and its JSON, from one run and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from .plot import bars, short
from .question import BUSY, OWN, Answer, Column, Question, Spread
from .verdict import PeerFound, Results, judge, verdicts

__all__ = ["write_page"]

_LIMIT = 0.95
"""A generator that was busier than this may have been what was measured."""

_WIDEST = 5
"""Figures side by side."""


def write_page(results: Results, questions: Sequence[Question], folder: Path) -> Path:
    """Write `benchmarks.md` into the folder, and its charts and `results.json` into `benchmarks/` beside it.

    Returns the page.
    """
    beside = folder / "benchmarks"
    beside.mkdir(parents=True, exist_ok=True)
    for old in beside.glob("*.svg"):
        old.unlink()
    (beside / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    lines = [*_head(results), *_targets(results, questions), *_method(results)]
    for question in questions:
        if answers := results.answers.get(question.name):
            lines += _section(question, answers, beside, results)
    page = folder / "benchmarks.md"
    page.write_text("\n".join(lines))
    return page


def _head(results: Results) -> list[str]:
    figures = (
        "One short run of each: **indicative only**."
        if results.quick
        else f"Each figure is the median of {results.runs} runs, and below it the least and the most of them; in a "
        "chart the line across a bar goes from the one to the other."
    )
    return [
        "# Benchmarks",
        "",
        f"Written by `./scripts/bench`, {results.when}; nothing here is edited by hand. {figures} Everything that was "
        "measured is in [results.json](benchmarks/results.json). [Performance](topics/performance.md) says how to "
        "run it, and what costs what.",
        "",
    ]


def _targets(results: Results, questions: Sequence[Question]) -> list[str]:
    # The verdict first: on a phone the rest of a row may lie beyond the edge.
    lines = ["## Targets", "", "| | here | target |", "|---|--:|---|"]
    for question in questions:
        for target in question.targets:
            verdict = judge(target, results, question)
            here = "" if verdict.figure is None else short(verdict.figure)
            mark = f"{_MARKS[verdict.met]} {verdict.why}".strip()
            lines.append(f"| {mark} | {here} | {question.title}: {verdict.text} |")
    found = [verdict.met for verdict in verdicts(results, questions)]
    return [
        *lines,
        "",
        f"{found.count(True)} of {len(found)} are met; what was not measured is not counted as met.",
        "",
    ]


_MARKS = {True: "met", False: "**not met**", None: "not measured:"}


def _method(results: Results) -> list[str]:
    test = results.self_test
    return [
        "## How it was measured",
        "",
        "All servers were measured in the same run, one after another and then all again, each started anew and "
        "alone on one core, the load on another, over loopback. Each is run as its own documentation advises. The "
        "generator is C (`benchmarks/native`) and the same for all. For each listener it proves that no event was "
        "lost, doubled or reordered, and for each call that it was answered once; a run in which that does not hold "
        "has no result. CPU is the kernel's accounting of all of the server's processes, and the figure to trust on "
        "a machine that is shared. The *floor* is a C program that makes one `send` per delivery and nothing else.",
        "",
        "**Is the generator the limit?** From a server in C that joins up to "
        f"{test.join} deliveries in each `send` it took {short(test.deliveries_per_second)} deliveries/s, "
        f"{test.times_the_floor:.1f} times what the floor gives without joining "
        f"({short(test.floor_deliveries_per_second)}). Each run also tells how much of the time the generator had "
        f"something to do; a table says so where that was more than {_LIMIT:.0%}.",
        "",
        "**What the method cannot show.** Over loopback the kernel does the receiver's TCP work while the sender "
        "sends, and charges the sender: a write costs less on a real network, for all alike. There is no network and "
        "no TLS here, and no compression but where it is named. The machine has few cores and shares them with "
        "others: rates move more than CPU does, and ratios below about 1.2 are no difference. Peers have no tokens, "
        "offsets, history, limits or metrics in these runs; ours has all of them. Where a server, its database, its "
        "Redis and the load share the cores, the text says so.",
        "",
        "| machine | |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in results.machine.items()],
        "",
        "Backchannel runs with its default settings, but for these limits, which are set above the load: "
        + ", ".join(f"`{name}={value}`" for name, value in results.settings.items())
        + ".",
        "",
        "The peers, each with what differs from its own defaults:",
        "",
        *[_peer(peer) for peer in results.peers.values()],
        "",
        *([f"No result in one of its runs or in all: {'; '.join(results.failed)}.", ""] if results.failed else []),
    ]


def _peer(peer: PeerFound) -> str:
    settings = ", ".join(f"`{name}={value}`" for name, value in peer.settings.items())
    return f"- **{peer.title}** {peer.version}. {settings + '. ' if settings else ''}{peer.why}"


def _section(question: Question, answers: list[Answer], charts: Path, results: Results) -> list[str]:
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
        lines += [f"### {workload}", ""]
        if len(ranked) > 1:
            name = f"{question.name}-{''.join(c if c.isascii() and c.isalnum() else '-' for c in workload)}.svg"
            title = f"{workload}: {first.name}"
            (charts / name).write_text(bars(title, first.unit, ranked, OWN))
            lines += [f"![{title}](benchmarks/{name})", ""]
        lines += [*_table(columns, here), "", *_warning(here)]
    return lines


def _table(columns: list[Column], answers: list[Answer]) -> list[str]:
    """One line per server, or one per figure where those are many, so that no table is wider than a page.

    Behind the first figure stands how many times better ours is, where others are compared.
    """
    first = columns[0]
    own = next((answer.figures.get(first.name) for answer in answers if answer.server == OWN), None)
    rows = [["server", *(f"{column.name}, {column.unit}" for column in columns)]]
    for answer in answers:
        name = f"**{answer.server}**" if answer.server == OWN else answer.server
        rows.append([name, *(_cell(answer.figures.get(column.name)) for column in columns)])
    if own is not None and len(answers) > 1:
        rows[0].insert(2, "ours is × as good")
        for row, answer in zip(rows[1:], answers, strict=True):
            row.insert(2, _ratio(own, answer.figures.get(first.name), first))
    if len(columns) > _WIDEST:
        rows = [list(row) for row in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" + "|--:" * (len(rows[0]) - 1) + "|", *lines[1:]]


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.least == spread.most:
        return short(spread.median)
    return f"{short(spread.median)}<br><sub>{short(spread.least)} to {short(spread.most)}</sub>"


def _ratio(own: Spread | None, other: Spread | None, column: Column) -> str:
    if own is None or other is None or own is other or not own.median or not other.median:
        return ""
    ratio = own.median / other.median
    return f"{ratio if column.better == 'more' else 1 / ratio:.3g}"


def _warning(answers: list[Answer]) -> list[str]:
    busy = [answer.server for answer in answers if BUSY in answer.figures and answer.figures[BUSY].median > _LIMIT]
    if not busy:
        return []
    return [
        f"The generator was busy for more than {_LIMIT:.0%} of the time and may be the limit of: {', '.join(busy)}.",
        "",
    ]
