"""`backchannel worker`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..settings import load
from .announcement import announce, services, warn
from .failures import server_extra
from .loading import load_app
from .options import DEMO, AppTarget, Config, HealthDescriptors, Supervised
from .setting_flags import with_setting_flags

if TYPE_CHECKING:
    from ..server import WorkerProcess

__all__ = ["worker"]


@with_setting_flags
def worker(
    app: AppTarget = DEMO,
    migrate: Annotated[
        bool,
        typer.Option("--migrate/--no-migrate", help="Bring the database up to date first, or wait until it is."),
    ] = True,
    config: Config = None,
    health_fd: HealthDescriptors = None,
    supervised: Supervised = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Run one worker, which runs the app's handlers; gateways elsewhere keep the connections.

    Start as many as wanted, of the same app, Redis and PostgreSQL as the gateways:

      backchannel worker shop:app --redis redis://10.0.0.5 --postgres postgresql://shop@10.0.0.6/shop
      backchannel worker --health-port 9001     with BACKCHANNEL_REDIS and BACKCHANNEL_POSTGRES set

    It may start before Redis and PostgreSQL are there. /healthz, /readyz and /metrics are at
    --health-port, on the address --host. On SIGTERM it takes no more requests, finishes those it
    has, and ends within 10 seconds.

    The settings are those of `backchannel serve`. URLs with passwords belong in variables or in
    files: --redis-file, --postgres-file.
    """
    settings, warnings = load(flags, file=config)
    warn(warnings)
    found = load_app(app)
    with server_extra("worker"):
        from ..server import WorkerProcess, run_to_end
        from ..server.listening import url_of

    def started(process: WorkerProcess) -> None:
        if not supervised:
            health = f"{url_of(settings.host, process.health_port)}/readyz" if process.health_port else ""
            announce(
                "Backchannel's worker is running; Ctrl-C ends it.",
                {"App": app, **services(settings), "Health": health},
            )

    run_to_end(
        lambda: WorkerProcess(found, settings, migrate=migrate, health_fds=health_fd or ()),
        settings,
        started,
        lifeline=sys.stdin.fileno() if supervised else None,
    )
