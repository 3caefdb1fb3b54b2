"""The generator and the floor: two programs in C, built with `cc` when their sources changed, and run.

`benchmarks/native/README.md` says what they do; `load --help` lists every mode and option.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

__all__ = ["Broken", "Failed", "Floor", "Held", "Mark", "Result", "Times", "build", "floor", "idle", "run", "self_test"]

SOURCES: Final = Path(__file__).parent / "native"
BUILD: Final = Path(__file__).parent / ".build"
FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")

_BROKEN: Final = 1
_LINE: Final = 1 << 20
_STOP: Final = 10.0

Option = str | int | float | Path
"""What an option of `load` takes; True is one that takes nothing, False leaves it out."""


class Failed(Exception):
    """A program could not be built or run; the message is what the compiler or the program said."""


class Broken(Exception):
    """Something was lost, doubled, reordered or refused. `result` has the numbers."""

    def __init__(self, result: Result) -> None:
        counts = {
            "lost": result.lost,
            "doubled": result.doubled,
            "reordered": result.reordered,
            # Without events beside them, the calls are what was lost or doubled above.
            "calls lost": result.calls_lost if result.listeners else 0,
            "calls doubled": result.calls_doubled if result.listeners else 0,
            "refused": result.refused,
            "lost by slow listeners": result.slow_lost,
            "doubled to slow listeners": result.slow_doubled,
            "reordered to slow listeners": result.slow_reordered,
        }
        found = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        super().__init__(f"{result.mode} of {result.dialect}: {found or 'not proven'}. {result.refusal}".rstrip(". "))
        self.result = result


class Times(Struct, frozen=True):
    """Nanoseconds below which 50, 90, 99 and 99.9 % of the times lie, within 1.6 %, and the longest."""

    p50: int
    p90: int
    p99: int
    p999: int
    max: int


class Result(Struct, frozen=True, kw_only=True):
    """What one run printed. A mode fills the fields that it has; the others keep their defaults."""

    mode: str
    dialect: str
    seconds: float = 0.0
    """Measured: without warm-up, and without the wait for what was still under way."""

    channels: int = 0
    listeners: int = 0
    """Over all channels."""
    publishers: int = 0
    deliveries: int = 0
    """While measured, as are `publishes` and all rates and times."""
    publishes: int = 0
    published: int = 0
    """In all; what the proof is about."""
    lost: int = 0
    """Over all listeners; of calls without events beside them: never answered."""
    doubled: int = 0
    reordered: int = 0
    told: int = 0
    """Did not come, and the server said so."""
    deliveries_per_second: float = 0.0
    deliveries_per_recv: float = 0.0
    bytes_per_delivery: float = 0.0
    """On the wire, with all framing."""
    generator_busy: float = 0.0
    """Share of the time in which the generator had something to do; near 1 it may be the limit."""
    late_ns: int = 0
    """The most that a publish left behind its time."""
    latency_ns: Times | None = None
    """From publish to delivery."""

    connections: int = 0
    in_flight: int = 0
    calls: int = 0
    calls_per_second: float = 0.0
    calls_lost: int = 0
    calls_doubled: int = 0
    refused: int = 0
    refusal: str = ""
    """What the server said the first time."""
    call_ns: Times | None = None
    """From the call, or from when it was due, to its answer."""

    action_ns: tuple[Times | None, ...] = ()
    """The same, of each line of the frames that members of rooms act by."""

    parallel: int = 0
    connections_per_second: float = 0.0
    connect_ns: Times | None = None
    """From the first packet to the server's welcome."""

    missed: int = 0
    """Published while everybody was away."""
    behind: int = 0
    """Connections that never caught up."""
    ready_ns: Times | None = None
    """From the return of all to the answer to one's resume."""
    caught_up_ns: Times | None = None
    """From the return of all to one's last missed event."""

    slow: int = 0
    slow_ended: int = 0
    slow_caught_up: int = 0
    slow_told: int = 0
    slow_lost: int = 0
    """Events that did not come to a connection that still stands, and of which nothing was said: must be 0."""
    slow_doubled: int = 0
    slow_reordered: int = 0

    join: int = 0
    floor_deliveries_per_second: float = 0.0
    floor_generator_busy: float = 0.0
    times_the_floor: float = 0.0


class Mark(Struct, frozen=True):
    """`begin` or `end` of what is measured."""

    mark: str
    at: int
    """The machine's monotonic clock, nanoseconds."""


class Floor(NamedTuple):
    """A floor server that runs."""

    pid: int
    port: int


class Held(NamedTuple):
    """Connections that are held open."""

    pid: int
    result: Result


def build() -> Path:
    """Build `load` and `floor` if a source or flag changed; the folder that has them.

    Raises:
        Failed: there is no compiler, or it refuses.
    """
    BUILD.mkdir(exist_ok=True)
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    stamp = BUILD / "native.sha256"
    with (BUILD / "native.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once build once
        programs = {
            "load": [source for source in sources if source.suffix == ".c" and source.name != "floor.c"],
            "floor": [SOURCES / "floor.c", SOURCES / "common.c"],
        }
        built = all((BUILD / name).exists() for name in programs)
        if not built or not stamp.exists() or stamp.read_text() != digest.hexdigest():
            for name, parts in programs.items():
                _compile(parts, BUILD / name)
            stamp.write_text(digest.hexdigest())
    return BUILD


def _compile(sources: Sequence[Path], program: Path) -> None:
    compiler = os.environ.get("CC", "cc")
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        made = Path(folder) / program.name
        command = [compiler, *FLAGS, "-o", str(made), *map(str, sources)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Failed(f"There is no C compiler {compiler!r}: install one (Debian: gcc) or name it in CC.") from None
        if done.returncode != 0:
            raise Failed(f"{program.name} does not build:\n{done.stderr}")
        made.replace(program)  # one that runs keeps its file


async def run(
    mode: str,
    port: int | Sequence[int],
    options: Mapping[str, Option] = MappingProxyType({}),
    *,
    dialect: str = "backchannel",
    cpu: int | None = 1,
    spin: bool = True,
    on_mark: Callable[[Mark], None] | None = None,
) -> Result:
    """Run `load MODE` against a server on loopback and return what it measured; everything is proven then.

    `options` are those of `load --help`, by name, with `_` for `-`. `on_mark` is called when measuring begins and ends,
    as soon as this process gets to it. Cancelling ends the program.

    Raises:
        Broken: something was lost, doubled, reordered or refused.
        Failed: the program could not run, or its watchdog ended it.
    """
    ports = [port] if isinstance(port, int) else port
    marks = on_mark is not None
    return await _run(
        [mode, "--port", ",".join(map(str, ports)), "--dialect", dialect],
        on_mark,
        {"cpu": -1 if cpu is None else cpu, "spin": spin, "marks": marks, **options},
    )


async def self_test(
    options: Mapping[str, Option] = MappingProxyType({}), *, cpu: int | None = 1, spin: bool = True
) -> Result:
    """Run `load --self-test`: what the generator can take, beside what the floor gives. Raises as `run` does."""
    return await _run(["--self-test"], None, {"cpu": -1 if cpu is None else cpu, "spin": spin, **options})


@contextlib.asynccontextmanager
async def idle(
    port: int | Sequence[int],
    connections: int,
    options: Mapping[str, Option] = MappingProxyType({}),
    *,
    dialect: str = "backchannel",
) -> AsyncIterator[Held]:
    """Connections that are opened, authenticated and subscribed, and held until the context ends.

    Raises:
        Failed: they cannot all be made, or one was lost meanwhile.
    """
    ports = [port] if isinstance(port, int) else port
    words = ["idle", "--port", ",".join(map(str, ports)), "--dialect", dialect]
    process = await _start([*words, *_words({"connections": connections, **options})])
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line:
            yield Held(process.pid, msgspec.json.decode(line, type=Result))
        assert process.stdin is not None
        process.stdin.close()  # lets go of them
        _, said = await process.communicate()
        if process.returncode:
            raise Failed(said.decode(errors="replace").strip())
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def floor(*, cpu: int | None = 0, join: int = 1) -> AsyncIterator[Floor]:
    """A floor server, for the dialect `floor`, until the context ends.

    Raises:
        Failed: it does not start.
    """
    words = ["--join", str(join), *(() if cpu is None else ("--cpu", str(cpu)))]
    process = await _start(words, "floor")
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            _, said = await process.communicate()
            raise Failed(said.decode(errors="replace").strip())
        yield Floor(process.pid, int(line.decode().rpartition(":")[2]))
    finally:
        await _end(process)


async def _run(words: Sequence[str], on_mark: Callable[[Mark], None] | None, options: dict[str, Option]) -> Result:
    process = await _start([*words, *_words(options)], stdin=False)
    try:
        assert process.stdout is not None
        result = None
        async for line in process.stdout:
            if line.startswith(b'{"mark"'):
                if on_mark is not None:
                    on_mark(msgspec.json.decode(line, type=Mark))
            else:
                result = msgspec.json.decode(line, type=Result)
        _, said = await process.communicate()
    finally:
        await _end(process)
    if result is None or process.returncode not in (0, _BROKEN):
        raise Failed(said.decode(errors="replace").strip() or f"load ended with code {process.returncode}")
    if process.returncode == _BROKEN:
        raise Broken(result)
    return result


def _words(options: dict[str, Option]) -> list[str]:
    words = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is not False and not (name == "cpu" and value == -1):
            words += [option, str(value)]
    return words


async def _start(words: Sequence[str], program: str = "load", *, stdin: bool = True) -> asyncio.subprocess.Process:
    folder = await asyncio.to_thread(build)
    return await asyncio.create_subprocess_exec(
        folder / program,
        *words,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=_LINE,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await asyncio.wait_for(process.wait(), _STOP)
