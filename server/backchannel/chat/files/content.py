"""Content: what a file is, by its bytes. What it is declared to be has to agree.

A table of our own: few types are told apart, and each one exactly. Everything else is `application/octet-stream`, which
no browser shows.
"""

from __future__ import annotations

import codecs
from typing import Final

from backchannel import Refused

__all__ = ["HEAD", "INLINE", "TextCheck", "media_type", "recognised", "taken"]

HEAD: Final = 4096
"""How many bytes of the beginning are looked at."""

OCTETS: Final = "application/octet-stream"
TEXT: Final = "text/plain"

INLINE: Final = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/flac",
        "audio/mp4",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
    }
)
"""What browsers show as what it is, and run nothing in; everything else is handed out to be saved."""

_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF", "application/x-elf"),
)

_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}

_BRANDS: Final = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
}

_SAME: Final[dict[str, frozenset[str]]] = {
    "image/jpeg": frozenset({"image/jpg", "image/pjpeg"}),
    "image/heic": frozenset({"image/heif"}),
    "image/heif": frozenset({"image/heic"}),
    "audio/ogg": frozenset({"video/ogg", "application/ogg", "audio/opus"}),
    "video/mp4": frozenset({"audio/mp4", "audio/x-m4a", "video/quicktime", "video/x-m4v", "video/3gpp"}),
    "video/webm": frozenset({"audio/webm", "video/x-matroska"}),
    "audio/wav": frozenset({"audio/x-wav", "audio/wave", "audio/vnd.wave"}),
    "audio/flac": frozenset({"audio/x-flac"}),
    "audio/mpeg": frozenset({"audio/mp3"}),
    "audio/mp4": frozenset({"audio/x-m4a", "video/mp4"}),
    "application/gzip": frozenset({"application/x-gzip", "application/x-tar"}),
    "application/zip": frozenset({"application/x-zip-compressed", "application/java-archive"}),
    "application/vnd.rar": frozenset({"application/x-rar-compressed"}),
    "application/vnd.microsoft.portable-executable": frozenset(
        {"application/x-msdownload", "application/x-msdos-program"}
    ),
}
"""Other names for a type, and containers of which the beginning does not tell what is in them."""

_RECOGNISED: Final = frozenset(type_ for _, type_ in _BEGINNINGS).union(*_SAME.values())

_IN_ZIP: Final = ("application/vnd.", "application/epub+zip")
"""How types begin that are zip archives inside: documents of office programs, and books."""

_BROWSED: Final = ("image/", "audio/", "video/")
"""What must be recognised where it is declared: browsers would show it."""

_TEXTS: Final = frozenset(
    {"application/json", "application/xml", "application/javascript", "application/x-ndjson", "image/svg+xml"}
)
"""What is text beside `text/…`. Markup and scripts are handed out to be saved, never shown."""


class TextCheck:
    """Whether all of a file is UTF-8 text, looked at chunk by chunk."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.holds = True

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if not self.holds:
            return
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError:
            self.holds = False
        if b"\0" in chunk:
            self.holds = False

    def end(self) -> bool:
        """Whether it was text to the end."""
        if self.holds:
            try:
                self._decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                self.holds = False
        return self.holds


def recognised(head: bytes) -> str | None:
    """The type that a file's beginning shows; None: none of those that can be told by it."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    for beginning, type_ in _BEGINNINGS:
        if head.startswith(beginning):
            return type_
    return None


def media_type(declared: str, head: bytes, is_text: bool) -> str:
    """What a file is.

    Args:
        declared: what the uploader says.
        head: its first bytes, `HEAD` of them where there are so many.
        is_text: whether all of it is UTF-8 text.

    Raises:
        Refused: `invalid`, its content is something else than is declared.
    """
    found = recognised(head)
    if found is not None:
        if declared in (found, OCTETS):
            return found
        if declared in _SAME.get(found, ()):
            return declared if declared in INLINE else found
        if found == "application/zip" and declared.startswith(_IN_ZIP):
            return declared
        raise _other(declared, found)
    textual = declared.startswith("text/") or declared in _TEXTS
    if textual:
        if not is_text:
            raise _other(declared, OCTETS)
        return declared
    if declared.startswith(_BROWSED) or declared in _RECOGNISED:
        raise _other(declared, TEXT if is_text else OCTETS)
    return TEXT if is_text else OCTETS


def taken(type_: str, types: tuple[str, ...]) -> bool:
    """Whether a type is among those that are taken: `image/png`, `image/*`, `*/*`."""
    major = type_.partition("/")[0]
    return any(wanted in ("*/*", f"{major}/*", type_) for wanted in types)


def _other(declared: str, found: str) -> Refused:
    return Refused(
        "invalid",
        f"The file is declared to be {declared}, and its content is {found}; declare what it is.",
        details={"reason": "content", "declared": declared, "found": found},
    )
