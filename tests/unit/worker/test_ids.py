"""Ids of rows."""

from __future__ import annotations

import re
import subprocess
import sys

from backchannel.worker.ids import new_id


def test_ids_are_26_letters_and_digits_that_sort_by_time() -> None:
    """A later millisecond always sorts behind, and the random part differs."""
    ids = [new_id(now) for now in (0, 1, 31, 32, 1_700_000_000_000, 2**48 - 1)]
    assert ids == sorted(ids)
    assert all(re.fullmatch("[0-9a-hjkmnp-tv-z]{26}", found) for found in ids)
    assert ids[0].startswith("0000000000")
    assert ids[-1].startswith("7zzzzzzzzz")
    assert len({new_id(5) for _ in range(1000)}) == 1000


def test_ids_are_of_now_by_default() -> None:
    """Without an instant the system's clock is taken."""
    assert new_id(1_700_000_000_000) < new_id() < new_id(2**48 - 1)


def test_a_child_process_makes_ids_of_its_own() -> None:
    """What a process keeps ready is not used a second time by one that is forked from it."""
    program = """
import os
from backchannel.worker.ids import new_id
new_id(1)  # there is something ready
child = os.fork()
print("".join(new_id(1) + os.linesep for _ in range(200)), end="", flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ids = run.stdout.split()
    assert len(ids) == len(set(ids)) == 400
