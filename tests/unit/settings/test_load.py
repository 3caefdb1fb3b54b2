"""Settings come from flags, variables, a file and defaults, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from backchannel.settings import ConfigurationError, Settings, load

SECRET = "s" * 40


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def toml(text: str, name: str = "backchannel.toml") -> Path:
    """A settings file in the current folder."""
    file = Path(name)
    file.write_text(text)
    return file


def test_without_anything_the_defaults_hold() -> None:
    """Nothing said means the defaults, and no warning."""
    assert load(environ={}) == (Settings(), [])


def test_a_flag_wins_over_its_variable_and_that_over_the_file() -> None:
    """Each source beats those below it, setting by setting; an unsaid flag says nothing."""
    toml('host = "file"\nport = 1\nburst = 7')
    environ = {"BACKCHANNEL_HOST": "environment", "BACKCHANNEL_PORT": "2"}
    settings, warnings = load({"port": "3", "host": None}, environ=environ)
    assert (settings.port, settings.host, settings.burst, warnings) == (3, "environment", 7, [])


def test_an_empty_variable_counts_as_unset() -> None:
    """Container files pass variables on that nobody has set."""
    assert load(environ={"BACKCHANNEL_PORT": ""})[0].port == 8000


def test_the_file_can_be_named_by_argument_or_variable() -> None:
    """A named file is read in place of ./backchannel.toml, and the argument beats the variable."""
    toml("port = 1")
    other, third = toml("port = 2", "other.toml"), toml("port = 3", "third.toml")
    environ = {"BACKCHANNEL_CONFIG": str(other)}
    assert load(environ=environ)[0].port == 2
    assert load(environ=environ, file=third)[0].port == 3


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dev", "true", True),
        ("guests", "0", False),
        ("ping", "2.5", 2.5),
        ("frame", "2048", 2048),
        ("log_level", "debug", "debug"),
        ("origins", "https://a.example, https://b.example:8443", ("https://a.example", "https://b.example:8443")),
        ("origins", "*", ("*",)),
    ],
)
def test_text_from_the_environment_becomes_the_settings_type(name: str, text: str, value: object) -> None:
    """Variables are text; numbers, switches and lists are read from it."""
    assert getattr(load(environ={f"BACKCHANNEL_{name.upper()}": text})[0], name) == value


def test_a_file_may_give_a_list() -> None:
    """In TOML, origins are an array."""
    toml('origins = ["https://a.example"]')
    assert load(environ={})[0].origins == ("https://a.example",)


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("port", "65536", "a whole number from 0 to 65535"),
        ("port", "http", "a whole number from 0 to 65535"),
        ("dev", "perhaps", "true or false"),
        ("ping", "0", "a number above 0, up to 86400"),
        ("ping", "inf", "a number above 0, up to 86400"),
        ("ping", "nan", "a number above 0, up to 86400"),
        ("burst", "0", "a whole number from 1 to 10000000"),
        ("log_level", "loud", "debug, info, warning or error"),
        ("app", "My Shop", "1 to 64 lower-case letters"),
        ("app", "shop\n", "1 to 64 lower-case letters"),
        ("origins", "https://a.example/", "no path"),
        ("origins", "a.example", "no path"),
        ("origins", "https://A.example", "lower case"),
        ("token_size", "70000", "a whole number from 256 to 65536"),
        ("redis", "127.0.0.1:6379", "a URL like redis://"),
        ("redis", "http://127.0.0.1", "a URL like redis://"),
        ("redis_prefix", "a:b", "1 to 64 letters"),
        ("postgres", "mysql://h/d", "a URL like postgresql://"),
        ("postgres_pool", "2", "a whole number from 3 to 1000"),
        ("routing", "best", "lane or random"),
        ("in_flight", "0", "a whole number from 1 to"),
        ("health_port", "65536", "a whole number from 0 to 65535"),
    ],
)
def test_a_wrong_value_names_the_setting_and_what_to_write(name: str, value: str, cure: str) -> None:
    """Whoever reads the message knows which line to change, and to what."""
    variable = f"BACKCHANNEL_{name.upper()}"
    with pytest.raises(ConfigurationError, match=variable) as raised:
        load(environ={variable: value})
    assert cure in str(raised.value)


def test_a_wrong_value_names_its_source() -> None:
    """A flag is told as a flag, a line of the file with the file's name."""
    with pytest.raises(ConfigurationError, match=r"^--connections-per-user is 'x'"):
        load({"connections_per_user": "x"}, environ={})
    file = toml("port = []", "my.toml")
    with pytest.raises(ConfigurationError, match=r"^port in my\.toml is \[\]"):
        load(environ={}, file=file)


def test_all_wrong_values_are_told_at_once() -> None:
    """Nobody starts five times to find five mistakes."""
    with pytest.raises(ConfigurationError) as raised:
        load({"port": "x", "ping": "y"}, environ={"BACKCHANNEL_BURST": "z"})
    assert len(str(raised.value).splitlines()) == 3


def test_unknown_names_warn_and_suggest() -> None:
    """A typing error does not pass for a setting, in a file or in the environment."""
    toml("prot = 1\n[server]\nhost = 'x'")
    settings, warnings = load(environ={"BACKCHANNEL_GEUSTS": "1", "OTHER": "1"})
    assert settings == Settings()
    assert len(warnings) == 3
    assert "'prot'" in warnings[0]
    assert "perhaps port" in warnings[0]
    assert "'server'" in warnings[1]
    assert "BACKCHANNEL_GEUSTS" in warnings[2]
    assert "perhaps BACKCHANNEL_GUESTS" in warnings[2]


def test_variables_of_clients_do_not_warn() -> None:
    """What `call` and `listen` read shares the prefix and is no mistake."""
    environ = {"BACKCHANNEL_TOKEN": "t", "BACKCHANNEL_URL": "ws://x/ws"}
    assert load(environ=environ)[1] == []


def test_development_on_a_public_address_warns() -> None:
    """`--dev` hands out users to whoever reaches it, so it belongs on loopback."""
    assert load({"dev": True}, environ={})[1] == []
    assert load({"dev": True, "host": "::1"}, environ={})[1] == []
    assert load({"dev": True, "host": "localhost"}, environ={})[1] == []
    (warning,) = load({"dev": True, "host": "0.0.0.0"}, environ={})[1]
    assert "0.0.0.0" in warning


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe"])
def test_a_broken_file_is_an_error_that_names_it(content: bytes) -> None:
    """A file that cannot be understood is not passed over."""
    Path("backchannel.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"backchannel\.toml"):
        load(environ={})


def test_a_named_file_must_exist() -> None:
    """Whoever names a file wants it read."""
    with pytest.raises(ConfigurationError, match=r"gone\.toml"):
        load(environ={}, file=Path("gone.toml"))


def test_the_secret_may_be_in_a_file() -> None:
    """The file's last newline is the editor's and does not count."""
    Path("key").write_text(f"{SECRET}\n")
    assert load({"secret_file": "key"}, environ={})[0].secret == SECRET


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_secret_file_without_a_secret_is_an_error(content: bytes | None) -> None:
    """A server never starts with less than it was told to use."""
    if content is not None:
        Path("key").write_bytes(content)
    with pytest.raises(ConfigurationError, match="--secret-file: key"):
        load({"secret_file": "key"}, environ={})


def test_of_secret_and_secret_file_the_higher_source_wins() -> None:
    """A flag beats a variable here too, and a variable the file."""
    Path("key").write_text("from the file")
    assert load({"secret_file": "key"}, environ={"BACKCHANNEL_SECRET": SECRET})[0].secret == "from the file"
    toml("secret_file = 'key'")
    assert load(environ={"BACKCHANNEL_SECRET": SECRET})[0].secret == SECRET


def test_secret_and_secret_file_from_one_source_contradict() -> None:
    """There is no guessing which of two secrets was meant."""
    Path("key").write_text("from the file")
    with pytest.raises(ConfigurationError, match="choose one"):
        load(environ={"BACKCHANNEL_SECRET": SECRET, "BACKCHANNEL_SECRET_FILE": "key"})


def test_a_wrong_secret_is_not_repeated_in_the_error() -> None:
    """Errors end up in logs."""
    toml('secret = ["very", "private"]')
    with pytest.raises(ConfigurationError, match=r"^secret in") as raised:
        load(environ={})
    assert "private" not in str(raised.value)


def test_the_previous_secret_may_be_in_a_file_too() -> None:
    """A rotation moves a file's name from one setting to the other."""
    Path("old").write_text(f"{SECRET}\n")
    loaded = load({"secret_previous_file": "old"}, environ={"BACKCHANNEL_SECRET": "n" * 32})[0]
    assert (loaded.secret, loaded.secret_previous) == ("n" * 32, SECRET)
    with pytest.raises(ConfigurationError, match="--secret-previous-file: gone"):
        load({"secret_previous_file": "gone"}, environ={})


def test_key_sets_are_written_as_issuer_and_source() -> None:
    """In a variable separated by commas; what has no source, or no issuer, is told."""
    one, two = "https://a.example=https://a.example/k?x=1", "b=keys.json"
    assert load(environ={"BACKCHANNEL_JWKS": f"{one}, {two}"})[0].jwks == (one, two)
    for text in ("https://a.example/k", "=keys.json", "a="):
        with pytest.raises(ConfigurationError, match="https://id"):
            load(environ={"BACKCHANNEL_JWKS": text})


@pytest.mark.parametrize(
    ("name", "url"), [("redis", f"redis://:{SECRET}@h:6379"), ("postgres", f"postgresql://u:{SECRET}@h/d")]
)
def test_a_url_with_a_password_may_be_in_a_file(name: str, url: str) -> None:
    """It is checked like one that was given directly, and neither way repeated when it is wrong."""
    Path("url").write_text(f"{url}\n")
    assert getattr(load({f"{name}_file": "url"}, environ={})[0], name) == url
    Path("url").write_text(f"ftp://u:{SECRET}@h")
    variable = f"BACKCHANNEL_{name.upper()}"
    for flags, environ in (({f"{name}_file": "url"}, {}), ({}, {variable: f"ftp://u:{SECRET}@h"})):
        with pytest.raises(ConfigurationError, match="a URL like") as raised:
            load(flags, environ=environ)
        assert SECRET not in str(raised.value)
