"""The store's epoch: what makes positions of an older database void.

The epoch of a channel *is* the store's epoch, also before its first event. So a reader, which may not write, names the
same epoch for a channel that was never used as the first append will, and that first event is not taken for a reset.
It is random, and it changes after a restore (`backchannel migrate --new-epoch`), when events that clients have seen may
be gone and their offsets be given again.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from .tables import heads, installation

__all__ = ["ensure_epoch", "renew_epochs"]

_MAKE = sa.text("INSERT INTO installation (app, epoch) VALUES (:app, :epoch) ON CONFLICT (app) DO NOTHING")


def ensure_epoch(connection: sa.Connection, app: str) -> str:
    """The store's epoch for this app, made if this is its first start."""
    find = sa.select(installation.c.epoch).where(installation.c.app == app)
    epoch: str | None = connection.execute(find).scalar()
    if epoch is None:
        # Another process may make it at the same time; the first one's counts.
        connection.execute(_MAKE, {"app": app, "epoch": secrets.token_hex(8)})
        epoch = connection.execute(find).scalar_one()
    return epoch


def renew_epochs(connection: sa.Connection, now: int) -> int:
    """Give every app a new epoch, and all its channels with it; offsets go on. Returns how many apps there are.

    Args:
        connection: within a transaction.
        now: Unix milliseconds.
    """
    apps = connection.execute(sa.select(installation.c.app)).scalars().all()
    for app in apps:
        epoch = secrets.token_hex(8)
        connection.execute(installation.update().where(installation.c.app == app).values(epoch=epoch))
        connection.execute(heads.update().where(heads.c.app == app).values(epoch=epoch, changed=now))
    return len(apps)
