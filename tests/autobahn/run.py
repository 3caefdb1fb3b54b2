"""Run the Autobahn|Testsuite against every WebSocket door: `./scripts/autobahn [--cases 6.*] [--doors takeover]`.

The suite needs Python 2.7 and is installed once, into a folder of its own. A case that fails, or that closes wrongly,
fails the run (status 1); where the suite cannot be installed the status is 3. What the suite calls NON-STRICT or
INFORMATIONAL is allowed by RFC 6455 and listed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
REPORT: Final = ROOT / "docs/reference/autobahn.md"
SUITE: Final = "25.10.1"
PACKAGE: Final = f"autobahntestsuite=={SUITE}"
DOORS: Final = {
    "takeover": "Backchannel's own framing, from a connection's first read",
    "uvicorn": "Backchannel's own framing, behind uvicorn's HTTP parser (`ws=`)",
    "asgi": "any ASGI server; here uvicorn with `websockets`, which frames the messages",
}
SECTIONS: Final = {
    "1": "Messages of many sizes",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Reserved opcodes",
    "5": "Fragments",
    "6": "UTF-8",
    "7": "Closing",
    "10": "Automatic fragments",
    "12": "Compression, of different data",
    "13": "Compression, with different offers",
}
# A subprotocol has one kind of message, so that each is tried with the cases that suit it.
TEXT_CASES: Final = ["1.1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
BINARY_CASES: Final = ["1.2.*", "2.*"]
KINDS: Final = {"json": TEXT_CASES, "msgpack": BINARY_CASES}
# Where compression is our own, and once, since it takes its time: a thousand messages of 16 bytes, 256 bytes and 4 KiB,
# and of 8 KiB in fragments of 256 bytes. 13.3 and 13.5 insist on a window of 512 bytes, which is declined.
DEFLATE_DOOR: Final = "takeover"
DEFLATE_SIZES: Final = (1, 3, 5, 11)
DEFLATE_CASES: Final = {
    "json": [
        f"{data}.{size}" for data in ("12.1", "12.4", "13.1", "13.2", "13.4", "13.6", "13.7") for size in DEFLATE_SIZES
    ],
    "msgpack": [f"{data}.{size}" for data in ("12.2", "12.3", "12.5") for size in DEFLATE_SIZES],
}
# Where the server frames the messages, its opinions are its own.
THEIRS: Final = {
    ("asgi", "7.1.5"): "`websockets` answers a close between two fragments with 1002, though the RFC allows it",
}
PASSED: Final = ("OK", "NON-STRICT", "INFORMATIONAL")


class CannotInstallError(Exception):
    """There is no suite to run here; says why."""


class Result(NamedTuple):
    """What became of one case at one door."""

    case: str
    behavior: str
    closing: str

    @property
    def section(self) -> str:
        """The first number of the case."""
        return self.case.partition(".")[0]

    @property
    def outcome(self) -> str:
        """The worse of what the suite says of the messages and of the close."""
        both = (self.behavior, self.closing)
        bad = [one for one in both if one not in PASSED]
        return bad[0] if bad else max(both, key=PASSED.index)


def cache_folder() -> Path:
    """Where the suite is installed."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "backchannel" / f"autobahn-{SUITE}"


def find_python2() -> str | None:
    """A Python 2.7 that has pip: `PYTHON27`, from PATH, or one of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [os.environ.get("PYTHON27"), *map(str, sorted(root.glob("versions/2.7*/bin/python"))), "python2.7"]
    for name in found:
        path = shutil.which(name) if name else None
        if path is None:
            continue
        check = [path, "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"]
        if subprocess.run(check, capture_output=True, check=False).returncode == 0:
            return path
    return None


def is_installed() -> bool:
    """Whether the suite can run at once."""
    return (cache_folder() / ".installed").exists()


def install() -> None:
    """Install the suite, if it is not there yet.

    Raises:
        CannotInstallError: there is no Python 2.7, or pip fails.
    """
    folder = cache_folder()
    if is_installed():
        return
    python = find_python2()
    if python is None:
        raise CannotInstallError(
            "The Autobahn|Testsuite needs Python 2.7 with pip: install one, or name it in PYTHON27."
        )
    print(f"Installing {PACKAGE} into {folder} (about half a minute)", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--user",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "10",
        PACKAGE,
    ]
    environment = {**_python2_environment(), "PIP_NO_WARN_SCRIPT_LOCATION": "1"}
    done = subprocess.run(pip, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstallError(f"The Autobahn|Testsuite could not be installed:\n{done.stderr[-2000:]}")
    (folder / ".installed").touch()


def _python2_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONUSERBASE": str(cache_folder()), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def echo_server(log: Path) -> Iterator[dict[str, int]]:
    """The server under test, in a process of its own; gives each door's port."""
    command = [sys.executable, str(Path(__file__).with_name("echo_server.py"))]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Run:
    """One run of the suite's client: one kind of message, at one door."""

    def __init__(self, door: str, kind: str, cases: list[str], port: int, folder: Path) -> None:
        self.name = f"{door}-{kind}"
        self._folder = folder / self.name
        self._folder.mkdir()
        spec = {
            "outdir": str(self._folder),
            "servers": [
                {
                    "agent": self.name,
                    "url": f"ws://127.0.0.1:{port}/ws",
                    "protocols": [f"backchannel.v1.{kind}"],
                    "options": {"version": 18},
                }
            ],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        spec_file = self._folder / "spec.json"
        spec_file.write_text(json.dumps(spec))
        self._log = self._folder / "log.txt"
        command = [str(cache_folder() / "bin/wstest"), "-m", "fuzzingclient", "-s", str(spec_file)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=_python2_environment(), stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )

    def begun(self) -> int:
        """How many cases were begun."""
        return self._log.read_text(errors="replace").count("Running test case ID")

    def total(self) -> int:
        """How many cases there are; 0 until the suite has said it."""
        _, _, rest = self._log.read_text(errors="replace").partition("Ok, will run ")
        return int(rest.split()[0]) if rest else 0

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def results(self) -> dict[str, Result]:
        """What the suite found, by case.

        Raises:
            SystemExit: it did not come to its end.
        """
        index = self._folder / "index.json"
        if self.process.returncode or not index.exists():
            tail = self._log.read_text(errors="replace")[-2000:]
            raise SystemExit(f"The suite ended without a report at {self.name}:\n{tail}")
        found = json.loads(index.read_text())[self.name]
        if len(found) != self.total():
            raise SystemExit(f"{len(found)} of {self.total()} cases have a result at {self.name}.")
        cases = sorted(found, key=lambda case: [int(part) for part in case.split(".")])
        return {case: Result(case, found[case]["behavior"], found[case]["behaviorClose"]) for case in cases}


def run(doors: list[str], only: list[str] | None, timeout: float, folder: Path) -> dict[str, list[Result]]:
    """The results by door, of both kinds of message.

    The suite waits for a second here and there, so that a machine with other work may fail a case: what fails is tried
    once more, alone.

    Raises:
        SystemExit: the suite did not finish in `timeout` seconds, or broke.
    """
    with echo_server(folder / "echo_server.log") as ports:
        plans = [(door, kind, only_of(cases_of(door, kind), only)) for door in doors for kind in KINDS]
        results = _run([Run(*plan, ports[plan[0]], folder) for plan in plans if plan[2]], timeout)
        for name, found in results.items():
            failed = [one.case for one in found.values() if not _is_fine(name.partition("-")[0], one)]
            if failed:
                print(f"  once more at {name}: {' '.join(failed)}", flush=True)
                door, _, kind = name.partition("-")
                (folder / "again").mkdir(exist_ok=True)
                again = _run([Run(door, kind, failed, ports[door], folder / "again")], timeout)
                found.update(again[name])
    return {
        door: [one for name, found in results.items() if name.startswith(f"{door}-") for one in found.values()]
        for door in doors
    }


def cases_of(door: str, kind: str) -> list[str]:
    """The cases of one kind of message that suit a door."""
    return KINDS[kind] + (DEFLATE_CASES[kind] if door == DEFLATE_DOOR else [])


def only_of(cases: list[str], only: list[str] | None) -> list[str]:
    """The patterns of `only` that are within those of `cases`; all of these if there is none."""
    if only is None:
        return cases
    found = []
    for one in only:
        within = any(case.endswith("*") and one.startswith(case[:-1]) for case in cases)
        found += [one] if within else [case for case in cases if fnmatchcase(case, one)]
    return found


def _run(runs: list[Run], timeout: float) -> dict[str, dict[str, Result]]:
    try:
        _watch(runs, timeout)
        return {one.name: one.results() for one in runs}
    finally:
        for one in runs:
            one.stop()


def _watch(runs: list[Run], timeout: float) -> None:
    """Wait for all of them, and show how far they are."""
    is_terminal = sys.stdout.isatty()
    start = time.monotonic()
    shown = -1
    while running := [one for one in runs if one.process.poll() is None]:
        spent = time.monotonic() - start
        begun, total = sum(one.begun() for one in runs), sum(one.total() for one in runs)
        if spent > timeout:
            raise SystemExit(f"The suite was at case {begun} of {total} after {timeout:.0f} s; give it more --timeout.")
        if is_terminal:
            print(f"\r  {begun:4} of {total} cases, {spent:3.0f} s ", end="", flush=True)
        elif begun // 100 != shown:
            shown = begun // 100
            print(f"  {begun:4} of {total} cases, {spent:3.0f} s", flush=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running[0].process.wait(0.25)
    if is_terminal:
        print()


def _is_fine(door: str, result: Result) -> bool:
    return result.outcome in PASSED or (door, result.case) in THEIRS


def failures(results: dict[str, list[Result]]) -> list[str]:
    """A line for each case that did not pass and should have."""
    return [
        f"{one.case} at {door}: {one.behavior}, close {one.closing}"
        for door, all_of_door in results.items()
        for one in all_of_door
        if not _is_fine(door, one)
    ]


def report(results: dict[str, list[Result]]) -> str:
    """The page for the documentation."""
    lines = [
        "# Autobahn|Testsuite",
        "",
        "<!-- Generated by ./scripts/autobahn -->",
        "",
        f"What version {SUITE} of the [Autobahn|Testsuite](https://github.com/crossbario/autobahn-testsuite) says of",
        "the WebSocket doors: sections 1 to 7 and 10, and of 12 and 13 (compression, which is on for this) messages of",
        "four sizes; 9 measures speed. Text is tried on `backchannel.v1.json` and binary on `backchannel.v1.msgpack`,",
        "pings on both. Repeat it with `./scripts/autobahn`; it needs Python 2.7.",
        "",
    ]
    for door, all_of_door in results.items():
        lines += [f"## {door}", "", f"{DOORS[door][0].upper()}{DOORS[door][1:]}.", ""]
        lines += ["| section | cases | OK | non-strict | informational | failed |", "|---|---:|---:|---:|---:|---:|"]
        by_section: dict[str, Counter[str]] = {section: Counter() for section in SECTIONS}
        for one in all_of_door:
            by_section[one.section][one.outcome] += 1
        whole: Counter[str] = Counter()
        for section, counts in by_section.items():
            whole += counts
            if counts:
                lines.append(_row(f"{section} {SECTIONS[section]}", counts))
        lines += [_row("**all**", whole), ""]
        for outcome in PASSED[1:]:
            cases = dict.fromkeys(one.case for one in all_of_door if one.outcome == outcome)
            if cases:
                lines += [f"{outcome.capitalize()}: {', '.join(cases)}.", ""]
        for one in all_of_door:
            if one.outcome not in PASSED:
                lines += [f"Failed: {one.case}. {THEIRS.get((door, one.case), one.outcome)}.".replace("..", "."), ""]
    lines += [
        "## What the words mean",
        "",
        "- *Non-strict* is within RFC 6455, but not the best there is. In 6.4, text that is not UTF-8 is refused with",
        "  the frame that breaks it (behind ASGI: with the message), not with the byte. In 3 to 5, what came before a",
        "  violation may not have been answered when the ASGI server ends the connection; which cases, varies.",
        "- *Informational*: RFC 6455 leaves the outcome open.",
        "- 13.3 and 13.5 are left out: they insist on a window of 512 bytes, which is declined, as RFC 7692 (section",
        "  7.1.2.1) allows, since one compressed frame serves all listeners.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, counts: Counter[str]) -> str:
    total = counts.total()
    passed = [counts[outcome] for outcome in PASSED]
    return f"| {name} | {total} | {' | '.join(map(str, passed))} | {total - sum(passed)} |"


def main(arguments: list[str] | None = None) -> int:
    """Install, run, report; 1 if a case fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--cases", nargs="+", metavar="CASE", help="only these, such as 6.4.*; leaves the page as it is"
    )
    parser.add_argument("--doors", nargs="+", choices=list(DOORS), default=list(DOORS))
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the suite's own report in this new folder")
    parser.add_argument("--no-page", action="store_true", help="leave docs/reference/autobahn.md as it is")
    chosen = parser.parse_args(arguments)
    try:
        install()
    except CannotInstallError as exc:
        print(exc, file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(exist_ok=chosen.keep is None, parents=True)
        results = run(chosen.doors, chosen.cases, chosen.timeout, folder)
    failed = failures(results)
    for door, all_of_door in results.items():
        counts = Counter(one.outcome for one in all_of_door)
        print(f"{door}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items()))}")
        for outcome in PASSED[1:]:
            cases = dict.fromkeys(one.case for one in all_of_door if one.outcome == outcome)
            if cases:
                print(f"  {outcome}: {' '.join(cases)}")
    for line in failed:
        print(f"FAILED {line}")
    if chosen.cases is None and chosen.doors == list(DOORS) and not chosen.no_page:
        REPORT.write_text(report(results))
        print(f"Written: {REPORT.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
