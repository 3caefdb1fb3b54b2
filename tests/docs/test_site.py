"""The documentation's site: it builds, every link leads somewhere, every page has a place."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "scripts" / "build_site.py"


def build_site() -> Any:
    """The script as a module; it lies in no package."""
    spec = importlib.util.spec_from_file_location("build_site", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = build_site()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `./scripts/docs` builds it; warnings are errors."""
    output = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, str(BUILD), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def test_every_page_has_a_place(site: Path) -> None:
    """All pages are built, and the menu leads to each; MkDocs says so if a link or an anchor leads nowhere."""
    menu = (site / "index.html").read_text()
    for place in script.places().values():
        page = "" if place == "index.md" else place.removesuffix(".md") + "/"
        assert (site / page / "index.html").is_file(), place
        assert re.search(rf'href="{re.escape(page or ".")}"', menu), place


def test_what_pages_link_to_comes_along(site: Path) -> None:
    """Examples, schemas and the licence are no pages: the site has them as files, so that it stands by itself."""
    for name in ("LICENSE", "examples/shop.py", "protocol/schema/client.json"):
        assert (site / "files" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """A page asks no other server for fonts, scripts or styles: whoever reads is nobody's business."""
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*stylesheet[^>]*https?://""")
    assert [page for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def test_a_dead_link_is_an_error(tmp_path: Path) -> None:
    """Whoever renames a heading or a page is told of the links that led there, by a build that fails."""
    script.lay_out(tmp_path)
    (tmp_path / "docs" / "index.md").write_text("# Welcome\n\n[gone](topics/gaps.md#gone) and [away](away.md)\n")
    command = script.mkdocs(tmp_path, "build", "--site-dir", str(tmp_path / "site"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode != 0
    assert "does not contain an anchor '#gone'" in done.stderr
    assert "contains a link 'away.md', but the target is not found" in done.stderr


def test_links_are_written_anew() -> None:
    """A link counts from where its page lies in the site; code and other servers' addresses stay as they are."""
    where = {"docs/topics/gaps.md": "topics/gaps.md", "protocol/PROTOCOL.md": "reference/protocol.md"}
    text = (
        "[a](../../protocol/PROTOCOL.md#words) [b](https://example.org/x.md)\n```\n[c](nowhere.md)\n```\n[d](#here)\n"
    )
    anew, needed = script.rewrite("docs/topics/gaps.md", text, where)
    assert anew == text.replace("../../protocol/PROTOCOL.md", "../reference/protocol.md")
    assert needed == set()
    assert script.rewrite("protocol/PROTOCOL.md", "[x](../LICENSE)", where) == ("[x](../files/LICENSE)", {"LICENSE"})
    with pytest.raises(LookupError, match=r"links to nowhere\.md"):
        script.rewrite("docs/topics/gaps.md", "[c](nowhere.md)", where)
