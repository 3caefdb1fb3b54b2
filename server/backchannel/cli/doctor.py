"""`backchannel doctor`"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from backchannel_protocol import BackchannelError

from ..app import App
from ..settings import ConfigurationError, Settings, load
from .checks import Finding, Status, application, failed, refused
from .checks.clock import Watch, check_clock
from .checks.database import check_database
from .checks.limits import check_limits
from .checks.port import check_port
from .checks.redis import check_redis
from .checks.settings import check_settings
from .checks.versions import check_versions
from .options import DEMO, AppTarget, Config
from .output import printable, stdout, write_json
from .setting_flags import with_setting_flags

__all__ = ["doctor", "examine"]

_STYLES: Final[dict[Status, str]] = {"ok": "green", "warning": "yellow", "failed": "bold red"}

# So long the clocks are watched at least, in seconds.
_WATCHED: Final = 0.2

Report = dict[str, list[Finding]]


@with_setting_flags
def doctor(
    app: AppTarget = DEMO,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")] = False,
    config: Config = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Look at everything that a server needs, and say what is wrong and what cures it.

    It checks the settings, the versions of Python, SQLite and packages, the app, the database, Redis,
    the port and the server that may run there, the clock, and this machine's limits. It takes the
    flags of `serve`, and changes nothing. Exit code 1 says that something failed; a warning fails nothing.

      backchannel doctor --dev
      backchannel doctor shop:app --host 0.0.0.0 --port 443
      backchannel doctor shop:app --json | jq '.findings[] | select(.status != "ok")'

    Run it as the user, in the folder and with the variables that the server is started with. It may
    run beside the server, and before every start.
    """
    report = examine(app, lambda: load(flags, file=config))
    findings = [finding for section in report.values() for finding in section]
    has_failed = any(finding.status == "failed" for finding in findings)
    if as_json:
        _write_json(report, ok=not has_failed)
    else:
        _write(report, findings)
    if has_failed:
        sys.exit(1)


def examine(target: str, settings_of: Callable[[], tuple[Settings, list[str]]]) -> Report:
    """Run all checks; findings by subject. What a check itself trips over is a finding too."""
    watch, started = Watch(), time.monotonic()
    report: Report = {}

    def run(subject: str, check: Iterator[Finding]) -> None:
        found = report[subject] = []
        try:
            found.extend(check)
        except ModuleNotFoundError as exc:
            found.append(failed(f"{exc.name} is not installed", "pip install 'backchannel[server]'"))
        except Exception as exc:
            found.append(failed(f"this could not be checked: {exc!r}", "Report it, with this line."))

    run("versions", check_versions())
    settings: Settings | None = None
    try:
        settings, warnings = settings_of()
    except ConfigurationError as exc:
        report["settings"] = [refused(line) for line in str(exc).splitlines()]
    else:
        run("settings", check_settings(settings, warnings))
    loaded, wrong = application.load(target)
    run("app", iter([wrong]) if wrong is not None else application.check_app(target, _there(loaded)))
    if settings is not None:
        run("database", check_database(settings, _migrations(loaded)))
        run("redis", check_redis(settings))
        run("port", check_port(settings))
        run("limits", check_limits(settings))
    time.sleep(max(0.0, _WATCHED - (time.monotonic() - started)))
    run("clock", check_clock(time.time(), watch.drift()))
    return report


def _there(app: App | None) -> App:
    assert app is not None
    return app


def _migrations(app: App | None) -> Sequence[Any]:
    try:
        return app.migrations if app is not None else ()
    except BackchannelError:
        return ()


def _write(report: Report, findings: Sequence[Finding]) -> None:
    out = stdout()
    for subject, section in report.items():
        out.print(Text(subject.capitalize(), "bold"))
        for finding in section:
            first, *more = printable(finding.text).splitlines()
            out.print(Text.assemble("  ", (f"{finding.status:<8}", _STYLES[finding.status]), " ", first))
            for line in more:
                out.print(Text(f"           {line}"))
            if finding.cure:
                out.print(Text.assemble(" " * 11, (printable(finding.cure), "dim")))
    counts = {status: sum(finding.status == status for finding in findings) for status in _STYLES}
    out.print(Text(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed.", "bold"))


def _write_json(report: Report, *, ok: bool) -> None:
    findings = [
        {"subject": subject, "status": finding.status, "text": finding.text, "cure": finding.cure}
        for subject, section in report.items()
        for finding in section
    ]
    write_json({"ok": ok, "findings": findings})
