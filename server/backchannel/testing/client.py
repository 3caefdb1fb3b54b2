"""A client on a link of its own."""

from __future__ import annotations

import random
from typing import Any

from backchannel_client import Client

from .link import Link

__all__ = ["URL", "SandboxClient"]

URL = "ws://sandbox/ws"
"""What clients take for the server's address; nothing in a sandbox is looked up."""


class SandboxClient(Client):
    """The client that apps use, whose network is `link`. Made by `Sandbox.client`."""

    def __init__(self, link: Link, *, chance: random.Random, **options: Any) -> None:
        super().__init__(URL, connector=link.connect, random=chance, **options)
        self.link = link
        """What can go wrong between it and the gateway."""
