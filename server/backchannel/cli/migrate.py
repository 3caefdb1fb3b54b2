"""`backchannel migrate`"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from .failures import server_extra
from .loading import load_app
from .options import DEMO, AppTarget, Config, Data, settings_of
from .output import printable, stdout

__all__ = ["migrate"]


def migrate(
    app: AppTarget = DEMO,
    new_epoch: Annotated[
        bool,
        typer.Option("--new-epoch", help="After a restore: make all positions that clients remember void."),
    ] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Bring the database up to date. `serve` and `worker` do so by themselves.

    The tables of Backchannel come first, then the app's own; forward only, safe to repeat. PostgreSQL
    may be in use meanwhile, also by an older version; a SQLite file may not.

      backchannel migrate shop:app
      backchannel migrate shop:app --new-epoch      the database is an older copy, put back

    With a new epoch, clients that come back load afresh what they show. Without one they could
    take events for known that they have never seen.
    """
    found = load_app(app)
    with server_extra("migrate"):
        from ..store.opening import migrate_database
        from ..store.opening import new_epoch as make_new_epoch
    settings = settings_of(config, data=data)
    out = stdout()
    applied = 0

    def tell(line: str) -> None:
        nonlocal applied
        applied += 1
        out.print(printable(line), markup=False)

    name = asyncio.run(migrate_database(settings, found.migrations, tell))
    out.print(f"{name} is up to date{'' if applied else '; nothing was to be done'}.", markup=False)
    if new_epoch:
        count = asyncio.run(make_new_epoch(settings))
        out.print(f"New epochs for {count} tenant{'' if count == 1 else 's'}: clients load afresh.", markup=False)
