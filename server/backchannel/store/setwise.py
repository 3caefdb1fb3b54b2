"""What a transaction was told to write, checked and turned into the driver's values: the same for every database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..broker.broker import Envelope
from .shapes import TableShape

__all__ = [
    "Rows",
    "Updates",
    "count_by_channel",
    "deletes_of",
    "ends_text",
    "envelope_of",
    "inserts_of",
    "place",
    "updates_of",
]

_ENDS: Final = msgspec.json.Decoder(list[str])


class Rows(NamedTuple):
    """Rows of one statement, or the keys of rows."""

    names: tuple[str, ...]
    rows: list[list[Any]]


class Updates(NamedTuple):
    """Changes of one statement, or of one after another."""

    keys: tuple[str, ...]
    names: tuple[str, ...]
    changes: list[tuple[list[Any], list[Any]]]
    """(new values, key)."""
    one_by_one: bool
    """Whether a statement for all of them could mean something else than one after another.

    One statement sees all rows as they were before it. That equals one after another only if no change can make or
    unmake another's match, and no two keys are one to the database.
    """


def inserts_of(shape: TableShape, rows: Sequence[Mapping[str, Any]]) -> Rows:
    """At least one row; columns with a Python default may be left out.

    Raises:
        ValueError: the rows name different columns, or one that does not exist.
    """
    names = shape.names(rows[0])
    if absent := shape.defaults.difference(names):
        rows = [{name: shape.columns[name].default() for name in absent} | dict(row) for row in rows]  # type: ignore[misc]
        names = shape.names(rows[0])
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"insert: all rows for table {shape.table.name!r} must name the same columns.")
    return Rows(names, [shape.bind(names, row) for row in rows])


def updates_of(shape: TableShape, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Updates:
    """At least one pair of key columns and new values.

    Raises:
        ValueError: the changes name different columns, or one that does not exist.
    """
    keys = shape.key_names(changes[0][0])
    names = shape.names(changes[0][1])
    if not names:
        raise ValueError(f"update: table {shape.table.name!r}: name at least one new value.")
    if any(len(key) != len(keys) or len(values) != len(names) for key, values in changes):
        raise ValueError(f"update: all changes of table {shape.table.name!r} must name the same columns.")
    bound = [(shape.bind(names, values), shape.bind_key(keys, key)) for key, values in changes]
    if set(keys) & set(names) or any(shape.columns[name].collated for name in keys):
        return Updates(keys, names, bound, one_by_one=True)
    last = list({tuple(key): (values, key) for values, key in bound}.values())
    return Updates(keys, names, last, one_by_one=len(last) == 1)


def deletes_of(shape: TableShape, keys: Sequence[Mapping[str, Any]]) -> Rows:
    """At least one key.

    Raises:
        ValueError: the keys name different columns, or one that does not exist.
    """
    names = shape.key_names(keys[0])
    if any(len(key) != len(names) for key in keys):
        raise ValueError(f"delete: all keys for table {shape.table.name!r} must name the same columns.")
    return Rows(names, [shape.bind_key(names, key) for key in keys])


def count_by_channel(envelopes: Sequence[Envelope]) -> dict[str, int]:
    """How many events each channel gets, in the order in which all transactions lock heads."""
    return dict(sorted(Counter(envelope.channel for envelope in envelopes).items()))


def place(
    envelopes: Sequence[Envelope], counts: Mapping[str, int], heads: Mapping[str, tuple[str, int]]
) -> list[Envelope]:
    """Complete copies of events: (epoch, offset) of `heads` is where each channel stands with all of them."""
    offsets = {channel: heads[channel][1] - count for channel, count in counts.items()}
    complete: list[Envelope] = []
    for envelope in envelopes:
        channel = envelope.channel
        offsets[channel] += 1
        complete.append(msgspec.structs.replace(envelope, epoch=heads[channel][0], offset=offsets[channel]))
    return complete


def ends_text(envelope: Envelope) -> str | None:
    """`ends` as its column holds it."""
    return None if envelope.ends is None else msgspec.json.encode(envelope.ends).decode()


def envelope_of(
    channel: str,
    epoch: str,
    offset: int,
    name: str,
    data: str,
    user: str | None,
    key: str | None,
    subject: str | None,
    time: int,
    ends: str | None,
) -> Envelope:
    """An event as its row holds it."""
    return Envelope(
        channel=channel,
        name=name,
        data=data.encode(),
        epoch=epoch,
        offset=offset,
        user=user,
        key=key,
        subject=subject,
        time=time,
        ends=None if ends is None else _ENDS.decode(ends),
    )
