"""`module:attribute` finds an app, and whatever is wrong with it is told with its cure."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backchannel import App, RegistrationError
from backchannel.cli.failures import CommandFailed
from backchannel.cli.loading import load_app, module_name
from backchannel.settings import ConfigurationError

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the current folder, which the interpreter does not know; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(Path.cwd()))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source: str) -> str:
        name = f"app_of_a_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def failure(target: str) -> str:
    """The message with which a target is refused."""
    with pytest.raises(ConfigurationError) as raised:
        load_app(target)
    return str(raised.value)


def test_an_app_in_the_current_folder_is_found(module: Callable[[str], str]) -> None:
    """As `python` finds it there; also below an attribute."""
    name = module("from backchannel import App\nclass all:\n    app = App('mine')\napp = App('shop')\n")
    assert load_app(f"{name}:app").name == "shop"
    assert load_app(f"{name}:all.app").name == "mine"


def test_the_demo_is_found() -> None:
    """What `serve` runs when it is told nothing."""
    assert isinstance(load_app("backchannel.demo:app"), App)


@pytest.mark.parametrize(
    ("target", "guess"),
    [
        ("shop", "shop:app"),
        ("shop.py", "shop:app"),
        ("./apps/shop.py:main", "apps.shop:main"),
        ("shop:", "shop:app"),
        (":app", "shop:app"),
        ("", "shop:app"),
        ("shop:app:x", "module:attribute"),
        ("my-shop:app", "module:attribute"),
    ],
)
def test_a_wrong_spelling_is_answered_with_the_right_one(target: str, guess: str) -> None:
    """The message shows what to write."""
    with pytest.raises(ConfigurationError, match="module:attribute") as raised:
        module_name(target)
    assert guess in str(raised.value)


def test_a_missing_module_is_told_with_where_it_was_looked_for(module: Callable[[str], str]) -> None:
    """The folder is named, since the wrong one is the usual reason; so is the part of a dotted name."""
    assert f"no module 'gone_for_good' in {Path.cwd()}" in failure("gone_for_good:app")
    assert "no module 'backchannel.gone'" in failure("backchannel.gone:app")


def test_a_missing_attribute_is_told_with_what_is_there(module: Callable[[str], str]) -> None:
    """The apps of the module are listed, or how to make one."""
    name = module("from backchannel import App\nshop = App('shop')\n")
    assert f"it has {name}:shop" in failure(f"{name}:app")
    empty = module("")
    assert "app = App('shop')" in failure(f"{empty}:app")


def test_what_is_no_app_is_told_with_what_to_write(module: Callable[[str], str]) -> None:
    """The type that was found and the line that makes an app."""
    name = module("def app(): ...\n")
    message = failure(f"{name}:app")
    assert "function" in message
    assert "app = App('shop')" in message
    assert "from backchannel import App" in message


def test_a_module_that_fails_shows_its_own_lines(module: Callable[[str], str]) -> None:
    """The traceback begins in the module, without the machinery that imported it."""
    name = module("def broken():\n    return 1 / 0\nbroken()\n")
    message = failure(f"{name}:app")
    assert "ZeroDivisionError" in message
    assert f'{name}.py", line 2' in message
    assert "importlib" not in message
    assert "loading.py" not in message


def test_a_module_that_lacks_another_says_which(module: Callable[[str], str]) -> None:
    """It is not mistaken for a missing module of ours."""
    name = module("import surely_not_installed\n")
    message = failure(f"{name}:app")
    assert f"Module {name!r} cannot be imported" in message
    assert "No module named 'surely_not_installed'" in message


def test_a_wrong_declaration_speaks_for_itself(module: Callable[[str], str]) -> None:
    """`RegistrationError` tells its own cure and needs no traceback."""
    name = module("from backchannel import App\napp = App('No Name')\n")
    with pytest.raises(RegistrationError, match="App name"):
        load_app(f"{name}:app")


def test_a_module_that_needs_the_servers_packages_says_how_to_install_them(
    module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a base install the cure is the extra."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    name = module("import sqlalchemy\n")
    with pytest.raises(CommandFailed, match=r"pip install 'backchannel\[server\]'"):
        load_app(f"{name}:app")
