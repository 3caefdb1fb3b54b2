"""Namespaces as the worker knows them: kinds, bounds and rules of channels, and how an event becomes an envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from backchannel_protocol import Event, Refused
from backchannel_protocol.limits import CHANNEL_RE

from ..app import App, Kind, Namespace
from ..broker.broker import Envelope, LogBounds
from .output import Output

__all__ = ["Namespaces", "Publication"]


class Publication(NamedTuple):
    """An event that is to leave, and how."""

    envelope: Envelope
    kind: Kind


class _Rules(NamedTuple):
    rule: Namespace
    kind: Kind
    bounds: LogBounds


class Namespaces:
    """An app's namespaces and the built-in ones; each class is made into an instance once."""

    def __init__(self, app: App, event_limit: int) -> None:
        self._events: Final = app.all_events()
        self._event_limit = event_limit
        self._output: Final = Output()
        self._rules = {name: _rules(declaration.cls) for name, declaration in app.all_namespaces().items()}

    def rule(self, channel: str) -> Namespace | None:
        """The namespace that a channel belongs to; None if nobody declared it."""
        rules = self._rules.get(channel.partition(":")[0])
        return rules and rules.rule

    def kind(self, channel: str) -> Kind:
        """The kind of a channel.

        Raises:
            ValueError: the namespace is not declared.
        """
        return self._of(channel).kind

    def bounds(self, channel: str) -> LogBounds:
        """How much of a channel's log is kept.

        Raises:
            ValueError: the namespace is not declared.
        """
        return self._of(channel).bounds

    def publication(
        self,
        channel: str,
        event: Event,
        *,
        now: int,
        user: str | None,
        key: str | None = None,
        subject: str | None = None,
        ends: Sequence[str] | None = None,
    ) -> Publication:
        """Check an event and make its envelope.

        Raises:
            ValueError: the event or the namespace is not declared, or the channel is none.
            TypeError: the event's fields hold what it does not declare.
            Refused: `too_large`, the event is over the limit.
        """
        name = type(event).wire_name
        declaration = self._events.get(name)
        if declaration is None or declaration.cls is not type(event):
            raise ValueError(
                f"publish: {type(event).__qualname__} is not declared: put @app.event('noun.participle') on it."
            )
        if not CHANNEL_RE.match(channel):
            raise ValueError(f"publish: {channel!r} is not a channel: use `namespace:name`.")
        kind: Kind = "ephemeral" if declaration.ephemeral else self._of(channel).kind
        data = self._output.encode(name, declaration.cls, event)
        if len(data) > self._event_limit:
            raise Refused("too_large", f"The event {name} has {len(data)} bytes, and {self._event_limit} are allowed.")
        return Publication(
            Envelope(
                channel=channel,
                name=name,
                data=data,
                user=user,
                key=key,
                subject=subject,
                time=now,
                ends=None if ends is None else list(ends),
            ),
            kind,
        )

    def _of(self, channel: str) -> _Rules:
        name = channel.partition(":")[0]
        rules = self._rules.get(name)
        if rules is None:
            raise ValueError(f"Namespace {name!r} is not declared: put @app.namespace({name!r}) on a class.")
        return rules


def _rules(cls: type[Namespace]) -> _Rules:
    return _Rules(cls(), cls.kind, LogBounds(cls.history, cls.max_age))
