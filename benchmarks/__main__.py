"""The suite: every question, asked of every server in the same run.

./scripts/bench                     the full run: each cell 3 times, interleaved; writes docs/benchmarks.md
./scripts/bench --quick             one short run of each, indicative only; writes nothing
./scripts/bench --only fanout call  some questions
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop

from benchmarks import (
    call,
    chat,
    compression,
    connects,
    fanout,
    growth,
    idle,
    latency,
    mixed,
    native,
    peers,
    servers,
    slow,
    storm,
    topology,
)
from benchmarks.machine import machine
from benchmarks.page import write_page
from benchmarks.plot import short
from benchmarks.question import BUSY, OWN, Answer, Figures, Question, spread
from benchmarks.verdict import PeerFound, Results, judge, verdicts

QUESTIONS: list[Question] = [
    fanout.QUESTION,
    latency.QUESTION,
    call.QUESTION,
    chat.QUESTION,
    idle.QUESTION,
    connects.QUESTION,
    topology.QUESTION,
    growth.QUESTION,
    compression.QUESTION,
    mixed.QUESTION,
    storm.QUESTION,
    slow.QUESTION,
]

_DOCS = Path(__file__).parent.parent / "docs"


class _Progress:
    """A bar on a terminal, a line for each cell elsewhere."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def begin(self, text: str) -> None:
        """The next cell begins."""
        share = self._done / self._steps
        gone = time.monotonic() - self._began
        left = f", {gone / share - gone:.0f} s left" if share else ""
        if self._terminal:
            bar = "█" * int(share * 30)
            print(f"\r\x1b[K{bar:<30} {self._done}/{self._steps}{left}  {text}", end="", file=sys.stderr, flush=True)
        else:
            print(f"[{self._done + 1}/{self._steps}] {text}", file=sys.stderr, flush=True)
        self._done += 1

    def end(self) -> None:
        """All is done."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def _measure(questions: list[Question], chosen: argparse.Namespace) -> Results:
    cells = [(question, cell) for question in questions for cell in question.cells(chosen.quick)]
    progress = _Progress(len(cells) * chosen.runs)
    runs: dict[tuple[str, str, str], list[Figures]] = {}
    failed: dict[str, str] = {}
    self_test = await native.self_test({"window": fanout.WINDOW, "join": fanout.WINDOW})
    for _ in range(chosen.runs):
        for question, cell in cells:
            progress.begin(f"{question.name}: {cell.workload}: {cell.server}")
            seconds = (1.0 if chosen.quick else question.seconds) * chosen.stretch
            try:
                figures = await cell.run(seconds)
            except (native.Broken, native.Failed, peers.PeerFailed, peers.Absent) as exc:
                print(f"\n{cell.workload}: {cell.server}: no result: {exc}", file=sys.stderr)
                if cell.server == OWN and isinstance(exc, native.Broken):
                    raise SystemExit(1) from exc  # what it promised did not hold
                failed[f"{question.name}, {cell.workload}, {cell.server}"] = str(exc).partition("\n")[0]
            else:
                runs.setdefault((question.name, cell.workload, cell.server), []).append(figures)
    progress.end()
    answers: dict[str, list[Answer]] = {}
    for (name, workload, server), found in runs.items():
        answers.setdefault(name, []).append(Answer(workload, server, spread(found)))
    return Results(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        quick=chosen.quick,
        runs=chosen.runs,
        stretch=chosen.stretch,
        machine=machine(),
        settings=servers.SETTINGS,
        peers={name: _found(name) for name in peers.PEERS},
        self_test=self_test,
        answers=answers,
        failed=[f"{cell} ({why})" for cell, why in failed.items()],
    )


def _found(name: str) -> PeerFound:
    peer = peers.PEERS[name]
    try:
        version, present = peer.version(), True
    except peers.Absent as exc:
        version, present = f"absent: {exc}", False
    return PeerFound(peer.title, version, dict(peer.settings), peer.why, present)


def _print(results: Results, questions: list[Question]) -> None:
    mood = "  (one short run: indicative only)" if results.quick else ""
    for question in questions:
        answers = results.answers.get(question.name, [])
        print(f"\n{question.title}{mood}")
        for workload in dict.fromkeys(answer.workload for answer in answers):
            print(f"  {workload}")
            for answer in answers:
                if answer.workload == workload:
                    figures = [
                        f"{short(answer.figures[column.name].median):>8} {f'{column.name}, {column.unit}':<22}"
                        for column in question.columns
                        if column.name in answer.figures
                    ]
                    busy = BUSY in answer.figures and answer.figures[BUSY].median > 0.95
                    limit = "  (the generator may be the limit)" if busy else ""
                    print(f"    {answer.server:<22}{'  '.join(figures).rstrip()}{limit}")
    above = ", ".join(f"{name}={value}" for name, value in results.settings.items())
    print(f"\nBackchannel runs with default settings and these limits, above the load: {above}")
    test = results.self_test
    print(
        f"The generator takes {short(test.deliveries_per_second)} deliveries/s, where a server in C joins up to "
        f"{test.join} of them in a send; {short(test.floor_deliveries_per_second)} is what one send for each gives."
    )
    print(f"\nTargets{mood}")
    for question in questions:
        for number, target in enumerate(question.targets):
            verdict = judge(target, results, question)
            here = "" if verdict.figure is None else short(verdict.figure)
            mark = {True: "met", False: "NOT MET", None: "no figure"}[verdict.met]
            title = "" if number else question.title
            print(f"  {title:<32}{mark:<10}{here:>8}  {verdict.text}{verdict.why and f': {verdict.why}'}")
    found = [verdict.met for verdict in verdicts(results, questions)]
    print(f"{found.count(True)} of {len(found)} met.")


async def main() -> None:
    """Ask, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run of each cell; indicative only")
    parser.add_argument("--only", nargs="+", metavar="QUESTION", choices=[question.name for question in QUESTIONS])
    parser.add_argument("--runs", type=int, help="how often the whole list is run; default 3, 1 where it is quick")
    parser.add_argument("--stretch", type=float, default=1.0, help="multiplies how long each run measures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured here")
    chosen = parser.parse_args()
    chosen.runs = chosen.runs or (1 if chosen.quick else 3)
    questions = [question for question in QUESTIONS if chosen.only is None or question.name in chosen.only]
    native.build()
    peers.install(progress=lambda line: print(line, file=sys.stderr))
    results = await _measure(questions, chosen)
    _print(results, questions)
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2))
    if not chosen.quick and chosen.only is None:
        print(f"\nWritten: {write_page(results, questions, _DOCS)}")


if __name__ == "__main__":
    uvloop.run(main())
