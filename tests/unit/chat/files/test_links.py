"""Previews: found in texts, fetched once a message is stored, told as a change of the message; lost in no crash."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backchannel.chat.files import links
from backchannel.chat.files.fetching import Page, Unfetchable
from backchannel.chat.files.links import links_in
from backchannel.chat.files.pages import preview_of
from backchannel.chat.files.tables import link_wishes


class Web:
    """Pages by URL; what it has not is not there."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []

    async def fetch(self, url: str) -> Page:
        """A page."""
        self.asked.append(url)
        if url not in self.pages:
            raise Unfetchable("It is not there.")
        return Page(url, self.pages[url].encode(), None)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """What there is to be fetched."""
    made = Web()
    monkeypatch.setattr(links, "fetcher", made)
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.example/x?y=1#z, and http://b.example.", ["https://a.example/x?y=1#z", "http://b.example"]),
        ("(https://a.example/wiki/Tea_(drink))", ["https://a.example/wiki/Tea_(drink)"]),
        ("<https://a.example> \"https://a.example\" **https://b.example/**", ["https://a.example", "https://b.example/"]),
        ("ftp://a.example javascript:alert(1) www.a.example a@b.example", []),
        ("https://a.example https://b.example https://c.example https://d.example",
         ["https://a.example", "https://b.example", "https://c.example"]),
    ],
)  # fmt: skip
def test_links_of_a_text(text: str, found: list[str]) -> None:
    """The first three web links, each once, without the punctuation and brackets around them."""
    assert links_in(text) == found


@given(st.text(alphabet="https:/.()<>\"' aé", max_size=300))
def test_any_text_has_links_or_none(text: str) -> None:
    """No text breaks the search, and what is found is part of it."""
    assert all(link in text for link in links_in(text))


async def test_a_message_gets_its_preview(box: Any, people: Any, new_channel: Any, send: Any, web: Web) -> None:
    """The message is there at once; its preview comes as a change of it, and is there for who lists it later."""
    web.pages["https://a.example/"] = "<title>Tea &amp; more</title><meta name=description content='All of it'>"
    channel = await new_channel("alice", "bob")
    message = await send("alice", channel, "look: https://a.example/ and https://gone.example/")
    assert "links" not in message
    await box.settle()
    [told] = [event for event in box.events(channel) if event.name == "message.updated"]
    preview = {"url": "https://a.example/", "title": "Tea & more", "description": "All of it"}
    assert told.data["links"] == [preview]
    [bob] = await people("bob")
    listed = await bob.call("message.list", {"channel": channel})
    assert listed["messages"][-1]["links"] == [preview]
    assert not box.rows(sa.select(link_wishes))
    assert web.asked == ["https://a.example/", "https://gone.example/"]


async def test_a_message_without_previews_is_not_told_again(box: Any, new_channel: Any, send: Any, web: Web) -> None:
    """Where nothing is found nobody is told anything; a text without links asks nobody."""
    channel = await new_channel("alice")
    await send("alice", channel, "https://gone.example/")
    await send("alice", channel, "no links: at all")
    await box.settle()
    assert [event.name for event in box.events(channel) if event.name == "message.updated"] == []
    assert web.asked == ["https://gone.example/"]
    assert not box.rows(sa.select(link_wishes))


async def test_an_edit_changes_the_previews(box: Any, people: Any, new_channel: Any, send: Any, web: Web) -> None:
    """Links that are edited away lose their preview; new ones get theirs."""
    for name in ("a", "b"):
        web.pages[f"https://{name}.example/"] = f"<title>{name}</title>"
    channel = await new_channel("alice")
    [alice] = await people("alice")
    message = await send("alice", channel, "https://a.example/")
    await box.settle()
    for text, wanted in (("https://b.example/", ["b"]), ("nothing", [])):
        await alice.call("message.edit", {"channel": channel, "seq": message["seq"], "text": text})
        await box.settle()
        now = await alice.call("message.get", {"channel": channel, "seq": message["seq"]})
        assert [link["title"] for link in now.get("links", [])] == wanted


async def test_a_wish_outlives_its_worker(
    box: Any, new_channel: Any, send: Any, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the worker dies between the commit and the fetch, another one fetches within two minutes."""
    web.pages["https://a.example/"] = "<title>Tea</title>"

    async def dies() -> None:
        return

    monkeypatch.setattr(links, "_fetch_now", dies)
    channel = await new_channel("alice")
    await send("alice", channel, "https://a.example/")
    await box.settle()
    assert box.rows(sa.select(link_wishes))
    await box.advance(121)
    assert [event.data["links"][0]["title"] for event in box.events(channel) if event.name == "message.updated"] == [
        "Tea"
    ]


async def test_channels_without_previews(people: Any, web: Web, box: Any) -> None:
    """Where the channel's rules say so nothing is fetched."""
    [alice] = await people("alice")
    channel = (await alice.call("channel.create", {"name": "Tea"}))["channel"]
    await alice.call("permission.change", {"channel": channel, "features": {"links": False}})
    await alice.call("message.send", {"channel": channel, "text": "https://a.example/"})
    await box.settle()
    assert web.asked == []


def test_open_graph_comes_first() -> None:
    """What a page says of itself by Open Graph counts before its title; addresses become absolute."""
    html = """<html><head><title>plain</title><meta property="og:title" content="  Tea
        time "><meta property="og:description" content="d"><meta property="og:site_name" content="Tea &amp; Co">
        <meta property="og:image" content="/cup.png"><meta name="description" content="other"></head>"""
    preview = preview_of("https://t.example/x", Page("https://www.t.example/x/y", html.encode(), "utf-8"))
    assert preview is not None
    assert (preview.url, preview.title, preview.description) == ("https://t.example/x", "Tea time", "d")
    assert (preview.site, preview.image) == ("Tea & Co", "https://www.t.example/cup.png")


@pytest.mark.parametrize(
    "image", ["javascript:alert(1)", "data:image/png;base64,AA", "http://[", "ftp://a/b", "x" * 3000]
)
def test_pictures_that_no_page_should_load(image: str) -> None:
    """Only addresses of the web are told as pictures."""
    html = f'<title>t</title><meta property="og:image" content="{image}">'
    preview = preview_of("https://t.example/", Page("https://t.example/", html.encode(), None))
    assert preview is not None
    assert preview.image == ""


def test_texts_are_short_and_printable() -> None:
    """Long texts are cut; characters that change the direction of what follows, or nothing visible, are left out."""
    html = f"<title>{'a' * 500}</title><meta name=description content='x\u202ey\u0000z'>"
    preview = preview_of("https://t.example/", Page("https://t.example/", html.encode(), None))
    assert preview is not None
    assert len(preview.title) == 200
    assert "\u202e" not in preview.description


@pytest.mark.parametrize(
    ("html", "charset", "title"),
    [
        ("<title>caf\u00e9</title>".encode("latin-1"), "iso-8859-1", "caf\u00e9"),
        ("<meta charset=windows-1252><title>caf\u00e9</title>".encode("cp1252"), None, "caf\u00e9"),
        ("<title>caf\u00e9</title>".encode(), "no-such-charset", "caf\u00e9"),
        ("<title>caf\u00e9</title>".encode(), "base64", "caf\u00e9"),
        (b"<title>\xff\xfe</title>", None, "\ufffd\ufffd"),
    ],
)
def test_charsets(html: bytes, charset: str | None, title: str) -> None:
    """As the server or the page says; what is unknown, or is no charset of texts, is taken for UTF-8."""
    preview = preview_of("https://t.example/", Page("https://t.example/", html, charset))
    assert preview is not None
    assert preview.title == title


def test_a_page_may_ask_for_less() -> None:
    """`robots` of `nosnippet` and `noimageindex` are heeded; a page that says nothing has no preview."""
    html = """<title>t</title><meta name=robots content="nosnippet, noimageindex"><meta name=description content=d>
        <meta property=og:image content=https://a.example/i.png>"""
    preview = preview_of("https://t.example/", Page("https://t.example/", html.encode(), None))
    assert preview is not None
    assert (preview.title, preview.description, preview.image) == ("t", "", "")
    assert preview_of("https://t.example/", Page("https://t.example/", b"<p>hello", None)) is None


@given(st.binary(max_size=2000))
def test_no_page_breaks_the_parser(content: bytes) -> None:
    """Whatever a server sends there is a preview or none."""
    preview_of("https://t.example/", Page("https://t.example/", b"<title>" + content, None))
