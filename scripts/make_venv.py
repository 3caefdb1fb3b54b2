"""Make a virtual environment with pip in it, also where Python came without `venv` or `ensurepip`.

Debian and Ubuntu ship Python in pieces: without `python3-venv` there is no `ensurepip`, without `python3-pip`
no pip, and installing either needs root. So there are three ways, tried in order:

1. the standard library's `venv`;
2. `virtualenv` from PyPI, installed for the moment into a temporary folder by the pip that is there;
3. the same by the pip inside Debian's `python3-pip-whl`, which `apt-get download` fetches without root.

Usage: `python make_venv.py FOLDER`; what is in FOLDER is replaced. Runs before anything is installed, and so
imports the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CURE = """\
Install one of them (Debian, Ubuntu: sudo apt install python3-venv), or name another Python:
PYTHON=/path/to/python3.12 ./scripts/serve"""


class Failed(Exception):
    """A command did not succeed; the message is the last thing that it said."""


def run(*command: str | Path, **variables: str) -> None:
    """Run a command quietly, with `variables` added to its environment.

    Raises:
        Failed: it could not be started, or ended with an error.
    """
    try:
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    except OSError as exc:
        raise Failed(str(exc)) from exc
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(said[-1] if said else f"{command[0]} ended with {done.returncode}")


def make_with_venv(folder: Path) -> None:
    """Use the standard library, and see that pip came with it."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    run(folder / "bin" / "python", "-m", "pip", "--version")


def make_with_virtualenv(folder: Path, pip: str | Path = "pip") -> None:
    """Use PyPI's `virtualenv`, which carries its own pip. `pip` is a module's name, or a path to run."""
    command = ["-m", pip] if isinstance(pip, str) else [pip]
    with tempfile.TemporaryDirectory() as tools:
        run(sys.executable, *command, "install", "--target", tools, "virtualenv")
        run(sys.executable, "-m", "virtualenv", "--clear", folder, PYTHONPATH=tools)


def make_with_downloaded_pip(folder: Path) -> None:
    """Use the pip in Debian's package: a wheel of pip can be run where it lies."""
    fetch = 'cd "$1" && apt-get download python3-pip-whl && dpkg-deb -x python3-pip-whl*.deb .'
    with tempfile.TemporaryDirectory() as place:
        run("sh", "-c", fetch, "sh", place)
        for wheel in Path(place).rglob("pip-*.whl"):
            return make_with_virtualenv(folder, wheel / "pip")
    raise Failed("Debian's python3-pip-whl holds no pip")


def main() -> None:
    """Try the three ways in order; when none works, say why and what to do."""
    folder = Path(sys.argv[1])
    reasons = []
    for make in (make_with_venv, make_with_virtualenv, make_with_downloaded_pip):
        try:
            return make(folder)
        except Failed as exc:
            reasons.append(f"  {make.__name__}: {exc}")
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit("\n".join(["This Python has neither `venv` nor pip, and none could be fetched:", *reasons, CURE]))


if __name__ == "__main__":
    main()
