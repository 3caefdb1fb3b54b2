"""Metrics: plain counters that hot paths add to, and their Prometheus text.

`metrics` is the one object of this process; adding to it is an attribute update and takes no lock: every counter is
written on one thread only. What can be counted when asked (how many subscriptions there are) is a gauge, a function
that is called when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Count", "Metrics", "exposition", "measure", "metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of `exposition`."""

_PREFIX: Final = "backchannel_"

# Attribute, help.
_COUNTERS: Final = {
    "connections_opened": "Connections that were accepted.",
    "frames_in": "Frames that clients sent.",
    "frames_malformed": "Frames that broke the framing or the contract.",
    "calls": "Commands and queries that were asked, at every door.",
    "replies": "Commands and queries that were answered with a reply.",
    "events": "Events that this process received for its listeners.",
    "deliveries": "Events written to listeners.",
    "bytes_out": "Bytes written to WebSockets.",
    "slow_closes": "Connections closed because too much was queued for them.",
    "pings": "Pings sent to clients.",
    "silent_closes": "Connections closed because the client gave no sign of life.",
    "rate_limited": "Requests refused because they came too fast.",
    "bus_bytes_in": "Bytes that Redis sent.",
    "bus_bytes_out": "Bytes sent to Redis.",
    "bus_messages_in": "Messages that arrived on topics of Redis.",
    "bus_messages_out": "Messages published on topics of Redis.",
    "bus_dropped": "Messages that could not be published, since Redis was out of reach or refused them.",
    "bus_reconnects": "Connections to Redis that were made again after a loss.",
    "deafnesses": "Times that this gateway could not hear what other processes publish.",
}

# Attribute, label, help.
_LABELLED: Final = {
    "refused": ("code", "Connections refused before they opened a session, by error code."),
    "handshakes_refused": ("reason", "WebSocket handshakes that were refused, by reason."),
    "closes": ("code", "Connections that the server closed, by close code."),
    "errors": ("code", "Requests answered with an error, by code."),
    "gaps": ("reason", "Gaps told to listeners, by reason."),
    "http_requests": ("status", "Answers of the HTTP door, by status."),
}

_CONNECTIONS_HELP: Final = "Connections that are open."


class Count(NamedTuple):
    """One counter that is kept elsewhere."""

    name: str
    help: str
    values: Mapping[str, float]
    """By the label's value; under the empty one where there is no label."""
    label: str = ""


Reader = Callable[[], Iterable[Count]]


class Metrics:
    """The counters of one process. They only ever grow, but `connections`, which is how many are open now."""

    __slots__ = ("_gauges", "_readers", "connections", *_COUNTERS, *_LABELLED)

    connections: int
    connections_opened: int
    frames_in: int
    frames_malformed: int
    calls: int
    replies: int
    events: int
    deliveries: int
    bytes_out: int
    slow_closes: int
    pings: int
    silent_closes: int
    rate_limited: int
    bus_bytes_in: int
    bus_bytes_out: int
    bus_messages_in: int
    bus_messages_out: int
    bus_dropped: int
    bus_reconnects: int
    deafnesses: int
    refused: Counter[str]
    handshakes_refused: Counter[str]
    closes: Counter[str]
    errors: Counter[str]
    gaps: Counter[str]
    http_requests: Counter[str]

    def __init__(self) -> None:
        self.connections = 0
        for name in _COUNTERS:
            setattr(self, name, 0)
        for name in _LABELLED:
            setattr(self, name, Counter())
        self._gauges: dict[str, tuple[str, list[Callable[[], float]]]] = {}
        self._readers: list[Reader] = []

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> Callable[[], None]:
        """Register a gauge that `read` tells when asked; returns the function that takes it away again.

        Several registrations under one name are summed: there may be more than one gateway in a process.

        Raises:
            ValueError: the name is a counter's.
        """
        if name in _COUNTERS or name in _LABELLED or name == "connections":
            raise ValueError(f"{name!r} is a counter; choose another name for the gauge.")
        _, readers = self._gauges.setdefault(name, (help_text, []))
        readers.append(read)

        def unregister() -> None:
            if read in readers:
                readers.remove(read)
                if not readers and self._gauges.get(name, (None, None))[1] is readers:
                    del self._gauges[name]

        return unregister

    def counters(self, read: Reader) -> Callable[[], None]:
        """Register counters that are kept elsewhere, as a worker's are; returns what takes them away again.

        Args:
            read: tells them when asked; one name always with the same label.
        """
        self._readers.append(read)

        def unregister() -> None:
            if read in self._readers:
                self._readers.remove(read)

        return unregister

    def elsewhere(self) -> list[Count]:
        """Counters that are kept elsewhere, summed where several registered the same one."""
        found: dict[str, Count] = {}
        for count in [count for read in self._readers for count in read()]:
            before = found.get(count.name)
            sums = dict(before.values) if before is not None else {}
            for label, value in count.values.items():
                sums[label] = sums.get(label, 0.0) + value
            found[count.name] = count._replace(values=sums)
        return list(found.values())

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Every gauge's name, help and present value."""
        yield "connections", _CONNECTIONS_HELP, float(self.connections)
        for name, (help_text, readers) in list(self._gauges.items()):
            yield name, help_text, float(sum(read() for read in readers))

    def measure(self) -> dict[str, float]:
        """Totals since the start and present gauges, by name. Of what is counted by label, the sum."""
        found: dict[str, float] = {name: value for name, _, value in self.gauges()}
        for name in _COUNTERS:
            found[name] = float(getattr(self, name))
        for name in _LABELLED:
            found[name] = float(getattr(self, name).total())
        for count in self.elsewhere():
            found[count.name] = sum(count.values.values())
        return found


metrics: Final = Metrics()
"""The counters of this process."""


def measure() -> dict[str, float]:
    """A snapshot of this process's totals and gauges: `connections`, `calls`, `deliveries`, `subscriptions` …

    Totals count from the start of the process; what happens per second is the difference of two snapshots.
    """
    return metrics.measure()


def collector_of(source: Metrics) -> Collector:
    """A Prometheus collector that reads these counters whenever it is asked."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class MetricsCollector(Collector):
        def collect(self) -> Iterable[Metric]:
            for name, help_text, value in source.gauges():
                yield GaugeMetricFamily(_PREFIX + name, help_text, value=value)
            for name, help_text in _COUNTERS.items():
                yield CounterMetricFamily(_PREFIX + name, help_text, value=getattr(source, name))
            for name, (label, help_text) in _LABELLED.items():
                family = CounterMetricFamily(_PREFIX + name, help_text, labels=[label])
                for key, value in sorted(getattr(source, name).items()):
                    family.add_metric([key], value)
                yield family
            for count in source.elsewhere():
                labels = [count.label] if count.label else []
                family = CounterMetricFamily(_PREFIX + count.name, count.help, labels=labels)
                for key, value in sorted(count.values.items()):
                    family.add_metric([key] if labels else [], value)
                yield family

    return MetricsCollector()


def exposition(source: Metrics = metrics) -> bytes:
    """The text that Prometheus scrapes: Backchannel's own metrics, and the process's memory, CPU and descriptors."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector_of(source))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
