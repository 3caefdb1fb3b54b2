"""Fuzz for as long as you like: `./scripts/fuzz [--minutes N] [TARGET …]`.

With Atheris (`pip install atheris`, CPython 3.11 to 3.13) the coverage of the code guides the inputs; else Hypothesis
makes them. An input whose outcome is not a documented one is written among the seeds, where it stays as a test.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from .inputs import inputs_of
from .progress import Progress
from .targets import SEEDS, TARGETS, Target

_ROUND: Final = 500


def keep(target: Target, data: bytes) -> Path:
    """Write an input among the seeds."""
    path = SEEDS / target.name / f"found_{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def with_hypothesis(target: Target, seconds: float) -> bool:
    """Fuzz one target; whether all was well. What fails is made as small as it gets, then shown and kept."""
    progress = Progress(target, seconds)
    round_number = int(time.time())
    while progress.spent < seconds:
        round_number += 1

        @seed(round_number)
        @settings(
            max_examples=_ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs_of(target))
        def one_round(data: bytes) -> None:
            progress.check(data)

        try:
            one_round()
        except Exception as exc:
            progress.show("\n")
            print(f"{target.name}: {type(exc).__name__}: {exc}\nKept: {keep(target, progress.last)}", flush=True)
            return False
    progress.show("\n")
    return True


def with_atheris(target: Target, seconds: float) -> bool:
    """Fuzz one target in a process of its own; whether all was well. It keeps what fails itself."""
    module = f"{(__package__ or '')}.atheris_run"
    with tempfile.TemporaryDirectory() as folder:
        corpus, log = Path(folder, "corpus"), Path(folder, "log.txt")
        corpus.mkdir()
        command = [sys.executable, "-m", module, target.name, f"{seconds:.0f}", str(corpus), str(SEEDS / target.name)]
        command += ["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
        command += [f"-artifact_prefix={SEEDS / target.name}/found_"]
        before = set(target.seeds())
        with log.open("wb") as errors:
            is_well = subprocess.run(command, stderr=errors, check=False).returncode == 0
        if sys.stdout.isatty():
            print()
        for path in set(target.seeds()) - before:
            print(f"Kept: {path.rename(path.with_suffix('.bin'))}")
        if not is_well:
            print(log.read_text(errors="replace")[-4000:], flush=True)
    return is_well


def main(arguments: list[str]) -> int:
    """Fuzz the chosen targets one after the other; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all, if none is named")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together (5)")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), help="atheris where it is installed")
    chosen: Any = parser.parse_args(arguments)
    unknown = set(chosen.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; choose of {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in chosen.targets or TARGETS]
    engine = chosen.engine or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    fuzz = with_atheris if engine == "atheris" else with_hypothesis
    seconds = chosen.minutes * 60 / len(targets)
    for target in targets:
        for path in target.seeds():
            target.check(path.read_bytes())
    found = [target.name for target in targets if not fuzz(target, seconds)]
    print(f"Found something in: {', '.join(found)}." if found else "Nothing found.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
