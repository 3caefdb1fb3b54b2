"""A gateway that ignores offsets, to see a chaos run notice: `python -m backchannel.testing.chaos.gateway APP`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Final

from ...broker.broker import Envelope
from ...cli.failures import exit_codes
from ...cli.loading import load_app
from ...gateway.hub import Hub
from ...server import GatewayProcess, run_to_end
from ...settings import load

__all__ = ["main"]

# Of so many events one is lost, one comes twice, and two change places.
_EVERY: Final = 40


def _ignore_offsets() -> None:
    """Let hubs deliver what comes, as it comes, and let it come badly."""
    numbers = itertools.count(1)
    held: list[Envelope] = []

    def receive(self: Hub, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            channel = self.channels.get(envelope.channel)
            if channel is None or not channel.ready or not envelope.offset or envelope.epoch != channel.epoch:
                continue
            match next(numbers) % _EVERY:
                case 0:
                    continue
                case 10:
                    coming = [envelope, envelope]
                case 20:
                    held.append(envelope)
                    continue
                case _:
                    coming = [envelope, *(early for early in held if early.channel == envelope.channel)]
            held[:] = [early for early in held if early.channel != envelope.channel]
            for each in coming:
                self._advance(channel, each)

    Hub.receive = receive  # type: ignore[method-assign]


def main() -> None:
    """Run a gateway until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backchannel.testing.chaos.gateway")
    parser.add_argument("app", help="the app, as module:attribute")
    said = parser.parse_args()
    _ignore_offsets()
    with exit_codes():
        settings, _ = load({})
        app = load_app(said.app)
        run_to_end(lambda: GatewayProcess(app, settings), settings)


if __name__ == "__main__":
    main()
