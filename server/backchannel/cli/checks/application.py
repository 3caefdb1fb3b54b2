"""Whether the app can be imported, and its declarations are whole."""

from __future__ import annotations

from collections.abc import Iterator

from backchannel_protocol import BackchannelError

from ...app import App
from ..loading import load_app
from .finding import Finding, failed, fine, refused

__all__ = ["check_app", "load"]


def load(target: str) -> tuple[App | None, Finding | None]:
    """The app, or why there is none."""
    try:
        return load_app(target), None
    except BackchannelError as exc:
        told = str(exc)
        return None, failed(told, "Correct that line, then run this again.") if "\n" in told else refused(told)


def check_app(target: str, app: App) -> Iterator[Finding]:
    """An app that was loaded."""
    try:
        app.check()
    except BackchannelError as exc:
        yield refused(str(exc))
        return
    kinds = [request.kind for request in app.requests.values()]
    commands, queries = kinds.count("command"), kinds.count("query")
    names = ", ".join(f"{name}:" for name in sorted(app.namespaces)) or "none"
    yield fine(f"{target}: {commands} commands, {queries} queries, {len(app.all_events())} events, channels {names}")
