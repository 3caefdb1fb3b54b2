"""The tutorial: its listings are the files, and what it says happens."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from backchannel import Refused, Server, Settings
from backchannel_client import Client

ROOT = Path(__file__).parent.parent.parent


def example(path: str) -> Any:
    """A module of the examples, which are no package that tests could import."""
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


poll = example("examples/poll/app.py")
LISTING = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```\n", re.S)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_listings_are_the_files(page: Path) -> None:
    """A listing that names its file is that file, letter by letter."""
    for name, listing in LISTING.findall(page.read_text()):
        assert listing == (ROOT / name).read_text(), name


async def test_a_vote_reaches_who_watches(tmp_path: Path) -> None:
    """The app of the tutorial: votes are counted once per user, changes take effect, and watchers see each."""
    server = Server(poll.app, Settings(dev=True, port=0, data=str(tmp_path)))
    await server.start()
    try:
        url = server.url.replace("http", "ws") + "/ws"

        def client(user: str) -> Client:
            return Client(url, token=server.issue_token(user, lifetime=60)[0])

        async with client("alice") as alice, client("bob") as bob, bob.subscribe("poll:drinks") as watched:
            await watched.ready()
            for caller, choice in ((alice, "tea"), (bob, "coffee"), (alice, "coffee"), (alice, "tea")):
                await caller.call(poll.Vote(poll="drinks", choice=choice))
            seen = []
            async with asyncio.timeout(10):
                async for event in watched:
                    seen.append(event.decode(poll.PollChanged).counts)
                    if len(seen) == 4:
                        break
            assert seen == [{"tea": 1}, {"tea": 1, "coffee": 1}, {"coffee": 2}, {"coffee": 1, "tea": 1}]
            with pytest.raises(Refused, match="choice"):
                await alice.call("poll.vote", {"poll": "drinks"})
    finally:
        await server.stop()


async def test_the_page_votes(tmp_path: Path) -> None:
    """The page of the tutorial, in a real browser: a click is a vote, and the count appears."""
    chromium, node = shutil.which("chromium"), shutil.which("node")
    assert chromium, "chromium is needed: run scripts/setup-system"
    assert node, "Node is needed: scripts/test puts one on the PATH"
    server = Server(poll.app, Settings(dev=True, port=0, data=str(tmp_path)))
    await server.start()
    try:
        token, _ = server.issue_token("alice", lifetime=60)
        given = json.dumps({"url": f"{server.url}/#token={token}"})
        process = await asyncio.create_subprocess_exec(
            node, str(Path(__file__).parent / "poll.mjs"), given, chromium,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(45):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
    finally:
        await server.stop()
