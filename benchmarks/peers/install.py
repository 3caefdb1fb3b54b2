"""Get what peers need, without root, into `benchmarks/.build/peers/`: Debian packages, npm's and PyPI's.

Everything is quick when nothing changed: a stamp beside what was installed says what it was made from. npm and PyPI
are held to the versions in `servers/`; Debian's are those of the release that this machine has, and are reported.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.peers.peer import SERVERS, Absent, Progress

__all__ = ["BUILD", "DEBIAN", "NODE", "PYTHON", "debian", "debian_version", "npm", "output", "program", "pypi"]

ROOT = Path(__file__).parent.parent.parent
BUILD = ROOT / "benchmarks" / ".build" / "peers"
DEBIAN = BUILD / "debian"
"""Where Debian packages are unpacked, each set in a folder by the name of its peer."""
NODE = BUILD / "node"
PYTHON = BUILD / "python"

# Seconds for one command: a slow network is waited for, a hanging one is not.
_LONGEST = 600


def debian(name: str, packages: Sequence[str], progress: Progress) -> None:
    """Download packages of this machine's Debian release and unpack them into `DEBIAN / name`.

    Nothing is configured and nothing of the system is touched.

    Raises:
        Absent: there is no `apt-get`, or it does not find them.
    """
    folder = DEBIAN / name
    made_from = " ".join(packages)
    with _once(folder, made_from) as fresh:
        if not fresh:
            return
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise Absent(f"no apt-get here; install these your system's way: {made_from}")
        files = folder / "packages"
        files.mkdir()
        progress(f"downloading Debian packages: {made_from}")
        try:
            output(["apt-get", "download", "-qq", *packages], cwd=files)
        except Absent:
            progress("refreshing a package list of our own")
            own = _own_lists()
            output(["apt-get", "update", "-qq", *own], cwd=files)
            output(["apt-get", "download", "-qq", *own, *packages], cwd=files)
        for file in sorted(files.iterdir()):
            output(["dpkg-deb", "-x", str(file), str(folder)], cwd=files)
            version = output(["dpkg-deb", "-f", str(file), "Version"], cwd=files)
            (folder / f"{file.name.partition('_')[0]}.version").write_text(version)
        shutil.rmtree(files)


def debian_version(name: str, package: str) -> str:
    """The version of a package that was unpacked for a peer, or else is installed on this machine.

    Raises:
        Absent: it is neither.
    """
    unpacked = DEBIAN / name / f"{package}.version"
    return unpacked.read_text() if unpacked.exists() else output(["dpkg-query", "-W", "-f", "${Version}", package])


def npm(progress: Progress) -> None:
    """Install `servers/package-lock.json` into `NODE`; no package's scripts are run.

    Raises:
        Absent: there is no Node with npm, or the registry cannot be reached.
    """
    sources = [SERVERS / "package.json", SERVERS / "package-lock.json"]
    with _once(NODE, "\n".join(file.read_text() for file in sources)) as fresh:
        if not fresh:
            return
        progress("installing npm packages (Bun's is 90 MB)")
        for file in sources:
            shutil.copy(file, NODE)
        command = [str(program("npm", package="npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        output([*command, "--loglevel=error"], cwd=NODE, variables={"PATH": _path()})


def pypi(progress: Progress) -> None:
    """Install `servers/requirements.txt` into a virtual environment of its own, `PYTHON`.

    Raises:
        Absent: the environment cannot be made, or the index cannot be reached.
    """
    requirements = SERVERS / "requirements.txt"
    with _once(PYTHON, requirements.read_text() + sys.version) as fresh:
        if not fresh:
            return
        progress("installing Python packages into an environment of their own")
        output([sys.executable, str(ROOT / "scripts" / "make_venv.py"), str(PYTHON)], cwd=ROOT)
        command = [str(PYTHON / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        output([*command, "--no-deps", "--requirement", str(requirements)], cwd=ROOT)


def program(name: str, *, peer: str | None = None, package: str) -> Path:
    """The path of a program: of the peer's unpacked packages, or else of this machine.

    Raises:
        Absent: it is in neither.
    """
    own = [] if peer is None else [str(DEBIAN / peer / "usr" / folder) for folder in ("sbin", "bin")]
    found = shutil.which(name, path=os.pathsep.join([*own, _path()]))
    if found is None:
        ours = "" if peer is None else f"python -m benchmarks.peers install {peer}, or "
        raise Absent(f"{name} is not here: {ours}install {package} your system's way")
    return Path(found)


def output(command: Sequence[str], *, cwd: Path = ROOT, variables: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it wrote, both streams together.

    Raises:
        Absent: it could not be started, took too long or ended with an error; the message is what it said of that.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_LONGEST,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Absent(f"{name} did not run: {exc}") from exc
    said = done.stdout.strip()
    if done.returncode:
        raise Absent(f"{name} failed: {_complaint(said) or f'exit code {done.returncode}'}")
    return said


# npm's first lines are codes, its last says where its log is; what is wrong stands between.
_ERROR = re.compile(r"E:|error|npm error(?! (?:A complete log|code|errno|syscall))", re.IGNORECASE)


def _complaint(said: str) -> str:
    """The first line that tells of an error, or else the last line."""
    lines = said.splitlines()
    return "".join([line for line in lines if _ERROR.match(line)][:1] or lines[-1:])[:300]


_failed: dict[Path, str] = {}
"""Why a folder could not be filled: what several peers share is not tried again for each, which can take minutes."""


@contextlib.contextmanager
def _once(folder: Path, made_from: str) -> Iterator[bool]:
    """Whether `folder` must be filled, which then is empty; the stamp is written when the body succeeds.

    Others who want the same folder wait. Raises `Absent` again where that came out of the body before.
    """
    if folder in _failed:
        raise Absent(_failed[folder])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder.with_name(f".{folder.name}.stamp")
        if stamp.exists() and stamp.read_text() == made_from and folder.is_dir():
            yield False
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield True
        except Absent as exc:
            _failed[folder] = str(exc)
            raise
        stamp.write_text(made_from)


def _own_lists() -> list[str]:
    """Options that give `apt-get` a folder of lists and downloads that we may write."""
    state = BUILD / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={state / 'lists'}", "-o", f"Dir::Cache={state / 'cache'}"]


def _path() -> str:
    """Where programs are looked for; servers are in folders that the path of a normal user lacks."""
    return os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / ".venv" / "bin"), "/usr/sbin", "/usr/local/sbin"])
