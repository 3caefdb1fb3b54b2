"""The worker of a chaos run: `python -m backchannel.testing.chaos.worker APP`.

It is the product's own worker process, on a store that fails where the run says so; settings come from variables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ...cli.failures import exit_codes
from ...cli.loading import load_app
from ...server import WorkerProcess, run_to_end
from ...settings import load
from ...store.store import Store
from .points import Points
from .store import Sabotage, failing, sabotaged

__all__ = ["main"]


def main() -> None:
    """Run a worker until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backchannel.testing.chaos.worker")
    parser.add_argument("app", help="the app, as module:attribute")
    parser.add_argument("--points", type=Path, help="the folder in which faults are armed")
    parser.add_argument("--sabotage", choices=get_args(Sabotage), help="the promise to break")
    said = parser.parse_args()

    def wrap(store: Store) -> Store:
        wrapped = sabotaged(store, said.sabotage) if said.sabotage else store
        return failing(wrapped, Points(said.points)) if said.points else wrapped

    with exit_codes():
        settings, _ = load({})
        app = load_app(said.app)
        run_to_end(lambda: WorkerProcess(app, settings, wrap_store=wrap), settings)


if __name__ == "__main__":
    main()
