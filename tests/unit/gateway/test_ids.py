"""Ids of sessions."""

from __future__ import annotations

import re
from itertools import islice

from backchannel.gateway.ids import random_ids


def test_ids_are_random_and_safe_in_a_url() -> None:
    """16 letters for 96 bits, none twice, also beyond what the kernel gave at once and between two gateways."""
    ids = [*islice(random_ids(), 600), *islice(random_ids(), 600)]
    assert len(set(ids)) == 1200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", each) for each in ids)
