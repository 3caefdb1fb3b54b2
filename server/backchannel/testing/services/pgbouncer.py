"""PgBouncer, which shares few connections to PostgreSQL among many clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from .process import Service, program

__all__ = ["PgBouncer"]


class PgBouncer(Service):
    """A PgBouncer of one's own before one database, in transaction mode.

    Args:
        database_url: what it connects to.
        config: further settings, `{"default_pool_size": "2"}`.
    """

    normal_user = "postgres"

    def __init__(self, database_url: str, *, config: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._target = urlsplit(database_url)
        self.config = {"pool_mode": "transaction", "default_pool_size": "10", "max_client_conn": "200"} | dict(
            config or {}
        )

    @property
    def url(self) -> str:
        """The database's URL, through it."""
        return f"postgresql://{self._target.username}@127.0.0.1:{self.port}/{self._target.path.strip('/')}"

    def _command(self) -> Sequence[str]:
        target = self._target
        users = self.folder / "users"
        users.write_text(f'"{target.username}" ""\n')
        users.chmod(0o644)
        lines = [
            "[databases]",
            f"* = host={target.hostname} port={target.port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = trust",
            f"auth_file = {users}",
            "ignore_startup_parameters = extra_float_digits,jit",
            *(f"{name} = {value}" for name, value in self.config.items()),
        ]
        file = self.folder / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        file.chmod(0o644)
        return [program("pgbouncer", package="pgbouncer"), str(file)]
