"""`backchannel chat`: whole spaces of chat in and out, and all that is kept of one user."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..settings import Settings
from .failures import CommandFailed, server_extra
from .loading import load_app
from .options import DEMO, AppTarget, Config, Data, Tenant, settings_of
from .output import printable, stderr, write_json

if TYPE_CHECKING:
    from ..app import App
    from ..chat.data.importing import ImportReport
    from ..chat.data.records import Record

__all__ = ["app"]

Source = Literal["backchannel", "slack", "sendbird", "stream"]

app = typer.Typer(
    help="""Export and import chat, and get all that is kept of one user.

The database of the settings is used. An export may be made beside a running server; an import into a
SQLite file may not, one into PostgreSQL may.""",
    no_args_is_help=True,
)

Out = Annotated[
    str, typer.Option("--out", metavar="FILE", help="Where to write; - is stdout. It is there whole, or not at all.")
]

_SHOWN: Final = 20


@app.command("export")
def export(
    target: AppTarget = DEMO,
    out: Out = "-",
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """Write all of chat as JSON Lines: channels, members, messages, and what hangs on them.

    It is of one moment, and takes little memory however much there is. The content
    of files is not in it: copy the folder or bucket where files are kept as well.

    Examples:

      backchannel chat export --out chat.jsonl
      backchannel chat export shop:app | gzip > chat.jsonl.gz
    """
    found = _chat_app(target, "chat export")
    settings = settings_of(config, data=data, app=tenant)
    with server_extra("chat export"):
        from ..chat.data.records import export_space, space_size
        from ..store.opening import open_snapshot

    async def run() -> int:
        async with open_snapshot(settings, found.migrations) as reader:
            total = await space_size(reader, settings.app) if sys.stderr.isatty() else None
            lines = export_space(reader, settings.app, time.time_ns() // 1_000_000)
            return await _write(out, lines, total)

    count = asyncio.run(run())
    # The first and the last line are no records.
    _note(f"Exported {count - 2} records.")


@app.command("export-user")
def export_user(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose data.")],
    target: AppTarget = DEMO,
    out: Out = "-",
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """Write all that is kept of one user as JSON Lines, one row of a table each.

    Example:

      backchannel chat export-user alice --out alice.jsonl
    """
    found = _chat_app(target, "chat export-user")
    settings = settings_of(config, data=data, app=tenant)
    with server_extra("chat export-user"):
        from ..chat.data.records import user_lines
        from ..store.opening import open_snapshot

    async def run() -> int:
        async with open_snapshot(settings, found.migrations) as reader:
            return await _write(out, user_lines(reader, settings.app, user), None)

    _note(f"Exported {asyncio.run(run())} records of {printable(user)}.")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to import: a file, or what the other chat gave.")],
    target: AppTarget = DEMO,
    source: Annotated[Source, typer.Option("--from", help="Where it comes from.")] = "backchannel",
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE",
            help='A JSON object of names by ids, {"U024BE7LH": "alice"}, for users who are called otherwise here.',
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; tell what is wrong, and what is there already.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """Import a space: an export of this program, or of Slack (a zip file or folder), Sendbird or Stream (JSON).

    What is there already stays as it is: an import may be repeated, and goes on
    after an interruption by being begun again. What was left out is counted and
    told at the end; the exit code is 1 then.

    Examples:

      backchannel chat import chat.jsonl --dry-run
      backchannel chat import slack.zip --from slack --users names.json
      backchannel chat import stream.jsonl shop:app --from stream
    """
    if not file.exists():
        raise typer.BadParameter(f"there is no {file}.", param_hint="FILE")
    names = _names(users)
    found = _chat_app(target, "chat import")
    settings = settings_of(config, data=data, app=tenant)
    report = asyncio.run(_import(found, settings, file, source, names, dry_run=dry_run))
    if as_json:
        write_json({**msgspec.to_builtins(report), "dry_run": dry_run})
    else:
        _tell(report, dry_run=dry_run)
    if report.left_out:
        raise typer.Exit(1)


async def _import(
    found: App, settings: Settings, file: Path, source: Source, names: dict[str, str], *, dry_run: bool
) -> ImportReport:
    with server_extra("chat import"):
        from ..chat.data.importing import import_records
        from ..chat.data.records import BadExport, read_lines
        from ..chat.data.spool import Spool
        from ..server.offline import asking
    try:
        async with asking(found, settings, lambda line: _note(line)) as publisher:
            with _progress("Importing", None) as bar:
                if source == "backchannel":
                    with file.open("rb") as lines:
                        size = os.fstat(lines.fileno()).st_size
                        return await import_records(
                            publisher,
                            _measured(read_lines(lines), lines, size, bar),
                            dry_run=dry_run,
                        )
                with Spool(source, names) as spool:
                    _read(source, file, spool)
                    unknown: Counter[str] = spool.unknown
                    return await import_records(
                        publisher,
                        spool.records(),
                        dry_run=dry_run,
                        settle=True,
                        progress=bar.add,
                        unknown=unknown,
                    )
    except BadExport as exc:
        raise CommandFailed(str(exc)) from None


def _read(source: Source, file: Path, spool: Any) -> None:
    from ..chat.data.sendbird import read_sendbird
    from ..chat.data.slack import read_slack
    from ..chat.data.stream import read_stream

    {"slack": read_slack, "sendbird": read_sendbird, "stream": read_stream}[source](file, spool)


def _measured(records: Iterator[Record], file: BinaryIO, size: int, bar: _Bar) -> Iterator[Record]:
    """The records; the bar shows how much of the file they are."""
    bar.total(size)
    for number, record in enumerate(records):
        if number % 100 == 0:
            bar.stand(file.tell())
        yield record


def _chat_app(target: str, command: str) -> App:
    found = load_app(target)
    if not any(migrations.app == "chat" for migrations in found.migrations):
        raise CommandFailed(
            f"`backchannel {command}`: {target} has no chat: `app.include(backchannel.chat.app)` gives it one."
        )
    return found


def _names(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as exc:
        raise typer.BadParameter(f'{exc}: write {{"U024BE7LH": "alice"}}.', param_hint="--users") from None


# Writing


async def _write(out: str, lines: AsyncIterator[bytes], total: int | None) -> int:
    """Write lines to a file that is there whole or not at all, or to stdout. How many there were."""
    count = 0
    with _progress("Exporting", total) as bar:
        if out == "-":
            async for line in lines:
                sys.stdout.buffer.write(line)
                count += 1
                bar.add(1)
            sys.stdout.buffer.flush()
            return count
        path = Path(out)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                async for line in lines:
                    file.write(line)
                    count += 1
                    bar.add(1)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as exc:
            raise CommandFailed(f"{out} cannot be written: {exc.strerror or exc}.") from None
        finally:
            part.unlink(missing_ok=True)
    return count


class _Bar:
    """A bar on a terminal; elsewhere nothing."""

    def __init__(self, progress: Progress | None, task: Any) -> None:
        self._progress = progress
        self._task = task

    def add(self, count: int) -> None:
        """So much more is done."""
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def stand(self, done: int) -> None:
        """So much is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)

    def total(self, total: int) -> None:
        """So much is to be done."""
        if self._progress is not None:
            self._progress.update(self._task, total=total)


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield _Bar(None, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr(), transient=True) as progress:
        yield _Bar(progress, progress.add_task(what, total=total))


def _tell(report: ImportReport, *, dry_run: bool) -> None:
    """What became of an import, for people, on stderr."""
    would = "would come in" if dry_run else "came in"
    _note(
        f"{report.read} records were read: {report.inserted} {would}, {report.known} were there already, "
        f"{report.left_out} were left out."
    )
    for kind, count in sorted(report.skipped.items(), key=lambda item: -item[1])[:_SHOWN]:
        stderr().print(Text(printable(f"{count} x {kind}"), "yellow"))
        for example in report.examples[kind][:2]:
            stderr().print(Text(printable(f"    {example}"), "dim"))
    if report.unknown:
        _note("What chat has no place for:")
    for kind, count in sorted(report.unknown.items(), key=lambda item: -item[1])[:_SHOWN]:
        stderr().print(Text(printable(f"{count} x {kind}"), "dim"))
    if len(report.skipped) > _SHOWN or len(report.unknown) > _SHOWN:
        _note("There is more; --json tells all of it.")


def _note(line: str) -> None:
    stderr().print(Text(printable(line), "dim"))
