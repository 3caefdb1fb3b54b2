"""Which of Redis Cluster's slots a key or a topic lies in."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

__all__ = ["SLOTS", "key_slot"]

SLOTS: Final = 16384


def key_slot(key: bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of its hash tag, else of all of it.

    The hash tag is what stands between the first `{` and the next `}`, unless that is empty (Redis Cluster
    specification, "Hash tags").
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
