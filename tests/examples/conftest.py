"""Lets the tests of the examples import them by their names, as they would in a project of one's own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load(name: str) -> None:
    """Make `examples.<name>` importable, without putting the project's root on the path."""
    spec = importlib.util.spec_from_file_location(f"examples.{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


load("shop")
load("shop_chaos")
