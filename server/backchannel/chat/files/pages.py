"""Pages: what one says of itself in its head (Open Graph, https://ogp.me, or else plain HTML), for a preview."""

from __future__ import annotations

import codecs
import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser

from .contract import LinkPreview
from .fetching import Page

__all__ = ["preview_of"]

_TITLE: Final = 200
_DESCRIPTION: Final = 500
_SITE: Final = 100
_URL: Final = 2000
_DECLARED: Final = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")


def preview_of(url: str, page: Page) -> LinkPreview | None:
    """The preview of a page that a message names by this URL; None: it says nothing of itself.

    A page that wishes for no snippet (`robots`: `nosnippet`, `noimageindex`) is told of by its title alone, or without
    its picture.
    """
    tree = LexborHTMLParser(_text(page))
    told: dict[str, str] = {}
    for node in tree.css("meta"):
        attributes = node.attributes
        name = attributes.get("property") or attributes.get("name")
        content = attributes.get("content")
        if name and content:
            told.setdefault(name.strip().lower(), content)
    heading = tree.css_first("title")
    title = _line(told.get("og:title") or told.get("twitter:title") or (heading.text() if heading else ""), _TITLE)
    if not title:
        return None
    robots = told.get("robots", "").lower()
    described = told.get("og:description") or told.get("twitter:description") or told.get("description", "")
    image = told.get("og:image:secure_url") or told.get("og:image") or told.get("twitter:image", "")
    return LinkPreview(
        url=url,
        title=title,
        description="" if "nosnippet" in robots else _line(described, _DESCRIPTION),
        site=_line(told.get("og:site_name", ""), _SITE),
        image="" if "noimageindex" in robots else _address(page.url, image),
    )


def _text(page: Page) -> str:
    declared = _DECLARED.search(page.content[:1024])
    name = page.charset or (declared.group(1).decode("ascii") if declared else "utf-8")
    try:
        # Among Python's codecs are some that turn bytes into bytes, which `decode` refuses.
        codecs.lookup(name)
        return page.content.decode(name, errors="replace")
    except (LookupError, ValueError):
        return page.content.decode("utf-8", errors="replace")


def _line(text: str, most: int) -> str:
    line = _SPACE.sub(" ", text).strip()
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _address(base: str, told: str) -> str:
    """An absolute URL of a picture; empty where it is none that a page of a browser should load."""
    if not told:
        return ""
    try:
        found = urljoin(base, told.strip())
        parts = urlsplit(found)
    except ValueError:
        return ""
    return found if parts.scheme in ("http", "https") and parts.hostname and len(found) <= _URL else ""
