"""Lua scripts: files of the package, known to Redis by their hash."""

from __future__ import annotations

import hashlib
from importlib import resources

from msgspec import Struct

__all__ = ["Script"]


class Script(Struct, frozen=True):
    """One Lua script, which Redis runs as one step."""

    name: str
    text: str
    sha: str
    """SHA-1 of the text in hexadecimal: how EVALSHA names it."""

    @classmethod
    def of(cls, name: str, text: str) -> Script:
        """A script from its text."""
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def load(cls, package: str, file: str) -> Script:
        """A script from a file that lies beside the code which runs it.

        Args:
            package: a package below `backchannel`, such as `broker`.
            file: the file's name, such as `append.lua`.

        Raises:
            FileNotFoundError: there is no such file, so the installation is damaged.
        """
        text = (resources.files(f"backchannel.{package}") / file).read_text(encoding="utf-8")
        return cls.of(f"{package}/{file}", text)
