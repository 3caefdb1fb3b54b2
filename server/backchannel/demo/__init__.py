"""What `backchannel serve` runs when it is told no app: a chat, a live dashboard, and pages for both."""

from .app import app

__all__ = ["app"]
