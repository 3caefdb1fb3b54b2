"""nginx."""

from __future__ import annotations

from collections.abc import Sequence

from .process import Service, program

__all__ = ["Nginx"]


class Nginx(Service):
    """An nginx of one's own.

    Args:
        config: its whole configuration file; it must listen on `port`. Relative paths are in `folder`.
        port: where it listens.
    """

    def __init__(self, config: str, *, port: int) -> None:
        super().__init__(port=port)
        self.config = config

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str]:
        file = self.folder / "nginx.conf"
        file.write_text(self.config)
        return [program("nginx", package="nginx-light"), "-p", str(self.folder), "-e", "stderr", "-c", str(file),
                "-g", f"daemon off; pid {self.folder}/nginx.pid;"]  # fmt: skip
