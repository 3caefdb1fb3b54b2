"""What a file is, by its bytes; images written anew."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from backchannel import Refused
from backchannel.chat.files.addresses import is_public
from backchannel.chat.files.content import INLINE, TextCheck, media_type, taken
from backchannel.chat.files.images import process
from backchannel.chat.files.limits import FileLimits

OCTETS = "application/octet-stream"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
ZIP = b"PK\x03\x04" + b"\0" * 20
MP4 = b"\0\0\0\x18ftypisom" + b"\0" * 20


@pytest.mark.parametrize(
    ("declared", "head", "text", "found"),
    [
        ("image/png", PNG, False, "image/png"),
        (OCTETS, PNG, False, "image/png"),
        ("image/jpg", b"\xff\xd8\xff\xe0", False, "image/jpeg"),
        ("audio/mp4", MP4, False, "audio/mp4"),
        ("application/vnd.oasis.opendocument.text", ZIP, False, "application/vnd.oasis.opendocument.text"),
        ("text/html", b"<html>", True, "text/html"),
        ("application/x-whatever", b"\0\1\2", False, OCTETS),
        (OCTETS, b"hello", True, "text/plain"),
        ("image/svg+xml", b"<svg>", True, "image/svg+xml"),
    ],
)
def test_what_agrees(declared: str, head: bytes, text: bool, found: str) -> None:
    """What is recognised counts, under the name that is declared where that is another name for the same."""
    assert media_type(declared, head, text) == found


@pytest.mark.parametrize(
    ("declared", "head", "text"),
    [
        ("image/png", b"\xff\xd8\xff\xe0", False),
        ("image/png", b"<html>", True),
        ("application/pdf", b"MZ\x90", False),
        ("application/zip", b"hello", True),
        ("text/plain", PNG, False),
        ("text/plain", b"\xff\xfe\0", False),
        ("video/mp4", b"\0\0\0\0", False),
        ("image/x-new", b"\0\0\0\0", False),
        ("application/json", b"\xff", False),
        ("text/plain", ZIP, True),
    ],
)
def test_what_does_not_agree_is_refused(declared: str, head: bytes, text: bool) -> None:
    """Whatever browsers would show must be what it says; and what is recognised must be called so."""
    with pytest.raises(Refused) as caught:
        media_type(declared, head, text)
    assert caught.value.code == "invalid"


@given(st.binary(max_size=200), st.sampled_from(["text/html", "image/svg+xml", OCTETS, "image/png", "a/b"]))
def test_nothing_that_runs_is_shown(content: bytes, declared: str) -> None:
    """What browsers are let show is never what was not recognised by its bytes."""
    check = TextCheck()
    check.feed(content)
    try:
        found = media_type(declared, content, check.end())
    except Refused:
        return
    if found in INLINE:
        assert media_type(OCTETS, content, False) == found


@given(st.binary(max_size=100), st.lists(st.integers(0, 100)))
def test_text_is_told_whatever_the_chunks(content: bytes, cuts: list[int]) -> None:
    """Whether it is UTF-8 without NUL does not depend on where chunks end."""
    check = TextCheck()
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    for start, end in itertools.pairwise(edges):
        check.feed(content[start:end])
    try:
        expected = "\0" not in content.decode()
    except UnicodeDecodeError:
        expected = False
    assert check.end() == expected


def test_types_that_are_taken() -> None:
    """Exact types, whole kinds, or everything."""
    assert taken("image/png", ("image/*",))
    assert taken("image/png", ("text/plain", "image/png"))
    assert taken("a/b", ("*/*",))
    assert not taken("image/png", ("text/*", "image/gif"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "ACME Cameras"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0)})
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("form", "type_"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_images_lose_what_they_tell(form: str, type_: str, orientation: int) -> None:
    """However the camera was held, the red corner is where it was seen; and nothing is told of where or by what."""
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 16, 16))
    into = io.BytesIO()
    image.save(into, form, exif=_exif(orientation))
    assert b"ACME" in into.getvalue()
    done = process(into.getvalue(), type_, FileLimits())
    assert b"ACME" not in done.image.content
    with Image.open(io.BytesIO(done.image.content)) as kept:
        assert not kept.getexif()
        assert kept.size == ((64, 32) if orientation < 5 else (32, 64)) == (done.image.width, done.image.height)
        right = kept.width - 4
        low = kept.height - 4
        corner = {1: (4, 4), 2: (right, 4), 3: (right, low), 4: (4, low), 5: (4, 4), 6: (right, 4), 7: (right, low),
                  8: (4, low)}[orientation]  # fmt: skip
        pixel = kept.convert("RGB").getpixel(corner)
        assert isinstance(pixel, tuple)
        assert pixel[0] > 200 > pixel[2]


def test_texts_of_a_png_go() -> None:
    """Comments and XMP in a PNG go; what is transparent stays so."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "at home")
    told.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>at home</x:xmpmeta>")
    into = io.BytesIO()
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(into, "PNG", pnginfo=told)
    done = process(into.getvalue(), "image/png", FileLimits())
    assert b"at home" not in done.image.content
    with Image.open(io.BytesIO(done.image.content)) as kept:
        assert kept.convert("RGBA").getpixel((3, 3)) == (255, 0, 0, 0)


@pytest.mark.parametrize(("form", "type_"), [("GIF", "image/gif"), ("WEBP", "image/webp"), ("PNG", "image/png")])
def test_moving_pictures_still_move(form: str, type_: str) -> None:
    """All frames stay, with their times; the thumbnail is the first one."""
    frames = [Image.new("RGB", (60, 40), color) for color in ("red", "green", "blue")]
    into = io.BytesIO()
    frames[0].save(into, form, save_all=True, append_images=frames[1:], duration=[50, 100, 150], loop=0)
    done = process(into.getvalue(), type_, FileLimits())
    with Image.open(io.BytesIO(done.image.content)) as kept:
        assert getattr(kept, "n_frames", 1) == 3
    assert [thumbnail.name for thumbnail in done.thumbnails] == ["small"]


def test_what_follows_an_image_goes() -> None:
    """A second file behind a picture, as those have that are two things at once, does not survive."""
    into = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(into, "PNG")
    done = process(into.getvalue() + b"<script>alert(1)</script>", "image/png", FileLimits())
    assert b"<script>" not in done.image.content


@pytest.mark.parametrize("frames", [1, 30])
def test_too_many_pixels_are_refused_unseen(frames: int) -> None:
    """One large picture, or many small ones, are refused by what their head says."""
    pictures = [Image.new("L", (300, 300), n * 8) for n in range(frames)]
    into = io.BytesIO()
    pictures[0].save(into, "GIF", save_all=True, append_images=pictures[1:])
    with pytest.raises(Refused) as caught:
        process(into.getvalue(), "image/gif", FileLimits(pixels=80_000 if frames == 1 else 1_000_000))
    assert caught.value.code == "too_large"


@given(st.binary(max_size=300), st.sampled_from(["image/png", "image/jpeg", "image/gif", "image/webp"]))
def test_broken_images_are_refused(tail: bytes, type_: str) -> None:
    """Whatever stands behind the first bytes of an image: it is one, or is refused as no image."""
    head = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF89a",
            "image/webp": b"RIFF\x20\0\0\0WEBP"}[type_]  # fmt: skip
    with pytest.raises(Refused) as caught:
        process(head + tail, type_, FileLimits())
    assert caught.value.code in ("invalid", "too_large")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1",
     "::127.0.0.1", "localhost", "", "127.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """Nothing of one's own machine or networks is reached, however it is written."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_addresses_that_are_public(address: str) -> None:
    """What everybody can reach is allowed."""
    assert is_public(address)
