"""Whether the port is free, or served by Backchannel already; then, whether that server is well."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import msgspec

from backchannel_client import Client, ConnectionClosed
from backchannel_protocol import BackchannelError, CloseCode

from ...settings import Settings
from .clock import check_server_clock
from .finding import Finding, failed, fine, warning

__all__ = ["check_port"]

_PATIENCE: Final = 3.0
_MOST_BYTES: Final = 64 * 1024


def check_port(settings: Settings) -> Iterator[Finding]:
    """The address of the settings; a server that listens there is asked how it is."""
    host, port = settings.host, settings.port
    if port == 0:
        yield fine("port 0: a free one is taken")
        return
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        _bind(host, port)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            yield _cannot_bind(where, port, exc)
            return
    else:
        yield fine(f"{where} is free")
        return
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # what is connected to instead
    url = f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
    answer = _ask(f"{url}/version")
    if not isinstance(answer, dict) or answer.get("name") != "backchannel":
        yield failed(
            f"{where} is in use by something else{_holder(port)}", "Stop it, or choose another port with --port."
        )
        return
    yield from _running(where, url, answer, settings)


def _running(where: str, url: str, answer: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    serving, here = answer.get("version"), version("backchannel")
    if serving == here:
        yield fine(f"{where} is served by Backchannel {serving}{_holder(settings.port)}")
    else:
        yield warning(
            f"{where} is served by Backchannel {serving}, and {here} is installed here", "Restart the server."
        )
    ready = _ask(f"{url}/readyz")
    status = ready.get("status") if isinstance(ready, dict) else None
    if status == "ready":
        yield fine("that server is ready")
    else:
        reasons = ready.get("reasons") if isinstance(ready, dict) else None
        told = (
            "; ".join(f"{part}: {why}" for part, why in reasons.items()) if isinstance(reasons, dict) else "no answer"
        )
        yield failed(f"that server is not ready ({told})", "Wait if it drains or starts; else see its log.")
    if settings.secret or settings.dev:
        yield from _connect(f"{url.replace('http', 'ws', 1)}/ws", settings)


def _connect(url: str, settings: Settings) -> Iterator[Finding]:
    from ...auth.claims import TokenRules
    from ...auth.secret import development_secret_file, signing_secret
    from ...auth.tokens import issue_token

    if not settings.secret and not development_secret_file(settings).exists():
        yield failed(
            "that server has another development secret: it was started with another data folder",
            "Run this in the folder where it was started, or name its folder with --data.",
        )
        return
    try:
        lifetime = min(60.0, settings.token_lifetime)
        token = issue_token(signing_secret(settings), "doctor", lifetime=lifetime, rules=TokenRules.of(settings))
        ahead = asyncio.run(_server_ahead(url, token))
    except ConnectionClosed as exc:
        if exc.code == CloseCode.UNAUTHENTICATED:
            yield failed(
                "that server refuses a token that is signed with the secret of these settings",
                "Give both the same secret and data folder, and look at the clock.",
            )
        else:
            yield failed(f"nobody can connect to that server: {exc}", "See its log.")
        return
    except BackchannelError:
        return  # the settings' own check has told it
    yield fine("that server accepts a token of these settings")
    yield check_server_clock(ahead)


async def _server_ahead(url: str, token: str) -> float:
    """By how many seconds the clock of the server is ahead of ours."""
    client = Client(url, token=token, name="backchannel-doctor", open_timeout=_PATIENCE)
    before = time.time()
    async with client:
        after = time.time()
        return client.server_time / 1000 - (before + after) / 2


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1)


def _cannot_bind(where: str, port: int, exc: OSError) -> Finding:
    match exc.errno:
        case errno.EACCES | errno.EPERM:
            cure = f"Choose a port above 1023 with --port, or let a proxy have {port}."
        case errno.EADDRNOTAVAIL:
            cure = "Choose an address of this machine with --host; 0.0.0.0 means all of them."
        case _:
            cure = "Choose another address with --host."
    return failed(f"{where} cannot be listened on: {exc.strerror or exc}", cure)


def _ask(url: str) -> Any:
    """What a server answers, as JSON, whatever its status; None where it does not answer, or something else."""
    try:
        # A proxy from the environment is not asked for what is here.
        with build_opener(ProxyHandler({})).open(url, timeout=_PATIENCE) as response:
            body = response.read(_MOST_BYTES)
    except HTTPError as exc:
        with exc:
            body = exc.read(_MOST_BYTES)
    except (URLError, OSError, ValueError):
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _holder(port: int) -> str:
    """Who listens on a port, where this user may see it."""
    with suppress(Exception):
        import psutil

        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f", process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
