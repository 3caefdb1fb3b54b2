"""The channel `metrics:host`: what this host does, sampled once a second."""

from __future__ import annotations

import time

import psutil

from backchannel import App, Context, Event, Namespace, Publisher, measure

__all__ = ["MetricsSampled", "Sampler", "app"]

app = App("live")

CHANNEL = "metrics:host"


@app.namespace("metrics")
class MetricsNamespace(Namespace):
    """Figures over time; whoever is logged in may watch. Five minutes of history fill a chart at once."""

    kind = "live"
    history = 300
    max_age = 600.0
    slow = "latest"

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Everybody."""
        return True


@app.event("metrics.sampled")
class MetricsSampled(Event):
    """One sample. Rates are per second since the sample before; sizes bytes, shares percent, `time` milliseconds."""

    time: int
    cpu: float
    cpus: list[float]
    memory: float
    memory_used: int
    memory_total: int
    net_in: float
    net_out: float
    load: list[float]
    connections: int
    subscriptions: int
    events: float
    calls: float


class Sampler:
    """Turns totals into rates."""

    def __init__(self) -> None:
        psutil.cpu_percent(percpu=True)  # its first answer has nothing to compare with
        self._at = time.monotonic()
        self._net = psutil.net_io_counters()
        self._measured = measure()

    def sample(self) -> MetricsSampled:
        """What happened since the last sample, and how things stand."""
        at, net, measured = time.monotonic(), psutil.net_io_counters(), measure()
        span = max(at - self._at, 1e-3)
        cpus = psutil.cpu_percent(percpu=True)
        memory = psutil.virtual_memory()
        sampled = MetricsSampled(
            time=int(time.time() * 1000),
            cpu=round(sum(cpus) / max(1, len(cpus)), 1),
            cpus=cpus,
            memory=memory.percent,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            net_in=round((net.bytes_recv - self._net.bytes_recv) / span, 1),
            net_out=round((net.bytes_sent - self._net.bytes_sent) / span, 1),
            load=[round(value, 2) for value in psutil.getloadavg()],
            connections=int(measured["connections"]),
            subscriptions=int(measured.get("subscriptions", 0)),
            events=round((measured["deliveries"] - self._measured["deliveries"]) / span, 1),
            calls=round((measured["calls"] - self._measured["calls"]) / span, 1),
        )
        self._at, self._net, self._measured = at, net, measured
        return sampled


_samplers: list[Sampler] = []


@app.on_start
async def begin(publisher: Publisher) -> None:
    """Take the first totals, to compare the first sample with."""
    _samplers[:] = [Sampler()]


@app.every(1, once="process")
async def tell(publisher: Publisher) -> None:
    """Publish a sample."""
    await publisher.publish(CHANNEL, _samplers[0].sample(), subject="host")
