"""How large files may be, what they may be, and how long what nobody has is kept. An app may say otherwise in code."""

from __future__ import annotations

from typing import Annotated, Final

from backchannel import Meta, Struct

__all__ = ["FileLimits", "file_limits", "limits"]

_MIB: Final = 1024 * 1024
_HOUR: Final = 3600


class FileLimits(Struct, frozen=True, kw_only=True):
    """The limits of files. Sizes are bytes, spans are seconds."""

    size: Annotated[int, Meta(ge=1)] = 100 * _MIB
    """Of one file."""
    quota: Annotated[int, Meta(ge=1)] = 5 * 1024 * _MIB
    """Of all files of one user, with uploads that are under way."""
    uploads: Annotated[int, Meta(ge=1)] = 20
    """Uploads of one user that may be under way."""
    types: tuple[str, ...] = ("*/*",)
    """Media types that are taken: `image/png`, `image/*`, `*/*`."""
    pixels: Annotated[int, Meta(ge=1)] = 40_000_000
    """Of an image; over all of its frames twice as many."""
    image_size: Annotated[int, Meta(ge=1)] = 32 * _MIB
    """Of one image: it is taken whole into memory."""
    thumbnails: tuple[tuple[str, int], ...] = (("small", 160), ("large", 1280))
    """Their names, and how many pixels their longer side has."""
    upload_lifetime: Annotated[int, Meta(ge=60)] = 24 * _HOUR
    """How long an upload may take."""
    unattached_lifetime: Annotated[int, Meta(ge=60)] = 24 * _HOUR
    """How long a file is kept that no message has (yet)."""
    deleted_lifetime: Annotated[int, Meta(ge=60)] = 30 * 24 * _HOUR
    """How long it is kept once all messages that had it are deleted: they may be restored until then."""
    url_lifetime: Annotated[int, Meta(ge=60, le=24 * _HOUR)] = 600
    """How long a URL without a token holds, at least; at most twice that."""


_limits = FileLimits()


def limits() -> FileLimits:
    """The limits in force."""
    return _limits


def file_limits(wanted: FileLimits) -> FileLimits:
    """Set the limits, before the server starts."""
    global _limits
    _limits = wanted
    return wanted
