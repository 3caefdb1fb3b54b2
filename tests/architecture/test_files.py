"""The project's files read the same on any machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = {".bin", ".gif", ".ico", ".jpg", ".png", ".woff2"}
MACHINE_PATH = re.compile("|".join(f"/{name}/" for name in ("work", "root", "home", "Users")))


def files() -> Iterator[Path]:
    """Every text file of the project: what .gitignore does not name."""
    ignored = [line for line in (ROOT / ".gitignore").read_text().splitlines() if line and line[0] != "#"]
    patterns = [".git", *(line.rstrip("/") for line in ignored)]

    def is_ours(path: Path) -> bool:
        return not any(fnmatch(path.name, p) or str(path.relative_to(ROOT)) == p for p in patterns)

    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if is_ours(Path(folder, name))]
        yield from (p for name in names if is_ours(p := Path(folder, name)) and p.suffix not in BINARY)


@cache
def texts() -> dict[str, str]:
    """The text of every file, by its path from the project's root."""
    found = {str(file.relative_to(ROOT)): file.read_bytes().decode() for file in files()}
    return {name: text for name, text in found.items() if text}


def test_files_are_found() -> None:
    """The tests below look at something: the walk reaches all parts and skips what is ignored."""
    assert {"README.md", ".ci/run", "protocol/backchannel_protocol/frames.py"} <= texts().keys()
    assert not any(".venv/" in name or "node_modules/" in name for name in texts())


def test_no_file_names_a_folder_of_one_machine() -> None:
    """A path below somebody's home works for nobody else."""
    found = {name: match.group() for name, text in texts().items() if (match := MACHINE_PATH.search(text))}
    assert found == {}


def test_text_files_end_with_one_newline() -> None:
    """Tools that append, compare or concatenate need the last line closed, and no empty lines behind it."""
    assert [name for name, text in texts().items() if not text.endswith("\n") or text.endswith("\n\n")] == []


def test_lines_end_without_carriage_return_or_space() -> None:
    """One line ending everywhere, and no trailing space, except Markdown's own line break."""
    pattern = re.compile(r"\r|[ \t]+$", re.MULTILINE)
    assert [name for name, text in texts().items() if not name.endswith(".md") and pattern.search(text)] == []


@pytest.mark.parametrize(
    "script", ["serve", "test", "check", "generate", "bench", "setup-system", "setup-contract-tools"]
)
def test_scripts_can_be_run(script: str) -> None:
    """A script is executable and stops at the first error."""
    path = ROOT / "scripts" / script
    assert os.access(path, os.X_OK)
    assert "lib.sh" in path.read_text()
    assert "set -euo pipefail" in (ROOT / "scripts" / "lib.sh").read_text()


def test_the_readme_shows_the_example_as_it_is() -> None:
    """The app in the README is examples/shop.py, word for word, so that what is read is what is tested."""
    assert f"```python\n{texts()['examples/shop.py']}```\n" in texts()["README.md"]
