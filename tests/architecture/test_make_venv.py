"""`./scripts/serve` makes its environment with what a bare Python offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_venv.py"


def test_the_standard_library_makes_an_environment_with_pip(tmp_path: Path) -> None:
    """Where Python is whole, nothing is fetched, and what the folder held before is gone."""
    (tmp_path / "old").touch()
    subprocess.run([sys.executable, SCRIPT, tmp_path], check=True, env={"PATH": ""})
    subprocess.run([tmp_path / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True)
    assert not (tmp_path / "old").exists()


def test_where_no_way_works_the_reasons_and_the_cure_are_told(tmp_path: Path) -> None:
    """No `venv`, no pip and no way to fetch one: exit code 1, a reason per way, what to install, no folder left."""
    for name in ("venv", "pip"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    variables = {"PATH": "", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "new")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for said in ("no venv here", "no pip here", "'sh'", "apt install python3-venv", "PYTHON="):
        assert said in done.stderr
    assert not (tmp_path / "new").exists()
