"""An S3-compatible store: moto's server, which keeps what it has in memory."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final

from .process import Service

__all__ = ["S3Server"]

_KEY: Final = "AKIDTEST"
_SECRET: Final = "a-secret-of-tests"  # noqa: S105  # no server outside of tests has it


class S3Server(Service):
    """A `moto_server` of one's own, with one bucket. It needs `pip install 'moto[server]'`.

    Args:
        bucket: the bucket's name.
        port: where it listens; a free port by default.
    """

    def __init__(self, *, bucket: str = "files", port: int | None = None) -> None:
        super().__init__(port=port)
        self.bucket = bucket

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that clients need."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start it, and make the bucket."""
        super().start()
        request = urllib.request.Request(f"{self.url}/{self.bucket}", method="PUT")  # noqa: S310  # a fixed scheme
        scope = f"{_KEY}/{time.strftime('%Y%m%d')}/us-east-1/s3/aws4_request"
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={scope}")
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
