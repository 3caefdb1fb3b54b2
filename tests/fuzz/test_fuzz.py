"""Hostile bytes have documented outcomes only: the committed seeds first, then as many inputs as a few seconds hold.

`./scripts/fuzz` goes on for minutes or hours, and leaves what it finds among the seeds.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .inputs import inputs_of
from .targets import SEEDS, TARGETS, Target

EXAMPLES = 2500 if os.environ.get("CI") else 400
"""Inputs per target: seconds at a desk, minutes in CI."""

SEED_FILES = [(target, path) for target in TARGETS.values() for path in target.seeds()]


def test_every_folder_of_seeds_has_a_target() -> None:
    """No seed is left behind when a target is renamed, each target has some, and they are small."""
    assert {path.name for path in SEEDS.iterdir()} == set(TARGETS)
    for target in TARGETS.values():
        assert target.seeds()
        assert all(path.stat().st_size <= 4096 for path in target.seeds())


@pytest.mark.parametrize(("target", "seed"), SEED_FILES, ids=[f"{t.name}-{path.stem}" for t, path in SEED_FILES])
def test_seeds(target: Target, seed: Path) -> None:
    """Every input that ever mattered has a documented outcome."""
    target.check(seed.read_bytes())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_random_inputs(target: Target, draw: st.DataObject) -> None:
    """So has every other."""
    target.check(draw.draw(inputs_of(target)))


def test_every_close_code() -> None:
    """Of the 65536 codes, those may be sent that an independent implementation lets pass."""
    for code in range(65_536):
        TARGETS["close"].check(code.to_bytes(2, "big"))
