"""Inputs for Hypothesis: seeds, changed a little and a lot, and bytes from nothing."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from .targets import Target

__all__ = ["inputs_of"]

_LONGEST: Final = 4096


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """What to feed to a target's check."""
    seeds = [path.read_bytes() for path in target.seeds()]
    piece = st.sampled_from(target.tokens) | st.binary(max_size=4)

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 6))):
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.integers(0, 8)))
            match draw(st.sampled_from(("put", "put", "cut", "flip", "repeat", "splice"))):
                case "put":
                    data = data[:start] + draw(piece) + data[start:]
                case "cut":
                    data = data[:start] + data[end:]
                case "flip" if start < len(data):
                    data = data[:start] + bytes((data[start] ^ 1 << draw(st.integers(0, 7)),)) + data[start + 1 :]
                case "repeat":
                    data = data[:end] + data[start:end] * draw(st.integers(1, 40)) + data[end:]
                case "splice":
                    other = draw(st.sampled_from(seeds))
                    data = data[:start] + other[draw(st.integers(0, len(other))) :]
        return data[:_LONGEST]

    made_of_pieces = st.tuples(st.binary(max_size=2), st.lists(piece, max_size=20).map(b"".join)).map(b"".join)
    return changed() | made_of_pieces
