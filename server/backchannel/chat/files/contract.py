"""What files understand: commands, queries, and how a file and the preview of a link are told."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Meta, Query, Struct

from ..common import Cursor, PageLimit, app

__all__ = [
    "CancelUpload",
    "CreateUpload",
    "DeleteFile",
    "FileId",
    "FileInfo",
    "FileList",
    "FileUrl",
    "FileUrls",
    "GetFile",
    "GetFileUrls",
    "LinkPreview",
    "ListFiles",
    "RemovedFile",
    "Thumbnail",
    "Upload",
]

FileId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,40}$(?!\n)", description="A file, and the upload it came by.")]
FileName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/\\]+$(?!\n)")]
MediaType = Annotated[
    str,
    Meta(
        max_length=127,
        pattern=r"^[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*$(?!\n)",
        description="A media type such as image/png.",
    ),
]


class Thumbnail(Struct):
    """A smaller picture of an image: `GET /chat/files/<id>/<name>`."""

    name: str
    type: str
    width: int
    height: int
    size: int


class FileInfo(Struct, omit_defaults=True):
    """A file. Its content is at `/chat/files/<id>`, for who may see a message that has it."""

    id: str
    name: str
    type: str
    """What its content is, whatever its name says."""
    size: int
    width: int | None = None
    """Of an image, in pixels."""
    height: int | None = None
    thumbnails: list[Thumbnail] = []


class LinkPreview(Struct, omit_defaults=True):
    """What a page that a message links to says of itself."""

    url: str
    """As the message has it."""
    title: str
    description: str = ""
    site: str = ""
    image: str = ""
    """The URL of a picture, which is on a server of others: who loads it shows them an address."""


# Commands


class Upload(Struct):
    """An upload: send its bytes to `url` with tus 1.0."""

    id: str
    url: str
    size: int
    offset: int
    """Bytes that are there."""
    expires: int
    """Unless it is complete by then, it goes. Unix milliseconds."""


@app.command("upload.create")
class CreateUpload(Command[Upload]):
    """Begin to upload a file; `POST /chat/files` does the same."""

    name: FileName
    size: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    type: MediaType = "application/octet-stream"


class RemovedFile(Struct):
    """The file, or upload, that is gone."""

    id: str


@app.command("upload.cancel")
class CancelUpload(Command[RemovedFile]):
    """Drop an upload of one's own that is not complete."""

    id: FileId


@app.command("file.delete")
class DeleteFile(Command[RemovedFile]):
    """Remove a file of one's own that no message has."""

    id: FileId


# Queries


@app.query("file.get")
class GetFile(Query[FileInfo]):
    """A file of one's own, or of a message that one may see."""

    id: FileId


class FileList(Struct, omit_defaults=True):
    """A page of one's own files, and how much room all of them take."""

    files: list[FileInfo]
    used: int
    """Bytes, with uploads that are under way."""
    quota: int
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("file.list")
class ListFiles(Query[FileList]):
    """One's own files, the newest first."""

    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


class FileUrl(Struct):
    """Where a file can be had without a token, until `expires` (Unix milliseconds)."""

    id: str
    url: str
    expires: int


class FileUrls(Struct):
    """Those of the files that one may see."""

    files: list[FileUrl]


@app.query("file.urls")
class GetFileUrls(Query[FileUrls]):
    """Short-lived URLs that pages can show, as in `<img src>`; a thumbnail's has its name behind the id."""

    ids: Annotated[list[FileId], Meta(min_length=1, max_length=100)]
