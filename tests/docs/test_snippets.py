"""Every fenced piece of the documentation is executed or checked; one that nothing knows how to check fails.

What a piece needs that it does not say stands in a comment above it, which readers do not see (`Snippet`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer

from backchannel.cli.root import app as command_line
from backchannel.settings.sources import load
from backchannel_client import Client, Presence

ROOT = Path(__file__).parents[2]

ADDRESS = "127.0.0.1:8000"
"""Where the pages say that the server is."""

_COMMENT = re.compile(r"<!-- snippet: (.*?)-->", re.S)
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>\S*)[^\n]*\n(?P<text>.*?)^ *(?P=fence) *$", re.M | re.S
)
_FILE = re.compile(r"<!-- file: \S+ -->\s*\Z")


@dataclass(frozen=True)
class Snippet:
    """One fenced piece, and what the comment above it says of it.

    Comments, each with what stands behind its colon:

    - `given`, with code: what the piece takes for granted
    - `run`: run it against a server; it prints this, or, with `same`, a line twice
    - `bot`, as `WRITE -> ANSWER`: run it, write that in the lobby, and it answers this
    - `app`: words of `backchannel serve`, for another server than the demo's
    - `not run`: why not
    """

    page: str
    line: int
    language: str
    text: str
    is_file: bool
    said: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def word(self, name: str) -> str | None:
        """What a comment says behind this word; None if there is none."""
        return dict(self.said).get(name)


def snippets_of(page: str) -> list[Snippet]:
    """The pieces of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    end = 0
    for fence in _FENCE.finditer(text):
        said = [_parsed(comment[1]) for comment in _COMMENT.finditer(text, end, fence.start())]
        above = text[end : fence.start()]
        found.append(
            Snippet(
                page,
                text.count("\n", 0, fence.start()) + 1,
                fence["language"],
                textwrap.dedent(fence["text"]),
                bool(_FILE.search(above)),
                tuple(said),
            )
        )
        end = fence.end()
    return found


def _parsed(comment: str) -> tuple[str, str]:
    word, sign, rest = re.fullmatch(r"(not run|[a-z]+)(:|\s)?(.*)", comment.rstrip(), re.S).groups()  # type: ignore[union-attr]
    return word, rest.strip() if sign else ""


@dataclass
class Place:
    """A folder as the pages have it: a running server, its data, and the commands."""

    folder: Path
    address: str
    environment: dict[str, str]

    def here(self, text: str) -> str:
        """A piece with this server's address in the place of the pages'."""
        return text.replace(ADDRESS, self.address)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=40,
        )

    def token(self, user: str) -> str:
        """A token for a user."""
        done = self.run("backchannel", "token", "--user", user)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Places:
    """A server per app, started when first asked for."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self._base = base
        self._stack = stack
        self._places: dict[str, Place] = {}

    def of(self, app: str = "") -> Place:
        """The place where this app is served; the demo by default."""
        if app not in self._places:
            self._places[app] = self._start(app)
        return self._places[app]

    def _start(self, app: str) -> Place:
        folder = self._base / str(len(self._places))
        commands = folder / ".venv" / "bin"
        commands.mkdir(parents=True)
        _write_command(commands / "python", '"$@"')
        _write_command(commands / "backchannel", '-P -m backchannel.cli "$@"')
        for name in ("examples", "client_js"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "shop.py").symlink_to(ROOT / "examples" / "shop.py")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        environment = {**ours, "PATH": f"{commands}:{os.environ['PATH']}", "NO_COLOR": "1", "PYTHONPATH": str(folder)}
        log = folder / "stderr"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [str(commands / "backchannel"), "serve", "--dev", "--port", "0", *shlex.split(app)],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._stack.callback(_end, process)
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"ws://(\S+)/ws", line):
                address = match[1]
                return Place(folder, address, environment | {"BACKCHANNEL_URL": f"ws://{address}/ws"})
        raise AssertionError(f"the server did not start: {log.read_text()}")


def _write_command(path: Path, words: str) -> None:
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
    path.chmod(0o755)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Where pieces run."""
    with ExitStack() as stack:
        yield Places(tmp_path_factory.mktemp("pages"), stack)


def pages() -> list[str]:
    """The pages whose pieces are checked; the reference is generated and checked where it is made."""
    docs = (str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
    written = [page for page in docs if not page.startswith("docs/reference/")]
    return sorted([*written, "README.md", "CONTRIBUTING.md", "client_js/README.md", "client_py/README.md"])


SNIPPETS = [snippet for page in pages() for snippet in snippets_of(page)]

SHELL, PYTHON, SCRIPT = ("sh",), ("python",), ("ts", "tsx", "js")
CHECKED = {*SHELL, *PYTHON, *SCRIPT, "json", "toml", "text", ""}
"""Languages that are checked below; `text`, or none, is a drawing or an output."""


def of(*languages: str) -> list[Any]:
    """The pieces in these languages that are to be checked, as parameters."""
    return [
        pytest.param(snippet, id=str(snippet))
        for snippet in SNIPPETS
        if snippet.language in languages and not snippet.is_file and not snippet.word("not run")
    ]


def test_no_piece_is_forgotten() -> None:
    """Each piece is in a language that is checked here, is a file's listing (`test_tutorial.py`), or says why not."""
    forgotten = [
        f"{snippet}: {snippet.language}"
        for snippet in SNIPPETS
        if snippet.language not in CHECKED and not snippet.is_file and not snippet.word("not run")
    ]
    assert forgotten == []
    known = {"app", "bot", "given", "not run", "run"}
    assert [str(s) for s in SNIPPETS if not {word for word, _ in s.said} <= known] == []
    assert len(SNIPPETS) > 40


@pytest.mark.parametrize("snippet", of("json"))
def test_json_can_be_read(snippet: Snippet) -> None:
    """What is shown as JSON is."""
    json.loads(snippet.text)


@pytest.mark.parametrize("snippet", of("toml"))
def test_settings_are_settings(snippet: Snippet, tmp_path: Path) -> None:
    """A settings file that is shown has names that exist and values that fit them."""
    file = tmp_path / "backchannel.toml"
    text = snippet.text
    for name, path in tomllib.loads(text).items():
        if name.endswith("_file"):
            there = tmp_path / name
            there.write_text(name * 10)
            text = text.replace(path, str(there))
    file.write_text(text)
    _settings, warnings = load(file=file, environ={})
    assert warnings == []


# Python


@pytest.mark.parametrize("snippet", of(*PYTHON))
def test_python_runs(snippet: Snippet, places: Places) -> None:
    """A program does what the page says; a fragment runs behind those above it on its page."""
    place = places.of(snippet.word("app") or "")
    if (talk := snippet.word("bot")) is not None:
        _talk_to(place, f"robot{SNIPPETS.index(snippet)}", place.here(snippet.text), *talk.split(" -> "))
        return
    is_run = snippet.word("run") is not None
    before = [] if is_run else [s for s in SNIPPETS if s.page == snippet.page and s.line < snippet.line]
    pieces = [s for s in before if s.language == "python" and not s.said and not s.is_file] + [snippet]
    given = snippet.word("given") or ""
    program = place.here("\n\n".join([given, *(s.text for s in pieces)]))
    # What annotations promise is looked up when the module is there, so each program is a module.
    file = place.folder / f"piece_{re.sub(r'[^a-z]', '_', snippet.page.lower())}_{snippet.line}.py"
    file.write_text(_future_first(program))
    has_tests = re.search(r"^(?:async )?def test_", program, re.M)
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"] if has_tests else []
    token = place.token("alice") if is_run else ""
    done = place.run("python", "-P", *runner, str(file), BACKCHANNEL_TOKEN=token)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (snippet.word("run") or "") in done.stdout


def _future_first(program: str) -> str:
    line = "from __future__ import annotations\n"
    return line + program.replace(line, "")


def _talk_to(place: Place, user: str, program: str, write: str, answer: str) -> None:
    """Run a bot, say something in the lobby once it is there, wait for its answer, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        cwd=place.folder,
        env=place.environment | {"BACKCHANNEL_TOKEN": place.token(user)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        heard = asyncio.run(_hear(place, user, write))
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "")
    assert heard == answer


async def _hear(place: Place, user: str, write: str) -> str | None:
    """What the bot answers; None if it does not come, or says nothing in time."""
    there = asyncio.Event()

    def changed(presence: Presence) -> None:
        if user in {member.user for member in (*(presence.members or ()), *(presence.joined or ()))}:
            there.set()

    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(20),
            Client(f"ws://{place.address}/ws", token=place.token("alice")) as alice,
            alice.subscribe("chat:lobby", on_presence=changed) as lobby,
        ):
            changed(await alice.presence("chat:lobby"))  # it may have come before
            await there.wait()
            await alice.call("message.send", {"channel": "chat:lobby", "text": write})
            async for event in lobby:
                if event.name == "message.created" and event.user == user:
                    return str(event.data["text"])
    return None


# Shell


@pytest.mark.parametrize("snippet", [piece for piece in of(*SHELL) if piece.values[0].word("run") is None])
def test_commands_exist(snippet: Snippet) -> None:
    """Each command of ours that is shown is there, with these words and flags; so are the files that it names."""
    for words in _commands(snippet.text):
        _check_command(words)


@pytest.mark.parametrize("snippet", [piece for piece in of(*SHELL) if piece.values[0].word("run") is not None])
def test_shell_runs(snippet: Snippet, places: Places) -> None:
    """Commands that are shown work on the running server, and print what the page says."""
    place = places.of(snippet.word("app") or "")
    # What does not end is left out: the place's own server is that one, and listening has tests of its own.
    text = re.sub(r"^.*backchannel (?:serve|listen) .*$", "", snippet.text, flags=re.M)
    done = place.run("bash", "-euo", "pipefail", "-c", place.here(text))
    assert done.returncode == 0, done.stderr
    expected = snippet.word("run") or ""
    if expected == "same":
        first, second = done.stdout.splitlines()
        assert first == second
    else:
        assert expected in done.stdout


_NAMES = re.compile(r"(?:examples|scripts|benchmarks|docs|tests)/[\w./-]+")
_OUTSIDE = {
    "bash",
    "cat",
    "cd",
    "curl",
    "echo",
    "export",
    "jq",
    "npm",
    "npx",
    "openapi-python-client",
    "openssl",
    "pip",
}


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a piece, without the variables set before them; those in `$(…)` are commands, too."""
    for line in text.replace("\\\n", " ").splitlines():
        while inner := re.search(r"\$\(([^()]*)\)", line):
            yield from _commands(inner[1])
            line = line.replace(inner[0], "VALUE")
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "&&"]:
            if set(word) <= set("();|&"):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Z_]+=", word):
                words.append(word)


def _check_command(words: list[str]) -> None:
    for name in _NAMES.findall(" ".join(words)):
        assert (ROOT / name).exists(), name
    name = words[0].removeprefix(".venv/bin/").removeprefix("./")
    if name == "backchannel":
        _check_ours(words[1:])
    elif name == "python":
        if words[1] == "-m":
            module = ROOT / words[2].replace(".", "/")
            assert words[2] in {"pytest"} or module.with_suffix(".py").is_file(), words
    elif not name.startswith("scripts/"):
        assert name in _OUTSIDE, f"nothing checks {name!r}"


def _check_ours(words: list[str]) -> None:
    """A command line of `backchannel` can be read. Nothing of it runs."""
    command: Any = typer.main.get_command(command_line)
    context = command.make_context("backchannel", [], resilient_parsing=True)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    with contextlib.suppress(typer.Exit):  # --help
        command.make_context("backchannel", list(words), parent=context)


_INLINE = re.compile(r"(?<!`)`((?:\./scripts/|(?:\.venv/bin/)?backchannel )[^`…{}]*)`(?!`)")


@pytest.mark.parametrize("page", pages())
def test_commands_in_sentences_exist(page: str) -> None:
    """So it is with commands that stand in the middle of a sentence."""
    for text in _INLINE.findall((ROOT / page).read_text()):
        for words in _commands(text):
            _check_command(words)


# TypeScript


def test_scripts_fit_the_types(tmp_path: Path) -> None:
    """Every piece of TypeScript and JavaScript compiles against the client's types, under its strictest settings."""
    tsc = ROOT / "client_js" / "node_modules" / ".bin" / "tsc"
    if not shutil.which("node") or not tsc.exists():
        pytest.fail("Node and client_js/node_modules are needed: run ./scripts/test")
    pieces = [piece.values[0] for piece in of(*SCRIPT)]
    assert pieces
    for number, snippet in enumerate(pieces):
        extension = "tsx" if snippet.language == "tsx" else "ts"
        (tmp_path / f"piece{number}.{extension}").write_text(_module(snippet))
    client = ROOT / "client_js"
    source = f"{client}/src"
    settings = {
        "extends": f"{client}/tsconfig.json",
        "compilerOptions": {
            "types": ["node"],
            "typeRoots": [f"{client}/node_modules/@types"],
            "jsx": "react-jsx",
            "declaration": False,
            "skipLibCheck": True,
            "noUnusedLocals": False,
            "noUnusedParameters": False,
            "allowImportingTsExtensions": True,
            "paths": {
                "@backchannel/client": [f"{source}/index.ts"],
                "@backchannel/client/*": [f"{source}/*.ts"],
                "react/jsx-runtime": [f"{client}/node_modules/@types/react/jsx-runtime.d.ts"],
                "ws": [f"{client}/node_modules/@types/ws/index.d.ts"],
            },
        },
        "include": ["*.ts", "*.tsx"],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    shop = [sys.executable, "-P", "-m", "backchannel.cli", "schema", "typescript", "examples.shop:app"]
    contract = subprocess.run(shop, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    (tmp_path / "contract.gen.ts").write_text(contract)
    done = subprocess.run(
        [str(tsc), "--noEmit", "-p", str(tmp_path)], capture_output=True, text=True, check=False, timeout=50
    )
    names = {f"piece{number}.": str(snippet) for number, snippet in enumerate(pieces)}
    told = re.sub(r"piece\d+\.", lambda match: f"{names[match[0]]} ", done.stdout)
    assert done.returncode == 0, told


def _module(snippet: Snippet) -> str:
    """A piece as a module: what it is given outside, itself in a block of its own, imports at the top."""
    imports = re.findall(r"^import .*?;\n", snippet.text, re.M | re.S)
    body = snippet.text
    for line in imports:
        body = body.replace(line, "")
    given = (snippet.word("given") or "").replace("../docs/", f"{ROOT}/docs/")
    return "".join([*imports, given, "\nexport {};\n{\n", body, "}\n"])


# What pages say that is no piece


def test_the_proxys_time_outs_outlast_silence() -> None:
    """A proxy set up as the page shows closes no connection that the server still thinks alive."""
    settings, _ = load(environ={}, file=None)
    text = (ROOT / "docs/howto/proxy.md").read_text()
    spans = [int(span) for span in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", text)]
    assert len(spans) == 2
    assert min(spans) > settings.ping + settings.grace
