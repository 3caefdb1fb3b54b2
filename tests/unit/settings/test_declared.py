"""The declaration of settings is whole, and keeps the secret to itself."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from backchannel.settings import IN_FILES, SettingInfo, Settings, describe, without_password

SECRET = "correct horse battery staple 1234567890"


@pytest.mark.parametrize("info", describe(), ids=lambda info: info.name)
def test_every_setting_is_described(info: SettingInfo) -> None:
    """Help, group, unit and what to write exist for each, and the default obeys the declared bounds."""
    assert info.help.endswith(".")
    assert info.group
    assert info.expects
    assert info.metavar or isinstance(info.default, bool)
    assert info.variable == f"BACKCHANNEL_{info.name.upper()}"
    if info.default != "":
        assert msgspec.convert(msgspec.to_builtins(info.default), info.type) == info.default


def test_all_fields_are_settings() -> None:
    """`describe` leaves none out."""
    assert [info.name for info in describe()] == list(Settings.__struct_fields__)


def test_the_secrets_alone_have_no_flag() -> None:
    """Everybody on a machine sees the flags of its processes."""
    assert [info.name for info in describe() if info.flag is None] == ["secret", "secret_previous"]


def test_the_secret_is_not_shown() -> None:
    """Neither `repr` nor rich shows it, and both tell whether there is one."""
    settings = Settings(secret=SECRET, secret_previous=SECRET)
    out = io.StringIO()
    Console(file=out, width=1000).print(settings)
    for shown in (repr(settings), str(settings), f"{settings}", out.getvalue()):
        assert SECRET not in shown
        assert "secret='***'" in shown
        assert "secret_previous='***'" in shown
    assert "secret=''" in repr(Settings())


def test_a_password_in_a_url_is_not_shown() -> None:
    """The rest of the URL is, since it tells where something is looked for."""
    settings = Settings(redis=f"redis://bob:{SECRET}@h:6379/1", postgres=f"postgresql://h/db?password={SECRET}&x=1")
    out = io.StringIO()
    Console(file=out, width=1000).print(settings)
    for shown in (repr(settings), out.getvalue()):
        assert SECRET not in shown
        assert "redis://bob:***@h:6379/1" in shown
        assert "postgresql://h/db?password=***&x=1" in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://h:1", "redis://h:1"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://p@ss/w:o@rd@h:1/0", "redis://p@ss/w:***@h:1/0"),
        ("redis://bob:p@ss/w?rd@h:1/0", "redis://bob:***@h:1/0"),
        (
            "redis+sentinel://u:p@a:1,b:2/m?sentinel_password=q",
            "redis+sentinel://u:***@a:1,b:2/m?sentinel_password=***",
        ),
        ("postgresql://u:p@h/d?user=u&PASSWORD=p", "postgresql://u:***@h/d?user=u&PASSWORD=***"),
    ],
)
def test_whatever_may_be_a_password_is_masked(url: str, shown: str) -> None:
    """Also one that was not escaped as a URL wants it: those are the ones that end up in errors."""
    assert without_password(url) == shown


@pytest.mark.parametrize("name", IN_FILES)
def test_what_holds_secrets_may_be_in_a_file(name: str) -> None:
    """Container platforms give secrets as files."""
    assert f"{name}_file" in Settings.__struct_fields__


def test_limits_are_what_clients_are_told() -> None:
    """Each limit of the protocol follows its setting."""
    settings = Settings(frame=2048, token_size=300, calls=1.5, connect_timeout=3.0, handler_timeout=4.0, recovery=9)
    limits = settings.limits()
    assert (limits.frame, limits.token, limits.calls) == (2048, 300, 1.5)
    assert (limits.connect, limits.call, limits.recovery) == (3.0, 4.0, 9)


def test_the_default_limits_are_the_protocols() -> None:
    """An operator who sets nothing offers version 1 as it is written."""
    assert Settings().limits() == msgspec.convert({}, type(Settings().limits()))


def test_a_home_folder_may_be_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell does not expand it behind `=` or in a file."""
    monkeypatch.setenv("HOME", "/somewhere")
    assert Settings(data="~/bc").database == Path("/somewhere/bc/backchannel.db")
