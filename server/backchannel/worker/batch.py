"""A batch: commands that share one transaction.

The order of things is the promise: lock the lanes, look up the keys in a later statement, then lock the counters and
read the rows that the handlers will probably ask for, run the handlers one after another, write what they declared
set-wise, commit, and only then publish and answer. Whatever the database refuses rolls the whole batch back; each of
its commands then runs again alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, cast

import sqlalchemy as sa
import structlog

from backchannel_protocol import Refused

from ..broker.broker import Envelope
from ..relay.relay import Failure, Reply
from ..store.store import KeyRow, StoredKey, Transaction
from .ahead import Ahead, RowMemory
from .batch_context import BatchContext
from .counters import CounterMemory, Counters
from .declared import Declared, Mark
from .failures import (
    INTERNAL,
    NO_DATABASE,
    TOO_LATE,
    UNKNOWN_OUTCOME,
    failure_of_database,
    failure_of_refusal,
    failure_of_time,
    too_large,
)
from .namespaces import Publication
from .replies import frame_size, reply_to_repeat, stored_reply
from .runtime import Runtime
from .suspend import TimeIsOut, ends_the_worker, within
from .tables import facts_of
from .work import Work
from .writes import OrderedWrites, Writes

__all__ = ["Batch", "HoldsUp", "RunAlone"]

log = structlog.get_logger(__name__)


class RunAlone(Exception):
    """The batch was rolled back; run each of its commands again, alone."""


class HoldsUp(Exception):
    """The batch was rolled back because one command waits for something; the others must go on without it.

    Args:
        work: the command.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(work.declaration.name)
        self.work: Final = work


class _Kept:
    """A command whose handler returned."""

    __slots__ = ("data", "declared", "positions", "stop", "work")

    def __init__(self, work: Work, declared: Declared, data: bytes, stop: int) -> None:
        self.work = work
        self.declared = declared
        self.data = data
        self.stop = stop
        """How many publications of the batch its own ones, and those before, are."""
        self.positions: dict[str, int] | None = None


class Batch:
    """One transaction's worth of commands. Use it once: `run`, then read `replies` and what is beside it.

    Args:
        runtime: what the worker's requests share.
        works: the commands, in the order in which they take effect.
        alone: there is only one, and no other transaction is left to try.
        memory: which counters commands use.
        rows: which rows they get.
    """

    def __init__(
        self, runtime: Runtime, works: Sequence[Work], *, alone: bool, memory: CounterMemory, rows: RowMemory
    ) -> None:
        self.runtime: Final = runtime
        self.works = works
        self.replies: list[tuple[Work, Reply]] = []
        self.left: Sequence[Work] = ()
        """Commands that were not begun, because the batch's time was over."""
        self.published: list[Envelope] = []
        """Durable and ephemeral events that may leave now."""
        self.live: list[Envelope] = []
        """Live events that may be appended now."""
        self.callbacks: list[Callable[[], Awaitable[None]]] = []
        """What waited for the commit."""
        self.took: list[tuple[Work, float]] = []
        """How many seconds each handler that ran held the batch."""
        self.writes: Final = OrderedWrites() if alone else Writes()
        self.transaction: Transaction | None = None
        """The transaction, while there is one."""
        self.ahead: Final = Ahead(rows)
        """Rows that were read before the handlers."""
        self._alone = alone
        self._memory = memory
        self._counters = Counters()
        self._heads: dict[str, int] = {}
        self._kept: list[_Kept] = []
        self._by_scope: dict[tuple[str, str], _Kept] = {}
        self._repeats: list[tuple[Work, _Kept]] = []
        self._publications: list[Publication] = []
        self._broken: BaseException | None = None

    async def ask(self) -> Transaction:
        """The transaction, for a handler that asks it for something: what was read ahead counts no more.

        Raises: as `begin`.
        """
        self.ahead.forget()
        return self.transaction or await self.begin()

    async def begin(self) -> Transaction:
        """The transaction, where a handler needs one and there is none.

        Raises:
            RuntimeError: the batch is over.
        """
        raise RuntimeError("The batch is over: read within the handler.")

    async def run(self) -> None:
        """Run the commands and commit. Afterwards each command has its reply or is in `left`.

        Cancelling rolls back, unless the commit has begun.

        Raises:
            RunAlone: the batch was rolled back, nothing happened, and no reply is valid.
            HoldsUp: the same, because of one command that waits for more than `limits.slow`.
        """
        stats = self.runtime.stats
        stats.batches += 1
        try:
            transaction = await self.runtime.store.begin(sorted({work.lane for work in self.works}))
        except Exception as exc:
            log.exception("no transaction could begin")
            self._answer_all(failure_of_database(exc) if isinstance(exc, Refused) else NO_DATABASE)
            return
        self.transaction = transaction
        try:
            try:
                await self._handle(transaction)
            finally:
                self.ahead.close()
            stats.commands_in_batches += len(self.works) - len(self.left)
            envelopes = await self._write(transaction) if self._kept else []
        except BaseException as exc:
            await self._roll_back(transaction)
            if not isinstance(exc, Exception):
                raise
            self._give_up(exc)
            return
        if not self._kept:
            await self._roll_back(transaction)
        elif not await self._commit(transaction):
            return
        self.transaction = None
        self._leave(envelopes)

    # Handlers

    async def _handle(self, transaction: Transaction) -> None:
        works = self.works
        scopes = list(dict.fromkeys([work.scope for work in works if work.request.key is not None]))
        known = await transaction.keys(scopes) if scopes else {}
        if expected := self._memory.expected(works):
            await self._counters.load(transaction, expected)
        if len(works) > 1:
            # Behind the locks of lanes and counters, so that what these protect is read as it is.
            await self.ahead.load(transaction, works)
        limits = self.runtime.limits
        spent = 0.0
        for position, work in enumerate(works):
            if spent > limits.batch_seconds:
                self.left = works[position:]
                return
            if work.request.key is not None and self._is_repeat(work, known):
                continue
            began = self.runtime.monotonic()
            if began >= work.deadline:
                self.replies.append((work, Reply(id=work.request.id, failure=TOO_LATE)))
                continue
            try:
                await self._handle_one(work, began)
            except HoldsUp:
                # It was cut off: how long it takes is not known yet, only that it is more than the limit.
                self.took.append((work, 2 * limits.slow))
                raise
            took = self.runtime.monotonic() - began
            spent += took
            self.runtime.stats.handler_seconds += took
            self.took.append((work, took))

    def _is_repeat(self, work: Work, known: Mapping[tuple[str, str], StoredKey]) -> bool:
        """Answer a command whose key was used, in an earlier transaction or in this one."""
        scope = work.scope
        stored = known.get(scope)
        if stored is not None:
            self.replies.append((work, reply_to_repeat(work, stored)))
            return True
        kept = self._by_scope.get(scope)
        if kept is None:
            return False
        if kept.work.digest == work.digest:
            self._repeats.append((work, kept))
        else:
            other = StoredKey(kept.work.digest, None)
            self.replies.append((work, reply_to_repeat(work, other)))
        return True

    async def _handle_one(self, work: Work, now: float) -> None:
        declaration = work.declaration
        assert declaration.handler is not None  # App.check ran at start
        context = BatchContext(self, work)
        declared = context.declared
        seconds = min(declaration.timeout or self.runtime.limits.handler, work.deadline - now)
        failure: Failure | None = None
        in_time = True
        data = b""
        try:
            running = cast("Coroutine[Any, Any, Any]", declaration.handler(context, work.value))
            answer = await self._driven(running, seconds)
            data = self.runtime.output.encode(declaration.name, declaration.reply, answer)
        except TimeIsOut:
            if self._holds_up(seconds):
                raise HoldsUp(work) from None
            in_time = False
            failure = failure_of_time(declaration.name, seconds)
        except Refused as exc:
            failure = failure_of_refusal(exc, declaration.name, context.errors)
        except BaseException as exc:
            if ends_the_worker(exc):
                raise
            failure = INTERNAL
            if self._broken is None:
                log.error("a handler failed", request=declaration.name, user=context.user, exc_info=exc)
        context.open = False
        if self._broken is not None:
            if not self._alone:
                raise RunAlone
            # A read that the timeout cut off breaks the transaction too, but it is not the reason.
            if in_time:
                failure = self._failure_of(self._broken, work)
        elif failure is None:
            failure = self._check(work, declared, data)
        if failure is None:
            self._keep(work, declared, data)
            return
        if declared.touched and not self._alone:
            # What a read made it write cannot be taken out of the transaction by itself.
            raise RunAlone
        self._counters.give_back(declared)
        self.replies.append((work, Reply(id=work.request.id, failure=failure)))

    def _driven(self, running: Coroutine[Any, Any, Any], seconds: float) -> Coroutine[Any, Any, Any]:
        """A handler, bounded: what waits in a transaction that others share, or wait for, must not do so for long."""
        return within(running, min(seconds, self.runtime.limits.slow), self.ahead.forget)

    def _holds_up(self, seconds: float) -> bool:
        """Whether a handler whose time is over has more of it where it holds nobody up."""
        return self.runtime.limits.slow < seconds

    def _check(self, work: Work, declared: Declared, data: bytes) -> Failure | None:
        """What keeps a command from counting although its handler returned."""
        if declared.torn:
            log.error(
                "a handler went on after a command that it called had failed, whose writes were read already: "
                "let it raise, or read before it writes",
                request=work.declaration.name,
            )
            return INTERNAL
        channels = set(declared.positions)
        channels.update([p.envelope.channel for p in declared.publications if p.kind == "durable"])
        size = frame_size(data, channels)
        if size > self.runtime.limits.frame:
            return too_large(work.declaration.name, size, self.runtime.limits.frame)
        return None

    def _keep(self, work: Work, declared: Declared, data: bytes) -> None:
        self.writes.add(declared.writes)
        self._publications.extend(declared.publications)
        self.callbacks.extend(declared.callbacks)
        kept = _Kept(work, declared, data, len(self._publications))
        self._kept.append(kept)
        if work.request.key is not None:
            self._by_scope[work.scope] = kept
        self._memory.remember(work, declared)

    # What a handler's context asks of its batch

    def broke(self, exc: BaseException) -> None:
        """The database refused something, so nothing in this transaction may count, whatever the handler does."""
        if self._broken is None:
            self._broken = exc

    async def flush_for(self, declared: Declared, tables: Collection[sa.Table] | None) -> None:
        """Write what was declared on these tables (None: on any), by the commands before and by this one."""
        writes = self.writes
        if tables is None:
            own, needed = bool(declared.writes), bool(writes)
        else:
            own = any(write.table in tables for write in declared.writes)
            needed = any(writes.touches(table) for table in tables)
        await self._flush(declared, tables, own, needed)

    async def flush_for_row(self, declared: Declared, table: sa.Table, key: Mapping[str, Any]) -> None:
        """Write what was declared on a table if it could touch this row."""
        if not declared.writes and not self.writes.touches(table):
            return
        facts = facts_of(table)
        identity = facts.identity(key)
        own = any(write.table is table and write.could_touch(facts, identity) for write in declared.writes)
        await self._flush(declared, (table,), own, self.writes.touches(table, identity))

    async def _flush(self, declared: Declared, tables: Collection[sa.Table] | None, own: bool, needed: bool) -> None:
        if not (own or needed):
            return
        if own:
            self.writes.add(declared.writes)
            declared.writes.clear()
            declared.flushes += 1
        try:
            await self.writes.flush(await self.ask(), tables)
        except BaseException as exc:
            self.broke(exc)
            raise

    async def next(self, counter: str) -> int:
        """The next value of a counter."""
        try:
            if counter not in self._counters:
                await self._counters.load(await self.ask(), [counter])
            return self._counters.next(counter)
        except BaseException as exc:
            self.broke(exc)
            raise

    async def advance(self, counter: str, to: int) -> tuple[int, int]:
        """Let a counter stand at a value at least; where it stands, and by how much that is more."""
        try:
            if counter not in self._counters:
                await self._counters.load(await self.ask(), [counter])
            return self._counters.advance(counter, to)
        except BaseException as exc:
            self.broke(exc)
            raise

    async def position(self, declared: Declared, channel: str) -> int:
        """What a channel's newest offset will be if this command is the last of the transaction."""
        head = self._heads.get(channel)
        if head is None:
            try:
                head = (await (await self.ask()).positions([channel])).get(channel, 0)
            except BaseException as exc:
                self.broke(exc)
                raise
            self._heads[channel] = head
        declared.positions[channel] = head
        return head + sum(
            publication.kind == "durable" and publication.envelope.channel == channel
            for publications in (self._publications, declared.publications)
            for publication in publications
        )

    def take_back(self, declared: Declared, mark: Mark) -> None:
        """Forget what a nested handler declared."""
        self._counters.give_back(declared, mark.counters)
        declared.take_back(mark)

    # The end

    async def _write(self, transaction: Transaction) -> list[Envelope]:
        """Write everything that counts: rows, counters, events, keys. Returns the events, with their offsets."""
        await self.writes.flush(transaction)
        await self._counters.save(transaction)
        durable = [p.envelope for p in self._publications if p.kind == "durable"]
        placed = iter(await transaction.append(durable) if durable else ())
        envelopes = [
            next(placed) if publication.kind == "durable" else publication.envelope
            for publication in self._publications
        ]
        now = self.runtime.clock()
        rows: list[KeyRow] = []
        newest: dict[str, int] = {}
        start = 0
        for kept in self._kept:
            positions: dict[str, int] = {}
            for publication, envelope in zip(
                self._publications[start : kept.stop], envelopes[start : kept.stop], strict=True
            ):
                if publication.kind == "durable":
                    newest[envelope.channel] = positions[envelope.channel] = envelope.offset
            start = kept.stop
            for channel, head in kept.declared.positions.items():
                positions.setdefault(channel, newest.get(channel, head))
            kept.positions = positions or None
            request = kept.work.request
            if request.key is not None:
                rows.append(
                    KeyRow(
                        request.principal.id,
                        request.key,
                        kept.work.digest,
                        stored_reply(kept.data, kept.positions),
                        now,
                    )
                )
        if rows:
            rows.sort(key=lambda row: (row.principal, row.key))
            await transaction.save_keys(rows)
        return envelopes

    async def _commit(self, transaction: Transaction) -> bool:
        """Make it durable; False if that failed, and the replies say so.

        Raises:
            RunAlone: the database refused, and nothing happened.
        """
        try:
            await transaction.commit()
        except Exception as exc:
            await self._roll_back(transaction)
            if isinstance(exc, Refused) and exc.outcome == "none":
                self._give_up(exc)
                return False
            log.exception("a commit failed, its outcome is unknown", commands=len(self._kept))
            self.runtime.stats.commits_failed += 1
            for work in [kept.work for kept in self._kept] + [work for work, _ in self._repeats]:
                self.replies.append((work, Reply(id=work.request.id, failure=UNKNOWN_OUTCOME)))
            self.callbacks = []
            return False
        return True

    def _leave(self, envelopes: Sequence[Envelope]) -> None:
        """After the commit: the events may leave, and the replies."""
        self.runtime.stats.events += len(envelopes)
        for publication, envelope in zip(self._publications, envelopes, strict=True):
            (self.live if publication.kind == "live" else self.published).append(envelope)
        for work, kept in [(kept.work, kept) for kept in self._kept] + self._repeats:
            self.replies.append((work, Reply(id=work.request.id, data=kept.data, positions=kept.positions)))

    async def _roll_back(self, transaction: Transaction) -> None:
        self.transaction = None
        try:
            await transaction.rollback()
        except Exception:
            log.exception("a rollback failed")

    def _give_up(self, exc: Exception) -> None:
        """After a rollback: the commands run again alone, or the only one is told why."""
        if isinstance(exc, HoldsUp):
            raise exc
        if not self._alone:
            if not isinstance(exc, RunAlone):
                log.info("a batch was rolled back", commands=len(self.works), reason=repr(exc))
            raise RunAlone from exc
        answered = {id(work) for work, _ in self.replies}
        self.callbacks = []
        for work in self.works:
            if id(work) not in answered:
                self.replies.append((work, Reply(id=work.request.id, failure=self._failure_of(exc, work))))

    def _failure_of(self, exc: BaseException, work: Work) -> Failure:
        failure = failure_of_database(exc)
        if failure is INTERNAL:
            log.error("the database refused a command", request=work.declaration.name, exc_info=exc)
        return failure

    def _answer_all(self, failure: Failure) -> None:
        self.replies = [(work, Reply(id=work.request.id, failure=failure)) for work in self.works]
