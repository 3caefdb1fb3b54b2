"""Reading ahead: the rows that a batch's commands will probably get, read in one statement before the first handler.

A handler that gets one row by its key costs a batch of fifty commands fifty round trips, which on PostgreSQL are most
of what a batch takes. So the worker learns from a row that a handler of a command got where its key came from: from
fields of the command's data, and from its user. The next batch reads such rows for all of its commands at once.

Nothing is correct because of it, and no handler sees anything that it could not have seen without. What was read ahead
is older than what a handler would read itself, by as much as the batch has run; so it counts only while nobody could
tell. As soon as a handler waits, or asks the transaction for anything, all that was read ahead is forgotten, and
every handler reads for itself from then on. So no read of a batch is older than one before it, or than a lock, a
counter or a position that was taken before it, and a row that was declared and written since is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..store.store import Transaction
from .tables import facts_of
from .work import Work

__all__ = ["Ahead", "RowMemory"]

# So many rows of one command are read ahead at most.
_RULES: Final = 4

_Identity = tuple[Any, ...]


class _Rule(NamedTuple):
    """A row that a command of this name got."""

    name: str
    table: sa.Table
    sources: tuple[str | None, ...]
    """For each column of the primary key the field of the data that it came from; None: the user."""

    def identity(self, work: Work) -> _Identity | None:
        """The row's key for this command; None if it names none."""
        user, value = work.request.principal.user, work.value
        identity = tuple([user if source is None else getattr(value, source) for source in self.sources])
        for part in identity:
            if type(part) is not str:
                return None
        return identity


class RowMemory:
    """Which rows commands get, by name: only keys made of text, for which equal means the same to every database."""

    __slots__ = ("_rules",)

    def __init__(self) -> None:
        self._rules: dict[str, list[_Rule]] = {}

    def rules(self, name: str) -> Sequence[_Rule]:
        """What is known of a command."""
        return self._rules.get(name, ())

    def learn(self, work: Work, table: sa.Table, identity: _Identity) -> _Rule | None:
        """Learn from a row that a command got and that was not read ahead; None if its key came from elsewhere."""
        facts = facts_of(table)
        name = work.declaration.name
        known = self._rules.setdefault(name, [])
        if not facts.keyed_by_text or len(known) >= _RULES:
            return None
        fields = work.declaration.cls.__struct_fields__
        texts = [field for field in fields if type(getattr(work.value, field)) is str]
        sources: list[str | None] = []
        for column, part in zip(facts.primary, identity, strict=True):
            same: list[str | None] = [field for field in texts if getattr(work.value, field) == part]
            if part == work.request.principal.user:
                same.append(None)
            if not same:
                return None
            # One named like the column, if there are several.
            sources.append(column if column in same else same[0])
        rule = _Rule(name, table, tuple(sources))
        if rule in known:
            return None
        known.append(rule)
        return rule

    def forget(self, rules: Sequence[_Rule]) -> None:
        """Forget what was of no use."""
        for rule in rules:
            if rule in self._rules[rule.name]:
                self._rules[rule.name].remove(rule)


class Ahead:
    """The rows that were read ahead for one batch.

    Args:
        memory: which rows commands get.
    """

    __slots__ = ("_memory", "_rows", "_rules", "_used")

    def __init__(self, memory: RowMemory) -> None:
        self._memory = memory
        self._rows: dict[tuple[sa.Table, _Identity], tuple[_Rule, sa.Row[Any] | None]] = {}
        self._rules: set[_Rule] = set()
        self._used: set[_Rule] = set()

    async def load(self, transaction: Transaction, works: Sequence[Work]) -> None:
        """Read what these commands will probably get: one statement per table."""
        wanted: dict[sa.Table, dict[_Identity, _Rule]] = {}
        for work in works:
            for rule in self._memory.rules(work.declaration.name):
                identity = rule.identity(work)
                if identity is not None:
                    wanted.setdefault(rule.table, {}).setdefault(identity, rule)
                    self._rules.add(rule)
        for table, rules in wanted.items():
            primary = facts_of(table).primary
            rows = await transaction.get_many(table, [dict(zip(primary, one, strict=True)) for one in rules])
            for (identity, rule), row in zip(rules.items(), rows, strict=True):
                self._rows[table, identity] = rule, row

    def forget(self) -> None:
        """What was read may be out of date."""
        self._rows.clear()

    def take(self, work: Work, table: sa.Table, key: Mapping[str, Any]) -> tuple[sa.Row[Any] | None] | None:
        """The row of this key, or that there is none; None if it must be read."""
        facts = facts_of(table)
        identity = facts.identity(key)
        if identity is None or len(key) != len(identity):
            return None
        found = self._rows.get((table, identity))
        if found is not None:
            self._used.add(found[0])
            return found[1:]
        if (rule := self._memory.learn(work, table, identity)) is not None:
            self._used.add(rule)
        return None

    def close(self) -> None:
        """The handlers have run: forget the rows, and the rules that were of no use to any of them."""
        self._rows.clear()
        if unused := self._rules - self._used:
            self._memory.forget(list(unused))
