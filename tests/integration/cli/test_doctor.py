"""`backchannel doctor` as a person runs it: before the server, beside it, and beside the wrong one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Folder, Served


def report_of(output: str) -> dict[str, list[tuple[str, str]]]:
    """Status and text of each finding, by subject."""
    report: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(output)["findings"]:
        report.setdefault(finding["subject"], []).append((finding["status"], finding["text"]))
    return report


def test_before_the_first_start(folder: Folder) -> None:
    """All is well, nothing is made, and it is told in words, without colours in a pipe."""
    done = folder.run("doctor", "--dev", "--port", "0", "shop:app")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "shop:app: 1 commands, 0 queries" in done.stdout
    assert re.search(r"^\d+ ok, \d+ warnings, 0 failed\.$", done.stdout, flags=re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert not (folder.path / ".data").exists()


def test_beside_the_server(served: Served) -> None:
    """It finds the server well, lets itself in with a token of its own, and reads the database that it has open."""
    done = served.folder.run("doctor", "--dev", "--port", served.url.split(":")[2].split("/")[0], "shop:app", "--json")
    assert done.returncode == 0, done.stdout
    report = report_of(done.stdout)
    port = [text for status, text in report["port"] if status == "ok"]
    assert len(port) == len(report["port"]) == 4
    assert "is served by Backchannel" in port[0]
    assert port[1:] == [
        "that server is ready",
        "that server accepts a token of these settings",
        "the server's clock agrees with this one",
    ]
    assert ("ok", f"process {served.running.process.pid} has it open") in report["database"]
    assert ("ok", "its integrity is checked") in report["database"]
    assert ("ok", "its tables are up to date") in report["database"]


def test_beside_a_server_with_another_secret(served: Served) -> None:
    """Whoever starts the second with other settings learns why clients are refused."""
    port = served.url.split(":")[2].split("/")[0]
    secret = "another secret, another secret, another one"
    done = served.folder.run("doctor", "--port", port, "shop:app", "--json", BACKCHANNEL_SECRET=secret)
    assert done.returncode == 1
    faults: list[dict[str, Any]] = [each for each in json.loads(done.stdout)["findings"] if each["status"] == "failed"]
    assert [fault["text"] for fault in faults] == [
        "that server refuses a token that is signed with the secret of these settings"
    ]
    assert faults[0]["cure"]


def test_in_a_base_install_it_says_what_to_install(folder: Folder) -> None:
    """Without the server's packages there are findings, not a traceback."""
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(('sqlalchemy', 'alembic', 'jwt', 'starlette', 'structlog')))"
    )
    (folder.path / "sitecustomize.py").write_text(blocked)
    done = folder.run("doctor", "--dev", "--port", "0", PYTHONPATH=str(folder.path))
    assert done.returncode == 1
    assert "pip install 'backchannel[server]'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
