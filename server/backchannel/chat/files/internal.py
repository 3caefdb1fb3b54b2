"""What only the routes and jobs of files ask: to clients there are no such names."""

from __future__ import annotations

from backchannel import Command, Query, Struct

from ..common import app
from .contract import FileId, FileInfo, LinkPreview, Thumbnail

__all__ = [
    "AnyWishes",
    "AppendPiece",
    "ClaimWishes",
    "Claimed",
    "Collected",
    "DoomFiles",
    "DropUpload",
    "Due",
    "FindDue",
    "FinishUpload",
    "GetUpload",
    "OpenFile",
    "OpenSigned",
    "Opened",
    "Piece",
    "StorePreviews",
    "SweptGarbage",
    "UploadState",
    "Wish",
]


class Piece(Struct):
    """One piece of an upload, and where the storage has it."""

    offset: int
    size: int
    place: str


class UploadState(Struct):
    """An upload as it stands; `file` once it is complete and checked."""

    id: str
    name: str
    type: str
    size: int
    offset: int
    expires: int
    pieces: list[Piece] = []
    file: FileInfo | None = None


@app.query("upload.get", internal=True)
class GetUpload(Query[UploadState]):
    """An upload of the asking user's, with its pieces where it is complete."""

    id: FileId


@app.command("upload.append", internal=True)
class AppendPiece(Command[UploadState]):
    """A piece that the storage has belongs to an upload now."""

    id: FileId
    offset: int
    size: int
    place: str


@app.command("upload.finish", internal=True)
class FinishUpload(Command[FileInfo]):
    """An upload is complete and checked: make it a file."""

    id: FileId
    type: str
    size: int
    digest: str
    width: int | None = None
    height: int | None = None
    thumbnails: list[Thumbnail] = []


@app.command("upload.drop", internal=True)
class DropUpload(Command[bool]):
    """Remove an upload of the asking user's whose content was refused, or that expired; whether it was there."""

    id: FileId
    expired: bool = False


class Opened(Struct):
    """What a download needs to know."""

    name: str
    type: str
    size: int
    digest: str


@app.query("file.open", internal=True)
class OpenFile(Query[Opened]):
    """A file, or a thumbnail of it, that the asking user may see."""

    id: FileId
    thumbnail: str = ""


@app.query("file.open_signed", internal=True)
class OpenSigned(Query[Opened]):
    """A file, or a thumbnail of it, for whoever has a URL that was signed."""

    id: FileId
    expires: int
    signature: str
    thumbnail: str = ""


class Due(Struct):
    """What is to be removed now."""

    uploads: list[tuple[str, str]]
    """Ids and users of uploads that expired."""
    garbage: list[str]
    """Places, without the app, of which the storage may drop everything."""
    files: bool
    """Whether files are to be looked at."""


@app.query("file.due", internal=True)
class FindDue(Query[Due]):
    """What is to be removed now, a handful at a time."""


class Collected(Struct):
    """How many files no message can have any more, and how many went."""

    looked: int
    doomed: int
    removed: int


@app.command("file.doom", internal=True)
class DoomFiles(Command[Collected]):
    """Look at files that are due for whether a message has them."""


@app.command("file.swept", internal=True)
class SweptGarbage(Command[int]):
    """The storage has dropped this."""

    garbage: list[str]


class Wish(Struct):
    """The links of a message that have no previews yet."""

    channel: str
    seq: int
    urls: list[str]


class Claimed(Struct):
    """Wishes that whoever asked is to fulfil."""

    wishes: list[Wish]


@app.query("preview.waiting", internal=True)
class AnyWishes(Query[bool]):
    """Whether there are links to be fetched."""


@app.command("preview.claim", internal=True)
class ClaimWishes(Command[Claimed]):
    """Take some of the links to be fetched, for a minute."""


@app.command("preview.store", lane="channel", internal=True)
class StorePreviews(Command[bool]):
    """Give a message the previews of its links; whether it has them now."""

    channel: str
    seq: int
    urls: list[str]
    previews: list[LinkPreview]
