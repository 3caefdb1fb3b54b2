"""Images: written anew without what the camera told, the right way up, and smaller ones beside them.

Runs in a thread. Nothing of the original file survives but its pixels and its colour profile, so that neither a place
nor a second file hides in it. Who sends a small file that unpacks to a huge picture is refused before it is unpacked.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from backchannel import Refused

from .limits import FileLimits

__all__ = ["FORMATS", "Picture", "Processed", "process"]

FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
"""The types that are worked on, by Pillow's names; others are kept as they come, without thumbnails."""

_FRAMES: Final = 2
"""How many times `pixels` all frames together may have."""
_MANY: Final = 1000
"""Frames that a moving picture may have."""
_ORIENTATION: Final = 0x0112
_QUALITY: Final = 90
_SMALL_QUALITY: Final = 80


class Picture(Struct):
    """A picture as a file, ready to be kept."""

    name: str
    type: str
    width: int
    height: int
    content: bytes


class Processed(Struct):
    """An image, and the smaller ones of it."""

    image: Picture
    thumbnails: list[Picture]


def process(content: bytes, type_: str, limits: FileLimits) -> Processed:
    """Write an image anew, and make its thumbnails.

    Raises:
        Refused: `invalid`, it is broken; `too_large`, it has too many pixels or frames.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of what is bounded here more exactly.
            warnings.simplefilter("ignore")
            return _process(content, type_, limits)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError) as exc:
        raise Refused(
            "invalid", f"The {type_} cannot be read; save it anew and try again.", details={"reason": "image"}
        ) from exc
    except (Image.DecompressionBombError, MemoryError):
        raise _too_large(limits) from None


def _process(content: bytes, type_: str, limits: FileLimits) -> Processed:
    form = FORMATS[type_]
    with Image.open(io.BytesIO(content), formats=[form]) as image:
        # Only the head has been read.
        width, height = image.size
        frames = getattr(image, "n_frames", 1)
        pixels = width * height
        if pixels > limits.pixels or frames > _MANY or pixels * frames > _FRAMES * limits.pixels:
            raise _too_large(limits)
        moving = frames > 1
        if moving:
            anew = _moving(image, form)
            size = image.size
            image.seek(0)
            still: Image.Image = image.copy()
        else:
            image.load()
            turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
            still = ImageOps.exif_transpose(image) if turned else image
            size = still.size
            anew = _still(still, image, form, turned)
        thumbnails = [
            made
            for name, longest in limits.thumbnails
            if (made := _thumbnail(still, name, longest, always=name == limits.thumbnails[0][0])) is not None
        ]
    return Processed(Picture("original", type_, *size, anew), thumbnails)


def _still(picture: Image.Image, image: Image.Image, form: str, turned: bool) -> bytes:
    options: dict[str, Any] = {}
    if form == "JPEG":
        # Unturned, the same tables lose nothing that can be seen.
        options = {"quality": _QUALITY} if turned else {"quality": "keep"}
        picture = picture if picture.mode in ("L", "RGB", "CMYK") else picture.convert("RGB")
        if picture is not image:
            options = {"quality": _QUALITY}
    elif form == "WEBP":
        options = {"quality": _QUALITY, "method": 4}
    elif form == "PNG" and "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    return _written(picture, form, image.info.get("icc_profile"), options)


def _moving(image: Image.Image, form: str) -> bytes:
    frames = []
    durations = []
    for frame in ImageSequence.Iterator(image):
        frame.load()
        durations.append(frame.info.get("duration", 100) or 100)
        frames.append(_bare(frame.copy()))
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": durations,
        "loop": image.info.get("loop", 0),
    }
    if form == "GIF":
        options["disposal"] = 2
    if form == "WEBP":
        options["quality"] = _QUALITY
    return _written(frames[0], form, image.info.get("icc_profile"), options)


def _thumbnail(picture: Image.Image, name: str, longest: int, *, always: bool) -> Picture | None:
    """A smaller picture; None where it would be no smaller, unless there is to be one in any case."""
    if not always and max(picture.size) <= longest:
        return None
    small = picture.convert("RGBA" if _transparent(picture) else "RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3.0)
    profile = None if picture.mode == "CMYK" else picture.info.get("icc_profile")
    content = _written(_bare(small), "WEBP", profile, {"quality": _SMALL_QUALITY, "method": 4})
    return Picture(name, "image/webp", *small.size, content)


def _transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _bare(picture: Image.Image) -> Image.Image:
    """Without anything that is told beside the pixels, but what is transparent."""
    kept = ("transparency", "background", "duration")
    picture.info = {name: value for name, value in picture.info.items() if name in kept}
    return picture


def _written(picture: Image.Image, form: str, profile: bytes | None, options: dict[str, Any]) -> bytes:
    # Whatever a format's writer would take from here is given to it, or is not to be told.
    into = io.BytesIO()
    if profile and form != "GIF":
        options = {**options, "icc_profile": profile}
    told: Sequence[str] = ("exif", "xmp", "XML:com.adobe.xmp", "comment", "photoshop", "dpi", "parsed_exif", "adobe")
    for name in told:
        picture.info.pop(name, None)
    if form in ("JPEG", "PNG", "WEBP"):
        options = {**options, "exif": b""}
    if form == "WEBP":
        options = {**options, "xmp": b""}
    picture.save(into, form, **options)
    return into.getvalue()


def _too_large(limits: FileLimits) -> Refused:
    return Refused(
        "too_large",
        f"The image has more than {limits.pixels} pixels, or too many frames; make it smaller.",
        details={"reason": "pixels", "most": limits.pixels},
    )
