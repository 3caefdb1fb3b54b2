"""Workload: what a chaos run does with an app, and how it reads what the app tells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from msgspec import Struct

__all__ = ["OPERATOR_KEY", "PREPARE_KEY", "Asked", "Execute", "LoggedEvent", "RightsChange", "Workload"]

PREPARE_KEY = "chaos-prepare-"
OPERATOR_KEY = "chaos-operator-"
"""What the keys of commands begin with that make a run possible, and are not its load."""

Execute = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs a SELECT on the run's database and returns its rows."""


class Asked(Struct, frozen=True):
    """A request that a client is to make, or an event that it is to publish."""

    name: str
    data: Mapping[str, Any]


class LoggedEvent(Struct, frozen=True):
    """An event of a durable log, as the database has it in the end."""

    offset: int
    name: str
    data: Any
    user: str | None


class RightsChange(Struct, frozen=True):
    """What an event says of somebody's right to its channel."""

    kind: Literal["revoked", "granted"]
    user: str


class Workload(ABC):
    """What a chaos run asks of an app. Subclass it, and name an instance with `backchannel chaos --workload`.

    An *effect* is the name by which you tell one command's doing from another's. The run makes it up, `ask` puts it
    into a command, and `effect` finds it again in the event that the command publishes.
    """

    app: ClassVar[str]
    """The app as `module:attribute`, importable from the current folder; gateways and workers are started with it."""
    operator: ClassVar[str] = "operator"
    """The user who gives and takes rights."""
    channels: ClassVar[Sequence[str]]
    """Durable channels that clients write to and listen to; at least one."""
    live: ClassVar[Sequence[str]] = ()
    """Live channels that clients listen to, and publish on where `publish` says what."""
    bulk: ClassVar[str | None] = None
    """A durable channel for large events, written to while readers are slow; None: there is none."""
    exact: ClassVar[bool] = False
    """Whether a reply's `positions` name the very offset of the command's event on its channel: it has one there."""
    presence: ClassVar[bool] = False
    """Whether the namespace of `channels` has presence, so that its lists are compared with who listens."""

    def prepare(self, users: Sequence[str]) -> Iterable[tuple[str, Asked]]:
        """Commands to begin with, each with the user who asks it: make channels, let `users` in."""
        return ()

    @abstractmethod
    def ask(self, user: str, channel: str, effect: str, size: int) -> Asked:
        """A command whose effect is an event on `channel`.

        Args:
            user: who asks.
            channel: one of `channels`, or `bulk`.
            effect: up to 40 letters, digits and `-`.
            size: about how many bytes the event should have; 0: as few as it needs.
        """

    @abstractmethod
    def effect(self, name: str, data: Any) -> Hashable:
        """The effect that an event stands for; None for an event that no `ask` made."""

    def publish(self, channel: str, effect: str) -> Asked | None:
        """An event that a client publishes on one of `live`; None: clients publish nothing."""
        return None

    # Where these return None, the run does without.

    def count(self, channel: str) -> Asked | None:
        """A query that answers `{"count": n}`: how many effects `channel` has; its `positions` name the channel."""
        return None

    def revoke(self, user: str, channel: str) -> Asked | None:
        """A command of the operator's that takes a user's right to a channel away (with `ends=[user]`)."""
        return None

    def grant(self, user: str, channel: str) -> Asked | None:
        """A command of the operator's that gives the right back, to what comes from then on."""
        return None

    def banish(self, user: str) -> Asked | None:
        """A command of the operator's that makes a user's tokens void (`ctx.revoke`)."""
        return None

    def rights(self, name: str, data: Any) -> RightsChange | None:
        """What an event says of a right: that it was revoked or granted."""
        return None

    def disagreements(self, execute: Execute, log: Mapping[str, Sequence[LoggedEvent]]) -> Iterable[str]:
        """What in the app's own tables does not agree with the logs, in sentences; `execute` runs a SELECT."""
        return ()
