"""What a client's side of the framing needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from websockets.frames import Frame, Opcode

Masked = Callable[..., bytes]


@pytest.fixture(scope="session")
def masked() -> Masked:
    """Makes a client's frame, with an independent implementation."""

    def make(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
        return Frame(Opcode(opcode), payload, fin).serialize(mask=True)

    return make
