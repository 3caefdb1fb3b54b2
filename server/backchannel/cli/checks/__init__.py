"""What `backchannel doctor` looks at: one file per subject, each a function that yields findings."""

from .finding import Finding, Status, failed, fine, refused, warning

__all__ = ["Finding", "Status", "failed", "fine", "refused", "warning"]
