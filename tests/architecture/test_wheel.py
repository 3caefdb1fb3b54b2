"""What an installed Backchannel has."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> set[str]:
    """Every file of the wheel, by its path in it."""
    return {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}


@pytest.mark.parametrize("package", ["backchannel", "backchannel_client", "backchannel_protocol"])
def test_type_checkers_believe_the_wheel(files: set[str], package: str) -> None:
    """PEP 561: without `py.typed` every name of ours would be Any to whoever installs it."""
    assert {f"{package}/py.typed", f"{package}/__init__.py"} <= files


def test_the_wheel_has_nothing_else(files: set[str]) -> None:
    """No tests, no scripts: nothing that would shadow a module of somebody else's."""
    assert {file.partition("/")[0] for file in files} == {"backchannel", "backchannel_client", "backchannel_protocol"}
