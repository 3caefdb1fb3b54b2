"""`backchannel call` asks one thing over the WebSocket."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Folder, Served

Order = Callable[..., str]


def answer(served: Served, *words: str, **options: Any) -> Any:
    """The answer to a call as alice."""
    done = served.ask("call", *words, "--user", "alice", **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


def test_the_answer_is_json_on_stdout(served: Served, order: Order) -> None:
    """Indented for people, and whole for programs; the user's token is made from the local secret."""
    done = served.ask("call", "order.place", order(), "--user", "alice")
    assert (done.returncode, done.stderr) == (0, "")
    placed = json.loads(done.stdout)
    assert placed["item"] == "tea"
    assert done.stdout == f'{{\n  "id": "{placed["id"]}",\n  "item": "tea"\n}}\n'


def test_the_data_may_come_from_stdin(served: Served, order: Order) -> None:
    """For what is long, or must not stand in a shell's history."""
    assert answer(served, "order.place", "-", stdin=order(item="ünïcode"))["item"] == "ünïcode"


def test_an_answer_cannot_command_the_terminal(served: Served, shop: str) -> None:
    """Control characters stay escaped, and the JSON means the same."""
    item = "\x1b[2J\x9b\u202e"
    data = json.dumps({"shop": shop, "item": item, "quantity": 1})
    done = served.ask("call", "order.place", data, "--user", "alice")
    assert not {"\x1b", "\x9b", "\u202e"} & set(done.stdout)
    assert json.loads(done.stdout)["item"] == item


def test_a_refusal_is_told_on_stderr(served: Served, order: Order) -> None:
    """The app's code and message, exit code 1, nothing on stdout."""
    answer(served, "order.place", order(100))
    done = served.ask("call", "order.place", order(1), "--user", "alice")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Refused (sold_out): Only 0 left; order fewer or ask again tomorrow.\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["gone.name"], "not_found"), (["order.place", '{"shop": 5}'], "invalid"), (["No Name"], "invalid")],
)
def test_the_protocols_refusals_come_with_a_cure(served: Served, words: list[str], code: str) -> None:
    """What to do stands below what went wrong."""
    done = served.ask("call", *words, "--user", "alice")
    assert (done.returncode, done.stdout) == (1, "")
    first, *cure = done.stderr.splitlines()
    assert first.startswith(f"Refused ({code}): ")
    assert cure


def test_a_key_makes_a_repeat_harmless(served: Served, order: Order) -> None:
    """The same key and data: the same answer; the same key and other data: `conflict`."""
    words = ["order.place", order(2), "--key", "order-4711"]
    assert answer(served, *words) == answer(served, *words)
    other = served.ask("call", "order.place", order(3), "--key", "order-4711", "--user", "alice")
    assert other.returncode == 1
    assert "Refused (conflict)" in other.stderr


def test_without_saying_who_the_cure_is_told(served: Served) -> None:
    """Guests are not allowed here, so the message names the ways to say it."""
    done = served.ask("call", "order.place")
    assert done.returncode == 1
    for way in ("--user", "--token", "BACKCHANNEL_TOKEN"):
        assert way in done.stderr


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_token_may_be_given(served: Served, how: str) -> None:
    """A bad one is refused by the server, which shows that it was sent."""
    words, variables = (["--token", "x.y.z"], {}) if how == "flag" else ([], {"BACKCHANNEL_TOKEN": "x.y.z"})
    done = served.ask("call", "order.place", *words, **variables)
    assert done.returncode == 1
    assert "JSON Web Token" in done.stderr


def test_the_address_may_be_a_variable(served: Served) -> None:
    """Set once for a whole session at the terminal."""
    done = served.folder.run("call", "gone.name", "--user", "alice", BACKCHANNEL_URL=served.url)
    assert "not_found" in done.stderr


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/ws", "http://127.0.0.1:1/", "nonsense"])
def test_without_a_server_it_says_so_at_once(folder: Folder, url: str) -> None:
    """The address is named; it is not tried again and again while a person waits."""
    done = folder.run("call", "a.b", "--url", url, "--token", "t")
    assert (done.returncode, done.stdout) == (1, "")
    assert url in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "variables", "coloured"),
    [([], {}, True), ([], {"NO_COLOR": "1"}, False), (["--no-color"], {}, False)],
    ids=["plain", "NO_COLOR", "--no-color"],
)
def test_colours_are_for_terminals_that_want_them(
    served: Served, order: Order, words: list[str], variables: dict[str, str], coloured: bool
) -> None:
    """On a terminal the JSON is coloured, unless told otherwise, wherever on the line that is told."""
    ours, theirs = pty.openpty()
    try:
        environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"}
        command = [sys.executable, "-P", "-m", "backchannel.cli", "call", "order.place", order(), "--user", "alice"]
        done = subprocess.run(
            [*command, "--url", served.url, *words],
            cwd=served.folder.path,
            env=environ | variables,
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (b"\x1b[" in os.read(ours, 10_000)) is coloured
    finally:
        os.close(ours)
        os.close(theirs)
