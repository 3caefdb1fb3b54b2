"""`backchannel chaos`"""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from .failures import CommandFailed, server_extra
from .loading import make_current_folder_importable, module_name
from .output import printable, stderr, stdout, write_json

if TYPE_CHECKING:
    from ..testing.chaos import ChaosOptions, ChaosReport, Workload
    from ..testing.chaos import Progress as Standing

__all__ = ["chaos"]

_MINE: Final = "backchannel.testing.chaos.app:workload"
_SHOWN: Final = 40


def chaos(
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", min=0.05, help="How long it lasts.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Chooses the faults and the load.")] = 1,
    routing: Annotated[
        Literal["lane", "random"],
        typer.Option("--routing", help="How commands find their worker: by lane, or at random, which must do as well."),
    ] = "lane",
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="LIST",
            help="What happens: processes, redis, postgres, clients, rights, roll, steps (workers fail behind each "
            "step of a batch), single faults, all or none; separated by commas.",
        ),
    ] = "all",
    workload: Annotated[
        str,
        typer.Option(
            "--workload",
            metavar="NAME",
            help="The load as module:attribute; else boards with notes.",
            show_default=False,
        ),
    ] = _MINE,
    rate: Annotated[float, typer.Option("--rate", metavar="N", min=1.0, help="Commands a second, over all.")] = 60.0,
    gateways: Annotated[int, typer.Option("--gateways", metavar="N", min=1, help="How many.")] = 2,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="How many.")] = 2,
    typescript: Annotated[
        Path | None,
        typer.Option(
            "--typescript",
            metavar="DIR",
            help="The built package @backchannel/client; else the one of the sources, where there is one.",
            show_default=False,
        ),
    ] = None,
    sabotage: Annotated[
        Literal["replies", "keys", "offsets"] | None,
        typer.Option("--sabotage", help="Break a promise on purpose, to see it noticed.", show_default=False),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the logs also if all went well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Load real processes, kill them, and see whether the promises are kept.

    Starts Redis, PostgreSQL, gateways and workers of its own on this machine, lets Python and
    TypeScript clients ask and listen, and kills, stops and restarts everything by a seeded
    schedule. In the end what the database has is compared with what each client was told.
    It touches nothing that it has not started.

      backchannel chaos --minutes 30 --seed 7
      backchannel chaos --faults steps --routing random
      backchannel chaos --workload shop_chaos:workload --json
      backchannel chaos --sabotage keys                       fails, for it must

    Exit code 1 says that a promise was broken: something lost, doubled, out of order, a gap on a
    durable channel, or whatever else it lists; the logs stay then.
    """
    with server_extra("chaos"):
        from ..testing.chaos import ChaosOptions, chosen
    try:
        kinds, steps = chosen([name for name in faults.split(",") if name and name != "none"])
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--faults") from None
    options = ChaosOptions(
        seconds=60 * minutes,
        seed=seed,
        routing=routing,
        kinds=frozenset(kinds),
        steps=steps,
        sabotage=sabotage,
        gateways=gateways,
        workers=workers,
        rate=rate,
        package=typescript,
        keep=keep,
    )
    report = _run(options, _load(workload))
    if as_json:
        write_json(report)
    else:
        _show(report)
    if not report.kept:
        sys.exit(1)


def _load(target: str) -> Workload:
    """The workload `module:attribute`."""
    from ..testing.chaos import Workload

    name = module_name(target)
    make_current_folder_importable()
    try:
        found: Any = getattr(importlib.import_module(name), target.partition(":")[2])
    except (ModuleNotFoundError, AttributeError) as exc:
        raise CommandFailed(f"There is no {target!r}: {exc}. Run this in the folder that holds it.", 2) from None
    if not isinstance(found, Workload):
        raise CommandFailed(f"{target} is of type {type(found).__qualname__}; derive it from Workload.", 2)
    return found


def _run(options: ChaosOptions, workload: Workload) -> ChaosReport:
    from ..testing.chaos import run_chaos
    from ..testing.chaos.part import PartFailed
    from ..testing.services import NotInstalled, ServiceFailed

    async def run(show: Callable[[Standing], None] | None, tell: Callable[[str], None]) -> ChaosReport:
        task = asyncio.current_task()
        assert task is not None
        # What it started must not outlive it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run_chaos(options, workload, progress=show, told=tell)

    console = stderr()
    try:
        if not console.is_terminal:
            return asyncio.run(run(None, lambda text: console.print(Text(text, "dim"))))
        seconds = TextColumn("{task.completed:.0f}/{task.total:.0f} s")
        columns = (TextColumn("{task.description}"), BarColumn(), seconds, TextColumn("{task.fields[counts]}"))
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
            line = bar.add_task("starting", total=options.seconds, counts="")

            def show(standing: Standing) -> None:
                counts = f"acknowledged {standing.acknowledged}  delivered {standing.delivered}"
                counts += f"  refused {standing.refused}  {standing.last}"
                done = min(standing.seconds, options.seconds)
                bar.update(line, completed=done, description=standing.doing, counts=counts)

            return asyncio.run(run(show, lambda _text: None))
    except (NotInstalled, ServiceFailed, PartFailed) as exc:
        raise CommandFailed(str(exc)) from None
    except asyncio.CancelledError:
        raise CommandFailed("It was ended by SIGTERM.") from None


def _show(report: ChaosReport) -> None:
    out = stdout()
    for name, value in report.lines():
        out.print(Text.assemble("  ", (f"{name:<14}", "dim"), value))
    for text in report.findings[:_SHOWN]:
        out.print(Text.assemble(("  broken        ", "bold red"), printable(text)))
    if (hidden := len(report.findings) - _SHOWN) > 0:
        out.print(f"  … and {hidden} more; --json lists all")
    if report.logs:
        out.print(Text.assemble("  ", (f"{'logs':<14}", "dim"), report.logs))
    verdict = ("Every promise was kept.", "bold green") if report.kept else ("Promises were broken.", "bold red")
    out.print(Text(*verdict))
