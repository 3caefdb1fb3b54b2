"""`backchannel serve`"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from ..app import App
from ..settings import ConfigurationError, Settings, load
from . import reload as reloading
from .announcement import announce, secret_row, services, warn, where
from .children import children_environment
from .failures import CommandFailed, server_extra
from .loading import load_app, module_name
from .options import DEMO, AppTarget, Config
from .setting_flags import with_setting_flags

__all__ = ["serve"]


@with_setting_flags
def serve(
    app: AppTarget = DEMO,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew whenever the app's source changes.")] = False,
    gateways: Annotated[
        int | None,
        typer.Option(
            min=0, max=1000, metavar="N", help="Run so many gateways as processes; needs --redis, --postgres."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, max=1000, metavar="N", help="Likewise workers; 1 beside gateways unless said.")
    ] = None,
    config: Config = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run an app: gateway, worker and store in one process, or as many processes as wanted.

    The app is a module and an attribute, found from the current folder:

      backchannel serve --dev                        the demo: a chat and a dashboard
      backchannel serve --dev --reload shop:app      your app, started anew when you change it
      BACKCHANNEL_SECRET=… backchannel serve shop:app --host 0.0.0.0
      backchannel serve shop:app --gateways 2 --workers 2 --redis redis://127.0.0.1 \\
        --postgres postgresql://me@127.0.0.1/shop

    With --gateways or --workers it starts them as processes, starts anew what dies, ends all of
    them in order on SIGTERM, and on SIGHUP starts them anew one after another.

    Every setting below can also be a variable, or a line in backchannel.toml, such as
    port = 9000; a flag wins over its variable, and that over the file. Spans are seconds.
    The signing secret has a variable, BACKCHANNEL_SECRET, and --secret-file, but no flag,
    since everybody on a machine sees the flags of its processes.
    """
    settings, warnings = load(flags, file=config)
    many = gateways is not None or workers is not None
    if reload:
        if many:
            raise ConfigurationError("--reload is for one process: leave out --gateways and --workers, or send SIGHUP.")
        sys.exit(reloading.supervise(module_name(app), drain_is_set=flags["drain"] is not None))
    warn(warnings)
    found = load_app(app)
    if many:
        _serve_many(app, found, settings, gateways, workers, children_environment(flags, config))
    else:
        _serve_one(app, found, settings)


def _serve_one(target: str, app: App, settings: Settings) -> None:
    with server_extra("serve"):
        from ..server import Server
        from ..server import serve as run
    if settings.redis:
        warn(["Redis is set, and one process does not use it: add --gateways N --workers M for many."])
    secret = secret_row(settings)

    def started(server: Server) -> None:
        data = services(settings)["PostgreSQL"] or str(settings.data_folder)
        rows = {"App": target, **where(server.url), "Data": data, "Secret": secret}
        announce("Backchannel is running; Ctrl-C ends it.", rows)

    run(app, settings, started=started)


def _serve_many(
    target: str, app: App, settings: Settings, gateways: int | None, workers: int | None, environ: dict[str, str]
) -> None:
    gateways = 0 if gateways is None else gateways
    workers = 1 if workers is None else workers
    if not gateways + workers:
        raise ConfigurationError("There is nothing to run: say --gateways N, --workers M or both.")
    with server_extra("serve"):
        from ..server import Plan, Supervisor, SupervisorFailed
        from ..server.redis_bus import check_services
        from ..telemetry.logs import configure
    check_services(settings, "serve --gateways N --workers M")
    app.check()
    secret = secret_row(settings) if gateways else ""
    configure(settings.log_level, json={"json": True, "console": False}.get(settings.log_format))
    supervisor = Supervisor(Plan(app=target, settings=settings, gateways=gateways, workers=workers, environ=environ))

    def ready() -> None:
        url = {} if not gateways else where(supervisor.url)
        health = ""
        if settings.health_port:
            health = f"ports {settings.health_port} to {settings.health_port + gateways + workers - 1}"
        rows = {"App": target, **url, **services(settings), "Health": health, "Secret": secret}
        announce(
            f"Backchannel is running ({_count(gateways, 'gateway')}, {_count(workers, 'worker')}); Ctrl-C ends it.",
            rows,
        )

    try:
        asyncio.run(supervisor.run(ready))
    except SupervisorFailed as exc:
        raise CommandFailed(str(exc), exc.exit_code) from None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
