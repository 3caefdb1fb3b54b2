"""What goes wrong is told on stderr, and scripts learn it from the exit code."""

from __future__ import annotations

import pytest

from backchannel import RegistrationError
from backchannel.cli.failures import CommandFailed, exit_codes, server_extra
from backchannel.settings import ConfigurationError
from backchannel_client import ConnectionClosed
from backchannel_protocol import BackchannelError, Refused


def told(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and what stands on stderr; stdout stays empty for what a pipe expects."""
    with pytest.raises(SystemExit) as raised, exit_codes():
        raise error
    out, err = capsys.readouterr()
    assert out == ""
    assert isinstance(raised.value.code, int)
    return raised.value.code, err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("forbidden", "No."), 1),
        (ConnectionClosed(4501), 1),
        (BackchannelError("Something."), 1),
        (CommandFailed("Something."), 1),
        (CommandFailed("Something.", 2), 2),
        (ConfigurationError("Something."), 2),
        (RegistrationError("Something."), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_has_its_exit_code(error: BackchannelError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """1: refused or failed; 2: usage or configuration."""
    exit_code, err = told(error, capsys)
    assert exit_code == code
    assert err.strip()


def test_a_refusal_tells_code_details_and_cure(capsys: pytest.CaptureFixture[str]) -> None:
    """All that the server told, and what the table of codes advises."""
    refused = Refused("rate_limited", "Slow down.", details={"left": 0}, retry_after=1.5, outcome="unknown")
    err = told(refused, capsys)[1]
    for part in ("Refused (rate_limited): Slow down.", '{"left":0}', "after 1.5 s", "same --key", "Wait for"):
        assert part in err


def test_an_apps_own_code_has_no_cure_but_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """The message is one line."""
    assert told(Refused("sold_out", "None left."), capsys) == (1, "Refused (sold_out): None left.\n")


def test_a_server_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and markup in what a server tells are shown, not obeyed."""
    err = told(Refused("bad", "\x1b[31mred\x9b [bold]x[/bold] \u202eabc"), capsys)[1]
    assert "\\u001b[31mred\\u009b [bold]x[/bold] \\u202eabc" in err


def test_a_bug_is_not_dressed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody raised on purpose keeps its traceback."""
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError


def test_only_a_package_of_the_extra_is_explained_by_it() -> None:
    """Another missing module is a mistake of another kind."""
    with pytest.raises(CommandFailed, match=r"backchannel\[server\]"), server_extra("keys"):
        raise ModuleNotFoundError("x", name="sqlalchemy.orm")
    with pytest.raises(ModuleNotFoundError), server_extra("keys"):
        raise ModuleNotFoundError("x", name="backchannel.store.gone")
