"""Importing: a stream of records, wherever they come from, goes through here into the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from backchannel import Publisher, Refused, Struct

from .putting import Put, PutRecords, SettleChannel, Skipped
from .records import Record

__all__ = ["ImportReport", "import_records"]

_ROWS: Final = 500
_BYTES: Final = 256 * 1024
_EXAMPLES: Final = 5


class TableReport(Struct):
    """What became of the records of one table."""

    read: int = 0
    inserted: int = 0
    known: int = 0
    """They were there already."""
    skipped: int = 0


class ImportReport(Struct):
    """What became of an import."""

    tables: dict[str, TableReport] = {}
    skipped: dict[str, int] = {}
    """How many records were skipped for each kind of reason (names and numbers left out)."""
    examples: dict[str, list[str]] = {}
    """Some reasons in full, with the record's number in the file."""
    unknown: dict[str, int] = {}
    """What the file has that chat has no place for, by kind."""

    @property
    def read(self) -> int:
        """All records."""
        return sum(table.read for table in self.tables.values())

    @property
    def inserted(self) -> int:
        """Those that were put in."""
        return sum(table.inserted for table in self.tables.values())

    @property
    def known(self) -> int:
        """Those that were there already."""
        return sum(table.known for table in self.tables.values())

    @property
    def left_out(self) -> int:
        """Those that were skipped."""
        return sum(table.skipped for table in self.tables.values())

    def skip(self, table: str, number: int, reason: str) -> None:
        """Count a record that was skipped."""
        kind = f"{table}: {_kind(reason)}"
        self.skipped[kind] = self.skipped.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"record {number}: {reason}")
        self.tables.setdefault(table, TableReport()).skipped += 1


def _kind(reason: str) -> str:
    """A reason without what names one record: quoted words and numbers."""
    return " ".join("…" if word[:1] in "'\"0123456789(" else word for word in reason.split())


async def import_records(
    publisher: Publisher,
    records: Iterable[Record],
    *,
    dry_run: bool = False,
    settle: bool = False,
    progress: Callable[[int], None] | None = None,
    unknown: Counter[str] | None = None,
) -> ImportReport:
    """Put a stream of records into the database.

    What is there already stays as it is, so an import may be repeated, and one that was cut off goes on by being begun
    again. Each chunk is a command of its own; others may use the installation meanwhile, if it is one of several
    processes.

    Args:
        publisher: whoever asks.
        records: what there is, in the order of `ledger.LEDGER`: what is referred to comes first.
        dry_run: change nothing, and tell what would become of it, but for what hangs on other records.
        settle: count anew what follows from rows, for records that do not bring it: members, reactions, threads.
        progress: called with the number of records that are dealt with.
        unknown: what the reader of the records could not make records of; told in the report.

    Raises:
        BadExport: from `records`.
        Refused: the installation cannot take it; begin again later.
    """
    report = ImportReport()
    touched: dict[str, None] = {}
    chunk: list[Record] = []
    size = number = 0

    async def put() -> None:
        nonlocal size
        if chunk:
            await _put(publisher, chunk, number - len(chunk) + 1, dry_run, report)
            if progress is not None:
                progress(len(chunk))
        chunk.clear()
        size = 0

    for record in records:
        bytes_ = len(msgspec.json.encode(record.row))
        if chunk and (record.table != chunk[0].table or len(chunk) >= _ROWS or size + bytes_ > _BYTES):
            await put()
        number += 1
        chunk.append(record)
        size += bytes_
        channel = record.row.get("channel")
        if settle and record.table == "channels" and isinstance(channel, str):
            touched[channel] = None
    await put()
    if not dry_run:
        for channel in touched:
            await _settle(publisher, channel)
    report.unknown = dict(unknown or {})
    return report


async def _settle(publisher: Publisher, channel: str) -> None:
    after: int | None = 0
    while after is not None:
        after = (await publisher.call(SettleChannel(channel, after), user="")).after


async def _put(publisher: Publisher, chunk: list[Record], first: int, dry_run: bool, report: ImportReport) -> None:
    """Put in one chunk, and count what became of it; what the database refuses is found by halving."""
    name = chunk[0].table
    table = report.tables.setdefault(name, TableReport())
    rows = msgspec.json.encode([record.row for record in chunk]).decode()
    try:
        put = await publisher.call(PutRecords(name, rows, dry_run), user="")
    except Refused as refused:
        if refused.code not in ("conflict", "too_large", "invalid"):
            raise
        if len(chunk) > 1:
            half = len(chunk) // 2
            await _put(publisher, chunk[:half], first, dry_run, report)
            await _put(publisher, chunk[half:], first + half, dry_run, report)
            return
        put = Put(skipped=[Skipped(0, f"The database refuses it ({refused.code}).")])
    table.read += len(chunk)
    table.inserted += put.inserted
    table.known += put.known
    for one in put.skipped:
        report.skip(name, first + one.index, one.reason)
