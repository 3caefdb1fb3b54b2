"""What one run of the suite found, and whether its targets are met."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from .native import Result
from .question import Answer, Question, Target

__all__ = ["PeerFound", "Results", "Verdict", "judge", "verdicts"]


class PeerFound(Struct):
    """A peer, as it was run."""

    title: str
    version: str
    """Or why it is absent."""
    settings: dict[str, str]
    why: str
    present: bool


class Results(Struct):
    """Everything that one run of the suite found."""

    when: str
    quick: bool
    runs: int
    stretch: float
    """By what the time that each run measures was multiplied."""
    machine: dict[str, str]
    settings: dict[str, str]
    """Settings of Backchannel that differ from the defaults."""
    peers: dict[str, PeerFound]
    self_test: Result
    """What the generator can take."""
    answers: dict[str, list[Answer]]
    """By question."""
    failed: list[str]
    """Cells that had no result in a run."""


class Verdict(Struct):
    """Whether a target is met."""

    text: str
    figure: float | None
    """The ratio, the difference, or the figure itself; None where the run has not measured it."""
    met: bool | None
    why: str = ""
    """Why it is not known."""


def judge(target: Target, results: Results, question: Question) -> Verdict:
    """Hold a target against what was measured. One whose peer is absent is not met, and says so."""
    found = {
        answer.server: answer.figures[target.column].median
        for answer in results.answers.get(question.name, [])
        if answer.workload == target.workload and target.column in answer.figures
    }
    for server in (target.server, target.peer):
        if server is not None and server not in found:
            peer = results.peers.get(server)
            absent = peer is not None and not peer.present
            return Verdict(target.text, None, None, f"{server} is absent" if absent else f"no figure of {server}")
    figure = found[target.server]
    if target.peer is not None:
        other = found[target.peer]
        figure = figure - other if target.difference else figure / other if other else float("inf")
    met = (target.at_least is None or figure >= target.at_least) and (
        target.at_most is None or figure <= target.at_most
    )
    return Verdict(target.text, figure, met)


def verdicts(results: Results, questions: Sequence[Question]) -> list[Verdict]:
    """Those of all targets."""
    return [judge(target, results, question) for question in questions for target in question.targets]
