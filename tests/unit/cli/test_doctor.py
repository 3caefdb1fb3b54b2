"""What the doctor looks at: each fault is found, has a cure, and what is well is not complained of.

One file, though long: a section for each subject of the one report, all judged by the same two helpers.
"""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backchannel import App
from backchannel.cli.checks import Finding, failed, fine, refused
from backchannel.cli.checks.clock import Watch, check_clock, check_server_clock
from backchannel.cli.checks.database import check_database
from backchannel.cli.checks.limits import check_limits
from backchannel.cli.checks.port import check_port
from backchannel.cli.checks.redis import check_redis
from backchannel.cli.checks.settings import check_settings
from backchannel.cli.checks.versions import check_versions, satisfies
from backchannel.cli.doctor import examine
from backchannel.cli.root import app as command_line
from backchannel.demo import app as demo
from backchannel.settings import ConfigurationError, Settings
from backchannel.store.sqlite import migrate_sqlite
from backchannel.testing.services import RedisServer

SECRET = "0123456789abcdef0123456789abcdef"


def bad(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Status and text of what is not well; each has a cure."""
    found = [finding for finding in findings if finding.status != "ok"]
    assert all(finding.cure for finding in found)
    return [(finding.status, finding.text) for finding in found]


def one_bad(findings: Iterable[Finding], status: str, part: str) -> None:
    """There is exactly one complaint, of this kind, that has these words."""
    found = bad(findings)
    assert [each for each, _ in found] == [status], found
    assert part in found[0][1]


@pytest.mark.parametrize(
    ("told", "text", "cure"),
    [
        ("--port is 'x': write a number.", "--port is 'x'", "Write a number."),
        ("It has 3 bytes; use 32.", "It has 3 bytes", "Use 32."),
        ("There is none at ws://a:1/b. Start it.", "There is none at ws://a:1/b", "Start it."),
    ],
)
def test_an_error_of_ours_is_split_into_fault_and_cure(told: str, text: str, cure: str) -> None:
    """Its sentence has both."""
    assert refused(told) == failed(text, cure)


# Settings


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings(**{"secret": SECRET, "data": str(tmp_path), **values})


def test_good_settings(tmp_path: Path) -> None:
    """Production with a secret, and development on this machine."""
    assert bad(check_settings(settings(tmp_path, origins=("https://example.org",)), [])) == []
    assert bad(check_settings(Settings(dev=True, data=str(tmp_path)), [])) == []
    assert list(tmp_path.iterdir()) == [], "the doctor makes nothing"


@pytest.mark.parametrize(
    ("values", "status", "part"),
    [
        ({"secret": ""}, "failed", "There is no signing secret"),
        ({"secret": "short"}, "failed", "has 5 bytes"),
        ({"secret": "ab" * 20}, "failed", "can be guessed"),
        ({"secret": "-----BEGIN PUBLIC KEY-----" + SECRET}, "failed", "is a key file"),
        ({"secret_previous": SECRET}, "warning", "the same"),
        ({"secret_previous": "short"}, "failed", "previous signing secret"),
        ({"dev": True, "host": "0.0.0.0"}, "failed", "may act as any ready-made user"),
        ({"origins": ("*",)}, "warning", "pages of any origin"),
        (
            {"origins": ("http://example.org", "http://localhost:3000")},
            "warning",
            "http://example.org is not encrypted",
        ),
        ({"trusted_proxies": ("10.0.0.0/8", "::/0")}, "failed", "may claim any address"),
        ({"jwks": ("https://id.example.org=/nowhere/keys.json",)}, "failed", "cannot be read"),
        ({"jwks": ("https://id.example.org=http://id.example.org/keys",)}, "failed", "http://id.example.org/keys"),
    ],
)
def test_dangerous_settings(values: dict[str, Any], status: str, part: str, tmp_path: Path) -> None:
    """Each is told once, with its cure."""
    one_bad(check_settings(settings(tmp_path, **values), []), status, part)


def test_names_that_are_no_settings(tmp_path: Path) -> None:
    """What the loading warned of, which has no effect."""
    one_bad(check_settings(settings(tmp_path), ["BACKCHANNEL_PROT is set, but …"]), "warning", "BACKCHANNEL_PROT")


def test_keys_in_a_file_that_are_none(tmp_path: Path) -> None:
    """An issuer's key set must be one."""
    file = tmp_path / "keys.json"
    file.write_text("{}")
    one_bad(check_settings(settings(tmp_path, jwks=(f"https://id=/{file}",)), []), "failed", "cannot be used")


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    """A configured file, or the development secret."""
    for values in ({"secret_file": str(tmp_path / "secret")}, {"secret": "", "dev": True}):
        file = tmp_path / "secret"
        file.write_text(SECRET)
        file.chmod(0o644)
        one_bad(check_settings(settings(tmp_path, **values), []), "failed", "open to other users")
        file.chmod(0o600)
        assert bad(check_settings(settings(tmp_path, **values), [])) == []


# Versions


@pytest.mark.parametrize(
    ("version", "bounds", "is_within"),
    [
        ("1.2.3", "<2,>=1.2", True),
        ("1.1.9", "<2,>=1.2", False),
        ("2.0", "<2,>=1.2", False),
        ("2.0.0b1", "<2", False),
        ("0.22", "<0.23,>=0.22.0", True),
        ("0.10.0", ">=0.9", True),
        ("1.4.5", "~=1.4.2", True),
        ("1.5", "~=1.4.2", False),
        ("3.13.1", "<3.14,>=3.11", True),
        ("3.10.9", "<3.14,>=3.11", False),
        ("1.2", "!=1.2", False),
        ("1.2.5", "==1.2.*", True),
        ("1.3", "!=1.2.*", True),
        ("1.3", "", True),
    ],
)
def test_bounds_of_versions(version: str, bounds: str, is_within: bool) -> None:
    """By their numbers (PEP 440)."""
    assert satisfies(version, bounds) is is_within


def test_this_installation_is_as_it_should_be() -> None:
    """And a distribution that is not there says how to get it."""
    assert bad(check_versions()) == []
    one_bad(check_versions("no-such-thing"), "failed", "no-such-thing is not installed")


def test_packages_that_are_missing_or_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its name, for this system and this extra only."""
    declared = [
        "msgspec<0.2,>=0.1",
        "no-such-package[x]>=1; extra == 'server'",
        "other-package; extra == 'dev'",
        'windows-package; platform_system != "Windows" and extra == "other"',
        "typer>=0",
    ]
    monkeypatch.setattr("backchannel.cli.checks.versions.requires", lambda _name: declared)
    found = bad(check_versions())
    assert [status for status, _ in found] == ["failed", "failed"]
    assert "msgspec" in found[0][1]
    assert "<0.2,>=0.1" in found[0][1]
    assert found[1][1] == "no-such-package is not installed"


# The app


def test_an_app_that_is_well_and_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there, broken, no app, or with a request that nobody handles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "doctored_broken.py").write_text("1 / 0\n")
    (tmp_path / "doctored_empty.py").write_text(
        "from backchannel import App, Command, Struct\n"
        "app = App('x')\n"
        "@app.command('a.b')\n"
        "class Ask(Command[int]):\n"
        "    pass\n"
    )

    def found(target: str) -> list[tuple[str, str]]:
        return bad(examine(target, lambda: (settings(tmp_path, port=0), []))["app"])

    assert found("backchannel.demo:app") == []
    for target, part in (
        ("doctored_nowhere:app", "no module 'doctored_nowhere'"),
        ("doctored_broken:app", "ZeroDivisionError"),
        ("doctored_empty:nothing", "has no 'nothing'"),
        ("doctored_empty:app", "No handler for a.b"),
        ("backchannel", "names no app"),
    ):
        ((status, text),) = found(target)
        assert (status, part in text) == ("failed", True), text


# The database


@pytest.fixture
def database(tmp_path: Path) -> Settings:
    """Settings of a database that is up to date."""
    here = settings(tmp_path)
    migrate_sqlite(here.database, demo.migrations)
    return here


def test_a_database_that_is_well_or_not_there_yet(database: Settings, tmp_path: Path) -> None:
    """Nothing is changed by looking."""
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert bad(check_database(database, demo.migrations)) == []
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert bad(check_database(settings(tmp_path / "new" / "folder"), demo.migrations)) == []
    assert not (tmp_path / "new").exists()


def change(settings: Settings, *statements: str) -> None:
    connection = sqlite3.connect(settings.database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def damage(settings: Settings) -> None:
    with settings.database.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize(
    ("spoil", "status", "part"),
    [
        (lambda here: here.database.write_text("no database" * 500), "failed", "cannot be read"),
        (damage, "failed", "damaged"),
        (lambda here: change(here, "DROP TABLE alembic_version_chat"), "warning", "tables of chat"),
        (lambda here: change(here, "UPDATE alembic_version_chat SET version_num = '9999'"), "warning", "can use them"),
        (
            lambda here: change(
                here,
                "UPDATE alembic_version_chat SET version_num = '9999'",
                "INSERT INTO revision_floors VALUES ('chat', '9999')",
            ),
            "failed",
            "took away",
        ),
        (lambda here: change(here, "PRAGMA journal_mode = delete"), "warning", "mode delete, not WAL"),
    ],
)
def test_a_database_that_is_not_well(
    spoil: Callable[[Settings], object], status: str, part: str, database: Settings
) -> None:
    """Each fault has its words, and its cure."""
    spoil(database)
    one_bad(check_database(database, demo.migrations), status, part)


def test_tables_of_an_app_without_revisions(database: Settings) -> None:
    """They are missing until the server makes them."""
    from sqlalchemy import Column, MetaData, String, Table

    own = App("shop")
    tables = MetaData()
    Table("shop_orders", tables, Column("app", String, primary_key=True))
    own.tables(tables)
    one_bad(check_database(database, own.migrations), "warning", "tables of shop")


def test_who_has_the_database_open(database: Settings, tmp_path: Path) -> None:
    """The process is named; its lock is not disturbed."""
    lock = tmp_path / "backchannel.db.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711\n")
        file.flush()
        assert fine("process 4711 has it open") in list(check_database(database, demo.migrations))
    assert fine("no server has it open") in list(check_database(database, demo.migrations))


def test_a_check_of_integrity_that_takes_too_long(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large database is not read to its end: how to do it is told."""
    monkeypatch.setattr("backchannel.cli.checks.database._PATIENCE", -1.0)
    monkeypatch.setattr("backchannel.cli.checks.database._INSTRUCTIONS", 1)
    one_bad(check_database(database, demo.migrations), "warning", "was not checked within")


@pytest.mark.parametrize(("free", "status"), [(5 * 2**20, "failed"), (500 * 2**20, "warning")])
def test_a_disk_with_little_room(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk means that no command is accepted."""
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    one_bad(check_database(settings(tmp_path), ()), status, "GiB are free")


def test_a_folder_that_is_none_or_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place; a network's file system, where SQLite's locks mean nothing."""
    (tmp_path / "file").write_text("")
    found = bad(check_database(settings(tmp_path / "file" / "data"), ()))
    assert found[0] == ("failed", f"{tmp_path / 'file'} is no folder")
    monkeypatch.setattr("backchannel.cli.checks.database._file_system", lambda _path: "nfs4")
    one_bad(check_database(settings(tmp_path), ()), "failed", "nfs4")


def test_what_this_user_may_not(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a folder of somebody else's."""
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).endswith(".db"))
    one_bad(check_database(database, demo.migrations), "failed", "cannot be read and written by this user")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != database.data_folder)
    one_bad(check_database(database, demo.migrations), "failed", "cannot be written by this user")


# The port


@pytest.fixture
def answering() -> Iterator[Callable[[dict[str, Any]], int]]:
    """Starts something that answers over HTTP, path by path; returns its port."""
    servers: list[http.server.HTTPServer] = []

    def start(answers: dict[str, Any]) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path, (404, "nothing here"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None: ...

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_port_that_is_free(tmp_path: Path) -> None:
    """Also where the system chooses it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert list(check_port(settings(tmp_path, port=port))) == [fine(f"127.0.0.1:{port} is free")]
    assert bad(check_port(settings(tmp_path, port=0))) == []


def test_a_port_that_somebody_else_has(tmp_path: Path, answering: Callable[[dict[str, Any]], int]) -> None:
    """The process is named where that is allowed."""
    for answers in ({}, {"/version": (200, {"name": "other"})}, {"/version": (200, ["backchannel"])}):
        port = answering(answers)
        one_bad(check_port(settings(tmp_path, port=port)), "failed", f"127.0.0.1:{port} is in use by something else")


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    """Of another machine (RFC 5737), or no address at all."""
    one_bad(check_port(settings(tmp_path, host="192.0.2.1")), "failed", "cannot be listened on")
    one_bad(check_port(settings(tmp_path, host="no-such-host.invalid")), "failed", "cannot be listened on")


def test_a_server_of_another_version_that_is_not_ready(
    tmp_path: Path, answering: Callable[[dict[str, Any]], int]
) -> None:
    """Both are told, with the server's own reasons."""
    port = answering(
        {
            "/version": (200, {"name": "backchannel", "version": "0.0.1"}),
            "/readyz": (503, {"status": "unready", "reasons": {"gateway": "draining"}}),
        }
    )
    found = bad(check_port(settings(tmp_path, port=port, secret="")))
    assert [status for status, _ in found] == ["warning", "failed"]
    assert "0.0.1" in found[0][1]
    assert "gateway: draining" in found[1][1]


# Clock and limits


def test_a_clock_that_is_well_and_ones_that_are_not() -> None:
    """Steady and of this age; a jump; years ago."""
    now = 1_800_000_000.0
    assert bad(check_clock(now, 0.001)) == []
    one_bad(check_clock(now, -0.5), "warning", "jumped by -500 ms")
    one_bad(check_clock(0.0, 0.0), "failed", "1970")
    assert abs(Watch().drift()) < 0.05


@pytest.mark.parametrize(("ahead", "status"), [(0.1, "ok"), (-2.0, "warning"), (30.0, "failed")])
def test_a_servers_clock(ahead: float, status: str) -> None:
    """A token's times may be off by 5 s."""
    assert check_server_clock(ahead).status == status


def test_the_systems_limits() -> None:
    """Open files against the connections that the settings allow; the queue of connections."""
    few = Settings(connections_per_user=10, connections_per_address=500)
    assert bad(check_limits(few, open_files=1024, somaxconn=4096)) == []
    one_bad(check_limits(few, open_files=256, somaxconn=4096), "warning", "256 files may be open")
    one_bad(check_limits(few, open_files=130, somaxconn=4096), "failed", "one user alone")
    one_bad(check_limits(few, open_files=1024, somaxconn=128), "warning", "128 connections may wait")
    assert list(check_limits(few))


# The whole


def test_the_report_has_every_subject(tmp_path: Path) -> None:
    """In the order in which one thing needs the other."""
    report = examine("backchannel.demo:app", lambda: (settings(tmp_path, port=0), []))
    assert list(report) == ["versions", "settings", "app", "database", "redis", "port", "limits", "clock"]
    assert all(report.values())


def test_wrong_settings_are_findings(tmp_path: Path) -> None:
    """What can be checked without them still is."""

    def wrong() -> tuple[Settings, list[str]]:
        raise ConfigurationError("--port is 'x': write a whole number.\nBACKCHANNEL_DEV is 'maybe': write true.")

    report = examine("backchannel.demo:app", wrong)
    assert list(report) == ["versions", "settings", "app", "clock"]
    assert bad(report["settings"]) == [("failed", "--port is 'x'"), ("failed", "BACKCHANNEL_DEV is 'maybe'")]


def test_a_check_that_fails_itself_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a package that is missing nor a bug of ours ends the doctor."""

    def missing(*_: object) -> Iterator[Finding]:
        yield fine("before")
        raise ModuleNotFoundError("No module named 'alembic'", name="alembic")

    def broken(*_: object) -> Iterator[Finding]:
        yield fine(str(1 // 0))

    monkeypatch.setattr("backchannel.cli.doctor.check_database", missing)
    monkeypatch.setattr("backchannel.cli.doctor.check_limits", broken)
    report = examine("backchannel.demo:app", lambda: (settings(tmp_path, port=0), []))
    assert report["database"] == [
        fine("before"),
        failed("alembic is not installed", "pip install 'backchannel[server]'"),
    ]
    one_bad(report["limits"], "failed", "ZeroDivisionError")


def test_the_exit_code_and_the_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 where something failed; a warning fails nothing; no colours under NO_COLOR."""
    monkeypatch.chdir(tmp_path)
    words = ["doctor", "--port", "0", "--data", str(tmp_path)]
    well = CliRunner().invoke(command_line, [*words, "--dev", "--origins", "*"], env={"NO_COLOR": "1"})
    assert (well.exit_code, "\x1b" in well.output) == (0, False)
    assert "  warning  pages of any origin may connect" in well.output
    assert "1 warnings, 0 failed." in well.output
    ill = CliRunner().invoke(command_line, [*words, "--json"], env={"BACKCHANNEL_SECRET": ""})
    assert ill.exit_code == 1
    report = json.loads(ill.output)
    assert report["ok"] is False
    (fault,) = [finding for finding in report["findings"] if finding["status"] == "failed"]
    assert fault["subject"] == "settings"
    assert fault["text"] == "There is no signing secret"
    assert fault["cure"].startswith("Set BACKCHANNEL_SECRET")


def test_without_redis_there_is_nothing_to_look_at() -> None:
    """One process needs none."""
    assert bad(check_redis(Settings())) == []


@pytest.mark.parametrize(
    ("config", "status", "text"),
    [
        ({"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}, "failed", "maxmemory-policy allkeys-lru"),
        ({"maxmemory-policy": "volatile-lru"}, "warning", "maxmemory-policy volatile-lru"),
        ({"client-output-buffer-limit": "pubsub 1mb 1mb 1"}, "warning", "behind by 1 MiB"),
        ({"client-output-buffer-limit": "pubsub 0 0 0"}, "warning", "no output buffer limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_redis_is_set_up(config: dict[str, str], status: str, text: str) -> None:
    """What makes gateways deaf, or throws presence away, is found before it happens."""
    with RedisServer(config=config) as redis:
        one_bad(check_redis(Settings(redis=redis.url, postgres="postgresql://h/d")), status, text)


def test_a_redis_that_is_well(redis_server: RedisServer) -> None:
    """Version, answer time, buffers and memory are told; without PostgreSQL it is of no use."""
    settings = Settings(redis=redis_server.url, postgres="postgresql://h/d")
    found = list(check_redis(settings))
    assert bad(found) == []
    assert len(found) == 4
    assert "answers at redis://127.0.0.1" in found[0].text
    one_bad(check_redis(Settings(redis=redis_server.url)), "warning", "no PostgreSQL")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://bob:{secret}@127.0.0.1:{port}", "refuses this user"),
        ("redis://:{secret}@127.0.0.1:1", "cannot be reached"),
        ("redis://:{secret}/x@127.0.0.1:{port}", "cannot be read"),
        ("redis+cluster://127.0.0.1:{port}", "no node of a Redis Cluster"),
        ("redis+sentinel://:{secret}@127.0.0.1:{port}/m", "cannot be reached"),
    ],
)
def test_a_redis_that_cannot_be_used(redis_server: RedisServer, url: str, text: str) -> None:
    """Each way has its words, and none of them the password."""
    settings = Settings(redis=url.format(secret=SECRET, port=redis_server.port), postgres="postgresql://h/d")
    found = list(check_redis(settings))
    one_bad(found, "failed", text)
    assert SECRET not in str(found)


def test_a_replica_takes_no_writes(redis_server: RedisServer) -> None:
    """Whoever names one is told to name the master."""
    with RedisServer(config={"replicaof": f"127.0.0.1 {redis_server.port}"}) as replica:
        one_bad(check_redis(Settings(redis=replica.url, postgres="postgresql://h/d")), "failed", "replica")


def test_a_user_of_redis_with_few_rights(own_redis: RedisServer) -> None:
    """What may not be looked at is said, and nothing fails for it."""
    own_redis.command("ACL", "SETUSER", "bob", "on", f">{SECRET}", "~*", "&*", "+ping", "+select")
    found = list(
        check_redis(Settings(redis=f"redis://bob:{SECRET}@127.0.0.1:{own_redis.port}", postgres="postgresql://h/d"))
    )
    assert [status for status, _ in bad(found)] == ["warning"]
    assert "may not read its configuration" in found[-1].text
