"""`--help` teaches: every command has examples, and `serve` lists every setting."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from backchannel.cli.root import app
from backchannel.settings import describe

COMMANDS = [
    "serve",
    "gateway",
    "worker",
    "token",
    "keys create",
    "keys list",
    "keys revoke",
    "call",
    "listen",
    "migrate",
    "schema",
    "doctor",
]


def help_of(command: str) -> str:
    """What `backchannel COMMAND --help` writes, without frames and line breaks."""
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    return re.sub(r"[\s│]+", " ", result.output)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command: str) -> None:
    """With its own full name, as one would type it, beside the line of its usage."""
    assert help_of(command).count(f"backchannel {command} ") >= 2


@pytest.mark.parametrize("command", ["serve", "gateway", "worker"])
def test_every_setting_is_listed_with_flag_variable_and_default(command: str) -> None:
    """Nobody needs to look elsewhere; the secret is listed by its variable alone."""
    text = help_of(command)
    for info in describe():
        assert info.variable in text
        if info.flag is None:
            assert not re.search(rf"--{info.name}(?![\w-])", text)
            continue
        assert f"{info.flag} " in text
        bracket = text.split(f"[{info.variable}", 1)[1].partition("]")[0]
        assert bracket == (f"; default {info.default_text}" if info.default_text else "")


def test_the_commands_are_listed() -> None:
    """Each with one line."""
    text = help_of("")
    for command in {command.split()[0] for command in COMMANDS} | {"version"}:
        assert f" {command} " in text
    assert "Exit codes" in text


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--prot", "1"],
        ["serve", "--secret", "x"],
        ["serve", "--gateways", "-1"],
        ["gateway", "--fd", "x"],
        ["token"],
        ["token", "--user", "a", "--lifetime", "soon"],
        ["token", "--user", "a", "--lifetime", "0s"],
        ["call"],
        ["call", "a.b", "{"],
        ["call", "a.b", "{}", "--user", "a", "--token", "t"],
        ["listen"],
        ["listen", "chat:lobby", "--since", "12"],
        ["listen", "chat:lobby", "--since", ":12"],
        ["listen", "chat:lobby", "--since", "e:-1"],
        ["listen", "chat:lobby", "chat:other", "--since", "e:1"],
        ["keys", "create", ""],
        ["keys", "create", "a\nb"],
        ["schema", "xml"],
        ["gone"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_never_a_traceback(words: list[str]) -> None:
    """Click's convention, which scripts know."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
