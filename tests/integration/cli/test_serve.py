"""`backchannel serve` starts an app, says where it is, and ends well."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Folder, Served

SECRET = "a secret of an operator, long enough"


def test_it_says_where_it_is_and_keeps_the_secret(folder: Folder) -> None:
    """Pages, WebSocket, data folder and that a secret was made, which itself stands nowhere; SIGTERM ends it with 0."""
    for said in ("made for development", "the development secret"):
        with folder.serve("--dev", "--port", "0", "shop:app") as served:
            rest = [*served.lines, *served.running.until("Secret")]
            text = "\n".join(rest)
            (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", text)
            assert served.url == f"ws://127.0.0.1:{port}/ws"
            assert "shop:app" in text
            assert ".data" in text
            assert said in rest[-1]
            assert served.running.end(signal.SIGTERM) == 0
            assert served.running.process.stdout is not None
            text += served.running.process.stdout.read() + served.running.stderr
            assert (folder.path / ".data" / "secret").read_text() not in text


def test_flags_variables_and_file_reach_the_server(folder: Folder) -> None:
    """A variable's secret, a file's limit, a flag's port, and warnings for what is unknown."""
    (folder.path / "backchannel.toml").write_text("burst = 7\nbrust = 8\n")
    variables = {"BACKCHANNEL_SECRET": SECRET, "BACKCHANNEL_PROT": "1"}
    with folder.serve("--port", "0", "--guests", "shop:app", **variables) as served:
        assert "Warning: backchannel.toml names 'brust'" in served.running.stderr
        assert "Warning: BACKCHANNEL_PROT is set" in served.running.stderr
        assert not (folder.path / ".data" / "secret").exists()
        done = served.ask("call", "order.place", '{"shop": "x", "item": "tea", "quantity": 1}')
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["shop:app"], {}, "no signing secret"),
        (["shop:app"], {"BACKCHANNEL_SECRET": "short"}, "at least 32"),
        (["--dev", "--port", "eighty", "shop:app"], {}, "--port is 'eighty'"),
        (["--dev", "gone:app"], {}, "no module 'gone'"),
        (["--dev", "shop:gone"], {}, "it has shop:app"),
        (["--dev", "shop"], {}, "shop:app"),
        (["--dev", "--config", "gone.toml", "shop:app"], {}, "gone.toml"),
    ],
)
def test_what_is_set_up_wrongly_is_told_with_exit_code_2(
    folder: Folder, words: list[str], variables: dict[str, str], said: str
) -> None:
    """One line with the cure, no traceback, and nothing is served."""
    done = folder.run("serve", *words, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(served: Served) -> None:
    """With the address, and which flag to use."""
    (port,) = re.findall(r":(\d+)/", served.url)
    done = served.folder.run("serve", "--dev", "--data", "other", "--port", port, "shop:app")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


def test_one_data_folder_has_one_server(served: Served) -> None:
    """A second one names the process that has it."""
    done = served.folder.run("serve", "--dev", "--port", "0", "shop:app")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {served.running.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_reload_serves_the_source_as_it_is_now(folder: Folder) -> None:
    """After a change of the app the new code answers; SIGTERM to the supervisor ends both."""
    with folder.start("serve", "--dev", "--reload", "--port", "0", "shop:app") as running:
        running.until("WebSocket")
        source = folder.path / "shop.py"
        draft = folder.path / "draft"
        draft.write_text(source.read_text().replace("sold + order.quantity > 100", "True"))
        os.utime(draft, (1, 1))
        draft.rename(source)
        (url,) = re.findall(r"ws://\S+", running.until("WebSocket")[-1])
        data = '{"shop": "x", "item": "tea", "quantity": 1}'
        done = folder.run("call", "order.place", data, "--user", "alice", "--url", url)
        assert "sold_out" in done.stderr
        assert running.end(signal.SIGTERM) == 0
        page = url.replace("ws:", "http:").replace("/ws", "/healthz")
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(page, timeout=5)


def test_migrate_makes_and_updates_the_database(folder: Folder) -> None:
    """The revisions that are applied are listed once; repeating it does nothing; a new epoch is told."""
    first = folder.run("migrate", "shop:app")
    assert first.returncode == 0
    assert re.search(r"^backchannel: \w+ ", first.stdout)
    assert "shop: made table shop_orders" in first.stdout
    assert (folder.path / ".data" / "backchannel.db").exists()
    again = folder.run("migrate", "shop:app", "--new-epoch")
    assert again.stdout.splitlines()[0].endswith("nothing was to be done.")
    assert "New epochs" in again.stdout


def test_migrate_leaves_a_running_servers_database_alone(served: Served) -> None:
    """It says which process has it open, with exit code 1."""
    done = served.folder.run("migrate", "shop:app", "--new-epoch")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"process {served.running.process.pid}" in done.stderr


def test_a_new_epoch_makes_old_positions_void(folder: Folder) -> None:
    """After a restore a client that comes back is told a gap, not that nothing was missed."""
    words = ["--dev", "--port", "0", "shop:app"]
    data = '{"shop": "x", "item": "tea", "quantity": 1}'
    listen = ["listen", "orders:x", "--json", "--user", "alice", "--url"]
    with folder.serve(*words) as served, folder.start(*listen, served.url) as tail:
        tail.until('"subscribed"')
        assert served.ask("call", "order.place", data, "--user", "alice").returncode == 0
        event = json.loads(tail.until('"event"')[-1])
        assert served.running.end(signal.SIGTERM) == 0
    assert folder.run("migrate", "shop:app", "--new-epoch").returncode == 0
    with folder.serve(*words) as served:
        since = f"{event['epoch']}:{event['offset']}"
        with folder.start(*listen, served.url, "--since", since) as tail:
            gap = json.loads(tail.until('"gap"')[-1])
            assert gap["reason"] == "reset"
            assert gap["epoch"] != event["epoch"]


def test_schema_writes_the_contract(folder: Folder) -> None:
    """JSON by default, Markdown for people, to stdout or a file."""
    document = json.loads(folder.run("schema", "json", "shop:app").stdout)
    assert list(document["commands"]) == ["order.place"]
    assert folder.run("schema", "markdown", "shop:app").stdout.startswith("# shop\n")
    done = folder.run("schema", "json", "shop:app", "--output", "shop.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((folder.path / "shop.json").read_text()) == document
    assert folder.run("schema", "json", "shop:app", "--output", "gone/shop.json").returncode == 1


def test_version_is_one_line(folder: Folder) -> None:
    """What a bug report begins with."""
    assert re.fullmatch(r"backchannel \S+ \(protocol 1, Python 3\.\S+\)\n", folder.run("version").stdout)
