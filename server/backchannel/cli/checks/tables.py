"""Whether a database's tables are those of this version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from backchannel_protocol import BackchannelError

from .finding import Finding, failed, fine, warning

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ...app import Migrations

__all__ = ["check_tables"]


def check_tables(connection: sa.Connection, migrations: Sequence[Migrations]) -> Iterator[Finding]:
    """The tables of Backchannel and of these apps. Nothing is changed."""
    from ...store.upgrade import CORE, standing

    behind = []
    for each in (CORE, *migrations):
        try:
            state = standing(connection, each)
        except BackchannelError as exc:
            yield failed(f"the migrations of {each.app!r} cannot be used: {exc}", "Correct those files.")
            return
        if state == "too new":
            yield failed(
                f"a newer version made the tables of {each.app!r}, and took away what this one uses",
                "Install that version: there is no way back.",
            )
            return
        if state == "newer":
            yield warning(
                f"a newer version made the tables of {each.app!r}; this one can use them",
                "Finish the rolling restart, or, if the release was taken back, leave it so.",
            )
        if state == "behind":
            behind.append(each.app)
    if behind:
        yield warning(
            f"tables of {', '.join(behind)} are not up to date",
            "A server or worker brings them up to date when it starts; `backchannel migrate APP` does so before.",
        )
    else:
        yield fine("its tables are up to date")
