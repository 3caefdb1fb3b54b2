"""`backchannel serve`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ..settings import load
from . import reload as reloading
from .failures import server_extra
from .loading import load_app, module_name
from .options import DEMO, AppTarget, Config
from .output import stderr, stdout
from .setting_flags import with_setting_flags

if TYPE_CHECKING:
    from ..server import Server
    from ..settings import Settings

__all__ = ["serve"]


@with_setting_flags
def serve(
    app: AppTarget = DEMO,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew whenever the app's source changes.")] = False,
    config: Config = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run an app: gateway, worker and store in one process.

    The app is a module and an attribute, found from the current folder:

      backchannel serve --dev                        the demo: a chat and a dashboard
      backchannel serve --dev --reload shop:app      your app, started anew when you change it
      BACKCHANNEL_SECRET=… backchannel serve shop:app --host 0.0.0.0

    Every setting below can also be a variable, or a line in backchannel.toml, such as
    port = 9000; a flag wins over its variable, and that over the file. Spans are seconds.
    The signing secret has a variable, BACKCHANNEL_SECRET, and --secret-file, but no flag,
    since everybody on a machine sees the flags of its processes.
    """
    settings, warnings = load(flags, file=config)
    if reload:
        sys.exit(reloading.supervise(module_name(app), drain_is_set=flags["drain"] is not None))
    for warning in warnings:
        stderr().print(Text.assemble(("Warning:", "bold yellow"), " ", warning))
    found = load_app(app)
    with server_extra("serve"):
        from ..auth.secret import development_secret_file, signing_secret
        from ..server import serve as run
    secret_file = development_secret_file(settings)
    was_there = secret_file.exists()
    signing_secret(settings)
    made = not was_there and secret_file.exists()

    def started(server: Server) -> None:
        _announce(app, server, settings, made=made)

    run(found, settings, started=started)


def _announce(app: str, server: Server, settings: Settings, *, made: bool) -> None:
    secret = "made for development" if made else "the development secret" if not settings.secret else ""
    rows = {
        "App": app,
        "Pages": f"{server.url}/",
        "WebSocket": f"{server.url.replace('http', 'ws', 1)}/ws",
        "Data": str(settings.data_folder),
        "Secret": secret and f"{secret}, in {settings.data_folder / 'secret'}",
    }
    out = stdout()
    out.print(Text("Backchannel is running; Ctrl-C ends it.", "bold"))
    for name, value in rows.items():
        if value:
            out.print(Text.assemble("  ", (f"{name:<10}", "dim"), value))
    sys.stdout.flush()
