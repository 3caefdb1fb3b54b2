from __future__ import annotations

from backchannel_client.backoff import Backoff


def test_delays_are_drawn_from_zero_to_a_ceiling_that_doubles() -> None:
    """Full jitter: with the highest draw the delays are the ceilings, 0.5 s doubling up to 20 s."""
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    assert Backoff(lambda: 0.0).next() == 0


def test_only_a_connection_that_stayed_up_resets() -> None:
    """A server that accepts and drops at once must not be hammered."""
    backoff = Backoff(lambda: 1.0, steady=5.0)
    for _ in range(4):
        backoff.next()
    assert not backoff.lost(4.9)
    assert backoff.next() == 8
    assert backoff.lost(5.0)
    assert backoff.next() == 0.5
