"""Whether the settings hold together, and are safe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from backchannel_protocol import BackchannelError

from ...settings import Settings, describe
from .finding import Finding, failed, fine, refused, warning

__all__ = ["check_settings", "is_loopback"]

# A random secret of 32 letters has about 20 different ones; fewer than these were typed by a person.
_MIN_DIFFERENT: Final = 10

_MAKE: Final = "Make one with `openssl rand -hex 32`, and give it in BACKCHANNEL_SECRET or --secret-file."


def check_settings(settings: Settings, warnings: list[str]) -> Iterator[Finding]:
    """Settings that were loaded, with what the loading warned of."""
    changed = [info.name for info in describe() if getattr(settings, info.name) != info.default]
    yield fine(f"all values are valid; not the default: {', '.join(changed) or 'none'}")
    for text in warnings:
        if text.startswith("Development on "):
            continue  # told below, as what it is
        yield warning(text, "Correct the name, or remove it: it has no effect.")
    if settings.dev:
        yield from _development(settings)
    yield from _secret(settings)
    yield from _previous(settings)
    yield from _key_sets(settings)
    yield from _origins(settings)
    yield from _proxies(settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_network(host).is_loopback
    except ValueError:
        return host == "localhost"


def _development(settings: Settings) -> Iterator[Finding]:
    if is_loopback(settings.host):
        yield fine(f"development (--dev) on {settings.host}, which only this machine reaches")
    else:
        yield failed(
            f"development (--dev) on {settings.host}: whoever reaches it may act as any ready-made user",
            "Use --host 127.0.0.1 for development, or leave out --dev and set a secret.",
        )


def _secret(settings: Settings) -> Iterator[Finding]:
    from ...auth.secret import development_secret_file, signing_secret

    file = Path(settings.secret_file).expanduser() if settings.secret_file else None
    if not settings.secret and settings.dev:
        file = development_secret_file(settings)
        if not file.exists():
            yield fine(f"a development secret will be made in {file}")
            return
    try:
        secret = signing_secret(settings)
    except BackchannelError as exc:
        yield refused(str(exc))
        return
    if not secret:
        yield fine("no secret: tokens come from issuers' key sets")
        return
    if len(set(secret)) < _MIN_DIFFERENT:
        yield failed("the signing secret can be guessed: it has few different characters", _MAKE)
    else:
        yield fine(f"the signing secret has {len(secret)} bytes")
    if file is not None:
        yield from _private(file)


def _previous(settings: Settings) -> Iterator[Finding]:
    from ...auth.secret import previous_secret

    try:
        previous = previous_secret(settings)
    except BackchannelError as exc:
        yield refused(str(exc))
        return
    if previous and previous == settings.secret.encode():
        yield warning("the secret and the previous one are the same", "Remove the previous one, or make a new secret.")
    if settings.secret_previous_file:
        yield from _private(Path(settings.secret_previous_file).expanduser())


def _private(file: Path) -> Iterator[Finding]:
    if os.name == "posix" and file.stat().st_mode & 0o077:
        yield failed(f"{file}, which holds a secret, is open to other users of this machine", f"chmod 600 {file}")


def _key_sets(settings: Settings) -> Iterator[Finding]:
    for entry in settings.jwks:
        issuer, _, where = entry.partition("=")
        if "://" in where:
            yield _key_address(issuer, where, settings)
            continue
        from ...auth.jwks import BadKeySet, read_key_set

        cure = f"Put the issuer's JSON Web Key Set, with its public keys, in {where}."
        try:
            keys = read_key_set(Path(where).expanduser().read_bytes(), where)
        except OSError as exc:
            yield failed(f"the keys of {issuer} cannot be read: {exc.strerror}", cure)
        except BadKeySet as exc:
            yield failed(f"the keys of {issuer} cannot be used: {exc}", cure)
        else:
            yield fine(f"{sum(map(len, keys.values()))} keys of {issuer} in {where}")


def _key_address(issuer: str, where: str, settings: Settings) -> Finding:
    from ...auth.fetching import Fetcher

    try:
        Fetcher(dev=settings.dev).check(where)
    except BackchannelError as exc:
        return refused(str(exc))
    return fine(f"the server fetches the keys of {issuer} from {where}")


def _origins(settings: Settings) -> Iterator[Finding]:
    if "*" in settings.origins:
        yield warning(
            "pages of any origin may connect (origins has *)", "Name the origins of your pages: https://example.org."
        )
    for origin in settings.origins:
        parts = urlsplit(origin)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield warning(f"the origin {origin} is not encrypted: its pages can be changed on their way", "Use https.")


def _proxies(settings: Settings) -> Iterator[Finding]:
    for text in settings.trusted_proxies:
        if ip_network(text, strict=False).prefixlen == 0:
            yield failed(
                f"every client is taken for a trusted proxy ({text}), and may claim any address",
                "Name the addresses of your proxies only: 10.0.0.0/8.",
            )
