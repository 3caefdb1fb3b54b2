"""Live state for dashboards: this host's and Backchannel's own figures, once a second; on the public API alone."""

from .host import MetricsSampled, app

__all__ = ["MetricsSampled", "app"]
