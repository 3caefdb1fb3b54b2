"""The bus of one process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from ..settings import ConfigurationError
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .cluster import Cluster
from .connection import BEAT, Word
from .errors import RedisReplyError, Undelivered, reply_failure, unavailable
from .hearing import HearingConnection, Receive
from .node import Node
from .opening import Opener
from .script import Script
from .sentinel import Sentinels
from .subscriptions import Subscriptions
from .target import Address, RedisTarget
from .topology import OneServer, Topology

__all__ = ["Bus"]

log = get_logger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

# A slot that moves while a command is on its way sends it on once; more than a few times is a cluster in disorder.
_REDIRECTS: Final = 5

# Between losing a topic to another server and asking for it there: many topics of a slot are lost together.
_SETTLE_SOON: Final = 0.02

# What a script was answered that did not run, and may run elsewhere, or when it is known.
_NOT_BEGUN: Final = frozenset({"ASK", "MOVED", "NOSCRIPT"})

# How long `close` waits for the replies to what was sent, in seconds.
_CLOSING: Final = 1.0


class Bus:
    """Redis, as the relay and the broker use it: two connections per server, one for commands and one that hears.

    It belongs to the loop that `start` runs on, and every method is called there.

    What is sent while Redis cannot be reached is refused (`call`, `run`) or dropped (`publish`) at once: Redis carries
    and never owns, and whoever sends knows what a loss means. Subscriptions are asked for again by themselves.

    A Redis user of an installation needs, beside what the scripts of the relay and the broker run:
    `~PREFIX:* &PREFIX:* +ping +select +publish +subscribe +unsubscribe +eval +evalsha`, and on a cluster
    `+spublish +ssubscribe +sunsubscribe +asking +cluster|slots +cluster|info`.

    Args:
        target: where Redis is.
        prefix: begins every key and topic; installations that share a Redis differ by it.
        app: the tenant.

    Raises:
        ConfigurationError: prefix or app has other characters than letters, digits, `_`, `.` and `-`.
    """

    def __init__(self, target: RedisTarget, *, prefix: str = "backchannel", app: str = "main") -> None:
        for what, name in (("Redis prefix", prefix), ("app", app)):
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"The {what} {name!r} cannot begin Redis keys: use 1 to 64 letters, digits, '_', '.' and '-'."
                )
        self.target = target
        self.hearing = False
        """Whether everything that was subscribed is being heard."""
        self._prefix = f"{prefix}:{app}:".encode()
        self._client_name = f"{prefix}:{app}"
        self._sharded = target.kind == "cluster"
        self._publish_word = "SPUBLISH" if self._sharded else "PUBLISH"
        self._topology: Topology | None = None
        self._subscriptions = Subscriptions(self._hearing_connection, self._review, self._misplaced)
        self._watchers: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._refusals: set[str] = set()  # told since the last beat: a line per message would be a flood
        self._gauges: list[Callable[[], None]] = []
        self._again: set[asyncio.Task[Any]] = set()

    # Life

    async def start(self) -> None:
        """Try to connect, for 3 s at most. Where no Redis is there it goes on trying, and this returns all the same.

        Cancelling leaves it to be closed.

        Raises:
            ConfigurationError: Redis cannot be used and no retry cures it: login, rights, TLS, version. It is closed.
        """
        opener = Opener(target=self.target, tls=self.target.tls_context(), client_name=self._client_name)

        def make_node(server: str, resolve: Callable[[], Awaitable[Address]]) -> Node:
            return Node(server, resolve, opener, self._subscriptions, self._links_changed, sharded=self._sharded)

        if self._sharded:
            self._topology = Cluster(opener, make_node, self._subscriptions.resettle)
        else:
            sentinels = Sentinels(self.target) if self.target.kind == "sentinel" else None
            self._topology = OneServer(self.target.addresses[0], sentinels, make_node)
        self._gauges = [
            metrics.gauge("bus_hearing", "Whether everything subscribed on Redis is heard.", lambda: self.hearing),
            metrics.gauge("bus_subscriptions", "Topics subscribed on Redis.", lambda: len(self._subscriptions)),
        ]
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)
        try:
            await self._topology.start()
        except ConfigurationError:
            await self.close()
            raise

    async def close(self) -> None:
        """Send what waits, and close; replies are awaited for 1 s. Watchers are not called. Safe to call twice.

        Cancelling closes at once.
        """
        topology, self._topology = self._topology, None
        self._watchers.clear()
        self.hearing = False
        for timer in (self._timer, self._settling):
            if timer is not None:
                timer.cancel()
        for unregister in self._gauges:
            unregister()
        self._gauges = []
        if topology is not None:
            await topology.close(_CLOSING)

    # Names

    def key(self, kind: str, name: str = "") -> bytes:
        """The key, or topic, of a kind of thing: `prefix:app:kind:{name}`.

        The hash tag keeps all keys of one name in one slot, so that a script may use them together.

        Args:
            kind: a word of the relay's or the broker's, such as `log`.
            name: what it is about, such as a channel; any text.
        """
        if not name:
            return self._prefix + kind.encode()
        if "}" in name or "%" in name:  # a brace would end the tag early
            name = name.replace("%", "%25").replace("}", "%7D")
        return b"%b%b:{%b}" % (self._prefix, kind.encode(), name.encode())

    # Sending

    def publish(self, topic: bytes, payload: bytes, receivers: Callable[[int | None], None] | None = None) -> None:
        """Send a message to whoever hears the topic. It leaves with everything else of this loop tick, in order.

        Args:
            topic: made by `key`.
            payload: any bytes.
            receivers: called later with how many connections got it; None: unknown, for the connection was lost or
                absent, or Redis refused. On a cluster those of the topic's own server are counted.
        """
        metrics.bus_messages_out += 1
        answered = self._published if receivers is None else partial(self._counted, receivers)
        if self._sharded:
            answered = partial(self._spublished, topic, payload, receivers, _REDIRECTS)
        if not self._send((self._publish_word, topic, payload), topic, answered):
            metrics.bus_dropped += 1
            if receivers is not None:
                asyncio.get_running_loop().call_soon(_tell, receivers, None)

    async def call(self, *words: Word, key: bytes) -> Any:
        """Send one command and return its reply; what is called in one tick leaves together.

        Cancelling gives up waiting; the command may take effect all the same.

        Args:
            words: the command, such as `"HGET", key, "field"`.
            key: whose slot says which server is meant; one that the command uses, where it uses any.

        Raises:
            Refused: `unavailable`, with outcome `none` where nothing was done, `unknown` where the answer was lost.
            RedisReplyError: Redis refused the command.
        """
        reply = await self._ask(words, key)
        if type(reply) is RedisReplyError:
            raise reply_failure(reply)
        return reply

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Word] = ()) -> Any:
        """Run a script as one step and return its reply. A server that does not know it gets it.

        Scripts run in the order of the calls, except right after Redis forgot them: one that must be sent again may be
        overtaken by a later call. Await the one before where the order matters.

        Cancelling gives up waiting; the script may run all the same.

        Args:
            script: the script.
            keys: all keys that it uses, of one slot; at least one.
            args: its arguments.

        Raises:
            Refused: as in `call`.
            RedisReplyError: the script is wrong, or may not do what it does.
        """
        reply = await self._ask(("EVALSHA", script.sha, len(keys), *keys, *args), keys[0])
        if type(reply) is RedisReplyError and reply.code == "NOSCRIPT":
            reply = await self._ask(("EVAL", script.text, len(keys), *keys, *args), keys[0])
        if type(reply) is RedisReplyError:
            raise reply_failure(reply)
        return reply

    def begin(
        self, script: Script, keys: Sequence[bytes], args: Sequence[Word], answered: Callable[[Any], None]
    ) -> None:
        """As `run`, without a task and a future to wait with, for whoever runs a script often.

        Args:
            script: the script.
            keys: all keys that it uses, of one slot; at least one.
            args: its arguments.
            answered: called later with the reply, or with the exception that `run` raises.
        """
        words = ("EVALSHA", script.sha, len(keys), *keys, *args)
        if not self._send(words, keys[0], partial(self._begun, script, keys, args, answered)):
            asyncio.get_running_loop().call_soon(_tell, answered, unavailable("none"))

    def _begun(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[Word],
        answered: Callable[[Any], None],
        reply: Any,
    ) -> None:
        if type(reply) is Undelivered:
            reply = unavailable(reply.outcome)
        elif type(reply) is RedisReplyError:
            if reply.code in _NOT_BEGUN:
                task = asyncio.get_running_loop().create_task(self.run(script, keys, args), name=script.name)
                self._again.add(task)
                task.add_done_callback(self._again.discard)
                task.add_done_callback(partial(_tell_result, answered))
                return
            if self._topology is not None:
                self._topology.redirected(reply)
            reply = reply_failure(reply)
        _tell(answered, reply)

    def _send(self, words: tuple[Word, ...], key: bytes, answered: Callable[[Any], None]) -> bool:
        node = None if self._topology is None else self._topology.node(key)
        connection = None if node is None else node.commands.connection
        return connection is not None and connection.send(words, answered)

    async def _ask(self, words: tuple[Word, ...], key: bytes) -> Any:
        """The reply, or the error reply that is nobody's to follow.

        Raises:
            Refused: `unavailable`.
        """
        topology = self._topology
        node = None if topology is None else topology.node(key)
        if topology is None or node is None:
            raise unavailable("none")
        asking = False
        for _ in range(_REDIRECTS):
            reply = await node.ask(words, asking=asking)
            if type(reply) is Undelivered:
                raise unavailable(reply.outcome)
            if type(reply) is not RedisReplyError:
                return reply
            onward = topology.redirected(reply)
            if onward is None:
                return reply
            node, asking = onward
            await node.tried()  # it may be new: a slot moves to a server that served none
        raise unavailable("none")

    def _published(self, reply: Any) -> None:
        if type(reply) is RedisReplyError:
            self._publish_refused(reply)

    def _counted(self, receivers: Callable[[int | None], None], reply: Any) -> None:
        self._published(reply)
        _tell(receivers, reply if type(reply) is int else None)

    def _spublished(
        self, topic: bytes, payload: bytes, receivers: Callable[[int | None], None] | None, attempts: int, reply: Any
    ) -> None:
        """As `_counted`, on a cluster: a message whose slot has moved follows it."""
        if type(reply) is RedisReplyError:
            self._publish_refused(reply)
            again = partial(self._spublished, topic, payload, receivers, attempts - 1)
            if reply.code == "MOVED" and attempts and self._send((self._publish_word, topic, payload), topic, again):
                return
        if receivers is not None:
            _tell(receivers, reply if type(reply) is int else None)

    def _publish_refused(self, error: RedisReplyError) -> None:
        if error.code != "MOVED":
            metrics.bus_dropped += 1
            if error.code not in self._refusals:
                self._refusals.add(error.code)
                log.error("redis refuses a message", error=str(error))
        if self._topology is not None:
            self._topology.redirected(error)

    # Hearing

    async def subscribe(self, topic: bytes, receive: Receive) -> None:
        """Hear a topic; returns once Redis has confirmed it. It is asked for again after every loss.

        `receive` gets the payloads of consecutive messages of all topics that share this very object, in order, once
        per read; it must not block. A topic has one receiver. Cancelling withdraws the wish, unless an earlier call for
        the same topic has returned or still waits.

        Raises:
            ValueError: the topic has another receiver.
            Refused: `unavailable`, after 5 s; the wish is withdrawn.
            RedisReplyError: Redis does not allow it; the wish is withdrawn.
        """
        await self._subscriptions.subscribe(topic, receive)

    def unsubscribe(self, topic: bytes) -> None:
        """Hear a topic no more: its receiver gets nothing after this. One that is not heard is left alone."""
        self._subscriptions.unsubscribe(topic)

    def watch(self, lost: Callable[[], None], back: Callable[[], None]) -> Callable[[], None]:
        """Call `lost` as soon as something subscribed is not heard, `back` when all of it is confirmed again.

        They are called in turns, beginning with the opposite of `hearing`; what was published in between is lost.

        Returns:
            The function that ends it.
        """
        watcher = (lost, back)
        self._watchers.append(watcher)

        def unwatch() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return unwatch

    def _hearing_connection(self, topic: bytes) -> HearingConnection | None:
        node = None if self._topology is None else self._topology.node(topic)
        return None if node is None else node.hearing.connection

    def _links_changed(self) -> None:
        if isinstance(self._topology, Cluster):
            self._topology.look_again()
            self._settle_soon()
        self._review()

    def _misplaced(self, error: RedisReplyError) -> None:
        """A server refuses to let a topic be heard there; where it tells who does, that one is asked soon."""
        if self._topology is not None and self._topology.redirected(error) is not None:
            self._settle_soon()

    def _settle_soon(self) -> None:
        if self._settling is None and self._topology is not None:
            self._settling = asyncio.get_running_loop().call_later(_SETTLE_SOON, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self._subscriptions.settle()

    def _review(self) -> None:
        """Tell the watchers when hearing is lost or back."""
        topology = self._topology
        if topology is None:
            return
        hears = topology.hears() and self._subscriptions.complete
        if hears == self.hearing:
            return
        self.hearing = hears
        if hears:
            log.info("everything is heard", topics=len(self._subscriptions))
        for lost, back in tuple(self._watchers):
            try:
                (back if hears else lost)()
            except Exception:
                # One watcher's fault must not cost the others the news.
                log.exception("a watcher failed", hears=hears)

    def _beat(self) -> None:
        self._refusals.clear()
        self._subscriptions.settle()
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)


def _tell(callback: Callable[[Any], None], what: Any) -> None:
    try:
        callback(what)
    except Exception:
        log.exception("a callback failed")


def _tell_result(callback: Callable[[Any], None], task: asyncio.Task[Any]) -> None:
    failure = unavailable("unknown") if task.cancelled() else task.exception()
    _tell(callback, task.result() if failure is None else failure)
