"""`backchannel gateway`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..settings import load
from .announcement import announce, secret_row, services, warn, where
from .failures import server_extra
from .loading import load_app
from .options import DEMO, AppTarget, Config, Descriptor, HealthDescriptors, Supervised
from .setting_flags import with_setting_flags

if TYPE_CHECKING:
    from ..server import GatewayProcess

__all__ = ["gateway"]


@with_setting_flags
def gateway(
    app: AppTarget = DEMO,
    fd: Descriptor = None,
    config: Config = None,
    health_fd: HealthDescriptors = None,
    supervised: Supervised = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Run one gateway, which keeps clients' connections; workers elsewhere run the app's handlers.

    Start as many as wanted, behind a load balancer or on a socket that they share, and at least
    one `backchannel worker` of the same app, with the same Redis, PostgreSQL and secret:

      backchannel gateway shop:app --redis redis://10.0.0.5 --postgres postgresql://shop@10.0.0.6/shop
      backchannel gateway --dev --port 8001     with BACKCHANNEL_REDIS and BACKCHANNEL_POSTGRES set

    It may start before Redis, PostgreSQL and workers are there; /readyz tells what it waits for.
    On SIGTERM it takes no more connections, moves the present ones over to other gateways, and
    ends within --drain seconds and 10 more.

    The settings are those of `backchannel serve`. URLs with passwords belong in variables or in
    files: --redis-file, --postgres-file.
    """
    settings, warnings = load(flags, file=config)
    warn(warnings)
    found = load_app(app)
    with server_extra("gateway"):
        from ..server import GatewayProcess, run_to_end
    secret = secret_row(settings) if settings.redis and settings.postgres else ""

    def started(process: GatewayProcess) -> None:
        if not supervised:
            rows = {"App": app, **where(process.url), **services(settings), "Secret": secret}
            announce("Backchannel's gateway is running; Ctrl-C ends it.", rows)

    run_to_end(
        lambda: GatewayProcess(found, settings, fd=fd, health_fds=health_fd or ()),
        settings,
        started,
        lifeline=sys.stdin.fileno() if supervised else None,
    )
