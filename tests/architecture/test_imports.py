"""Packages have one name each, and imports run one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("server", "protocol", "client_py")
FOLDERS = (*SOURCE_ROOTS, "tests", "examples", "benchmarks", "scripts")


def imported_names(file: Path) -> Iterator[str]:
    """The absolute names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def second_copies(file: Path) -> list[str]:
    """The imports of a file that go through a source root, as `server.backchannel` does."""
    return [name for name in imported_names(file) if name.partition(".")[0] in SOURCE_ROOTS]


def test_no_import_goes_through_a_source_root() -> None:
    """`server.backchannel` would be a second copy of `backchannel`, with classes of its own."""
    found = {
        str(file.relative_to(ROOT)): names
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
        if (names := second_copies(file))
    }
    assert found == {}


@pytest.mark.parametrize("line", ["import server.backchannel", "from protocol import backchannel_protocol"])
def test_the_search_finds_such_imports(tmp_path: Path, line: str) -> None:
    """The test above can fail: both spellings are found, nested in a function too."""
    file = tmp_path / "module.py"
    file.write_text(f"def late() -> None:\n    {line}\n")
    assert len(second_copies(file)) == 1


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_source_roots_are_no_packages(root: str) -> None:
    """A source root holds packages and is none, so that nothing can import it by accident."""
    assert not (ROOT / root / "__init__.py").exists()


def test_imports_run_one_way() -> None:
    """The contracts in pyproject.toml hold: layers, no I/O in the session, apps on public names only."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    path = os.pathsep.join(str(ROOT / root) for root in SOURCE_ROOTS)
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
