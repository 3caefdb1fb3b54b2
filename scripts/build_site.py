"""Build the documentation's site with MkDocs, from `docs/` and the pages that stand elsewhere in the repository.

python scripts/build_site.py [--output FOLDER]   build; a link that leads nowhere, or a page without a place, fails
python scripts/build_site.py --serve             show it on http://127.0.0.1:8001, and follow changes

Pages link each other as they lie in the repository, so that they can be read there. MkDocs knows one folder only:
all is laid into one first, and links that change by that are written anew.
"""

from __future__ import annotations

import argparse
import os
import posixpath
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

ELSEWHERE: Final = {
    "client_js/README.md": "clients/typescript.md",
    "client_py/README.md": "clients/python.md",
    "protocol/PROTOCOL.md": "reference/protocol.md",
    "protocol/reference.md": "reference/frames.md",
    "protocol/vectors/README.md": "reference/vectors.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "readme.md",
}
"""Pages that do not lie in `docs/`, and where the site has them."""

FILES: Final = "files"
"""The site's folder for what pages link to and what is no page: examples, schemas, licence."""

_ADDRESS: Final = "127.0.0.1:8001"
_FENCED: Final = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2`* *$", re.M | re.S)
_LINK: Final = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
_ELSE: Final = re.compile(r"[a-z]+:|#|/")


def places() -> dict[str, str]:
    """Where each page goes in the site, by its path from the repository's root."""
    pages = {
        str(page.relative_to(ROOT)): str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")
    }
    return pages | ELSEWHERE


def rewrite(source: str, text: str, where: dict[str, str]) -> tuple[str, set[str]]:
    """A page's text with its links as the site has them, and the files that the site needs for them.

    Raises:
        LookupError: a link leads to nothing in the repository.
    """
    needed: set[str] = set()

    def anew(match: re.Match[str]) -> str:
        link = match[1]
        if _ELSE.match(link):
            return link
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        if (ROOT / target).is_dir():
            target = f"{target}/README.md"
        if not (ROOT / target).is_file():
            raise LookupError(f"{source} links to {link}, which is not there.")
        if target in where:
            to = where[target]
        else:
            needed.add(target)
            to = f"{FILES}/{target}"
        return posixpath.relpath(to, posixpath.dirname(where[source]) or ".")

    parts: list[str] = []
    at = 0
    for fence in _FENCED.finditer(text):
        parts += (_LINK.sub(anew, text[at : fence.start()]), fence[0])
        at = fence.end()
    parts.append(_LINK.sub(anew, text[at:]))
    return "".join(parts), needed


def lay_out(folder: Path) -> None:
    """Put the configuration and all pages into a folder, as MkDocs wants them; what is the same is not touched."""
    where = places()
    files = {"mkdocs.yml": (ROOT / "mkdocs.yml").read_bytes()}
    for source, place in where.items():
        text, needed = rewrite(source, (ROOT / source).read_text(encoding="utf-8"), where)
        files[f"docs/{place}"] = text.encode()
        files |= {f"docs/{FILES}/{name}": (ROOT / name).read_bytes() for name in needed}
    for name, content in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def mkdocs(folder: Path, *words: str) -> list[str]:
    """The command line of MkDocs on a folder that was laid out."""
    return [sys.executable, "-m", "mkdocs", *words, "--strict", "--config-file", str(folder / "mkdocs.yml")]


def serve(folder: Path) -> int:
    """Show the site until Ctrl-C, and follow what changes; the exit code."""
    process = subprocess.Popen(mkdocs(folder, "serve", "--dev-addr", _ADDRESS))
    try:
        while process.poll() is None:
            time.sleep(0.5)
            try:
                lay_out(folder)
            except LookupError as exc:
                print(exc, file=sys.stderr)
    except KeyboardInterrupt:
        process.wait()
    return process.returncode


def main() -> int:
    """Build or show."""
    parser = argparse.ArgumentParser(description="Build the documentation's site into site/.")
    parser.add_argument("--serve", action="store_true", help=f"show it on http://{_ADDRESS} and follow changes")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="where to build it (site/)")
    options = parser.parse_args()
    # What its theme prints about versions of MkDocs that are yet to come is for its developers.
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        try:
            lay_out(folder)
        except LookupError as exc:
            print(exc, file=sys.stderr)
            return 1
        if options.serve:
            return serve(folder)
        # Not --quiet: what it keeps quiet, --strict does not see.
        command = mkdocs(folder, "build", "--site-dir", str(options.output.resolve()))
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
