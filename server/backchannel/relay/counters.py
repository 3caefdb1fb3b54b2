"""What one end of the relay counts; Prometheus reads it as gauges."""

from __future__ import annotations

from collections.abc import Callable

from ..telemetry.metrics import metrics

__all__ = ["GatewayCounters", "WorkerCounters"]


class GatewayCounters:
    """Of a gateway's end. They only ever grow."""

    __slots__ = ("garbled", "late_replies", "no_receiver", "resends")

    def __init__(self) -> None:
        self.resends = 0
        """Requests sent again although an earlier attempt may have arrived."""
        self.no_receiver = 0
        """Requests that no worker heard, or that came back untaken, so that another had them at once."""
        self.late_replies = 0
        """Replies to requests that were answered before."""
        self.garbled = 0
        """Messages that were none."""

    def publish(self, in_flight: Callable[[], float], workers: Callable[[], float]) -> list[Callable[[], None]]:
        """Show them as metrics; returns the functions that take them away again."""
        gauge = metrics.gauge
        return [
            gauge("relay_in_flight", "Requests sent to workers and not answered yet.", in_flight),
            gauge("relay_workers", "Workers that live, as this gateway knows.", workers),
            gauge("relay_resends", "Requests sent again since the start.", lambda: self.resends),
            gauge("relay_no_receiver", "Requests that the first worker did not take.", lambda: self.no_receiver),
            gauge("relay_late_replies", "Replies to what was answered before.", lambda: self.late_replies),
            gauge("relay_garbled", "Messages from the bus that could not be read.", lambda: self.garbled),
        ]


class WorkerCounters:
    """Of a worker's end. They only ever grow."""

    __slots__ = ("duplicates", "garbled", "handed_back", "unheard")

    def __init__(self) -> None:
        self.duplicates = 0
        """Requests that came again while they were open, so that they were only acknowledged."""
        self.handed_back = 0
        """Requests that were given back for another worker."""
        self.unheard = 0
        """Replies for gateways that are gone."""
        self.garbled = 0
        """Messages that were none."""

    def publish(self, taken: Callable[[], float]) -> list[Callable[[], None]]:
        """Show them as metrics; returns the functions that take them away again."""
        gauge = metrics.gauge
        return [
            gauge("relay_taken", "Requests that this worker has taken and not answered yet.", taken),
            gauge("relay_duplicates", "Requests that came again while they were open.", lambda: self.duplicates),
            gauge("relay_handed_back", "Requests given back for another worker.", lambda: self.handed_back),
            gauge("relay_unheard", "Replies for gateways that are gone.", lambda: self.unheard),
            gauge("relay_worker_garbled", "Messages from the bus that could not be read.", lambda: self.garbled),
        ]
