"""The handlers of channels, all of them: importing this registers them."""

from . import channels, counters, invitations, links, lists, membership, permissions, roles, wishes

__all__ = ["channels", "counters", "invitations", "links", "lists", "membership", "permissions", "roles", "wishes"]
