"""`backchannel keys` makes, lists and revokes API keys, beside a running server too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Folder, Served


def test_a_key_is_made_listed_and_revoked(folder: Folder) -> None:
    """In a fresh folder the database is made; the key stands on stdout alone, once, and nowhere else again."""
    created = folder.run("keys", "create", "billing [x]")
    assert created.returncode == 0
    key = created.stdout.strip()
    assert created.stdout == f"{key}\n"
    assert key.startswith("bk_")
    listed = folder.run("keys", "list")
    assert key not in listed.stdout
    (row,) = listed.stdout.splitlines()[1:]
    key_id = row.split()[0]
    assert "billing [x]" in row
    assert row.rstrip().endswith("-")
    assert key_id in created.stderr
    revoked = folder.run("keys", "revoke", key_id)
    assert (revoked.returncode, revoked.stdout) == (0, "")
    assert not folder.run("keys", "list").stdout.splitlines()[1].rstrip().endswith("-")
    again = folder.run("keys", "revoke", key_id)
    assert again.returncode == 1
    assert key_id in again.stderr


def test_json_is_for_programs(folder: Folder) -> None:
    """The same as data: `create` with the key, `list` without."""
    made = json.loads(folder.run("keys", "create", "bot", "--json").stdout)
    assert (made["name"], made["key"][:3]) == ("bot", "bk_")
    (listed,) = json.loads(folder.run("keys", "list", "--json").stdout)
    assert (listed["id"], listed["name"], listed["revoked"]) == (made["id"], "bot", None)
    assert "key" not in listed
    assert "hash" not in listed


def test_only_a_hash_is_at_rest(folder: Folder) -> None:
    """Whoever reads the database cannot act with its keys."""
    key = folder.run("keys", "create", "bot").stdout.strip()
    secret = key.split("_", 2)[2].encode()
    for file in (folder.path / ".data").iterdir():
        assert secret not in file.read_bytes()


def test_each_tenant_has_its_own_keys(folder: Folder) -> None:
    """A key of one is not another's."""
    folder.run("keys", "create", "bot", "--app", "other")
    assert json.loads(folder.run("keys", "list", "--json").stdout) == []
    assert len(json.loads(folder.run("keys", "list", "--json", "--app", "other").stdout)) == 1


def test_a_key_works_beside_a_running_server_until_it_is_revoked(served: Served, order: Callable[..., str]) -> None:
    """Both are known to the server at once, without a restart."""
    url = served.url.replace("ws:", "http:").replace("/ws", "/v1/order.place")
    made = json.loads(served.folder.run("keys", "create", "till", "--json").stdout)
    headers = {
        "authorization": f"Bearer {made['key']}",
        "backchannel-user": "alice",
        "content-type": "application/json",
    }

    def place() -> int:
        request = urllib.request.Request(url, order().encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert place() == 200
    assert served.folder.run("keys", "revoke", made["id"]).returncode == 0
    assert place() == 401
