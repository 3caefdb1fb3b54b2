"""The Dockerfile: what it copies is there and enough, and what it makes runs as nobody in particular."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from backchannel.testing.services import free_port

ROOT = Path(__file__).parents[3]

Instructions = list[tuple[str, str]]


def stages(dockerfile: Instructions) -> dict[str, Instructions]:
    """The instructions of each stage, by its name; the last one's is `final`."""
    found: dict[str, Instructions] = {}
    for word, rest in dockerfile:
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            found[name] = []
        elif found:
            found[name].append((word, rest))
    return found


def context(folder: Path) -> None:
    """What .dockerignore lets into the build's context."""
    folder.mkdir()
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    left_out = [ROOT / line for line in lines[1:] if line[0] != "!" and "**" not in line]
    anywhere = shutil.ignore_patterns(*(line.removeprefix("**/") for line in lines if line.startswith("**/")))

    def ignore(path: str, names: list[str]) -> set[str]:
        return anywhere(path, names) | {name for name in names if Path(path, name) in left_out}

    for line in lines:
        if line[0] == "!":
            source, target = ROOT / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=ignore)
            else:
                shutil.copy(source, target)


def copies(instructions: Instructions) -> list[tuple[list[str], str]]:
    """Sources and target of each COPY from the context."""
    words = [rest.split() for word, rest in instructions if word == "COPY"]
    return [(rest[:-1], rest[-1]) for rest in words if not rest[0].startswith("--from")]


def test_what_is_copied_is_there(dockerfile: Instructions, tmp_path: Path) -> None:
    """Every source of a COPY exists, and .dockerignore does not keep it out; built files and packages stay out."""
    context(tmp_path / "context")
    for instructions in stages(dockerfile).values():
        for sources, _target in copies(instructions):
            assert [source for source in sources if not (tmp_path / "context" / source).exists()] == []
    inside = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*")}
    assert "client_js/demo/vite.config.ts" in inside
    assert not [
        name for name in inside if re.search(r"node_modules|__pycache__|demo/static|^tests|\.git|secrets", name)
    ]


def test_the_image_is_small_and_runs_as_nobody(dockerfile: Instructions) -> None:
    """Slim images, no compiler and no Node in the last stage, a user that is not root, an entry point without a shell,
    a sign of life, labels."""
    bases = [rest.split()[0] for word, rest in dockerfile if word == "FROM"]
    assert bases == ["node:22-slim", "python:${PYTHON}-slim", "python:${PYTHON}-slim"]
    final = stages(dockerfile)["final"]
    words = dict(final)
    assert int(words["USER"]) >= 10_000
    assert json.loads(words["ENTRYPOINT"]) == ["backchannel"]
    assert json.loads(words["CMD"]) == ["--help"]
    assert words["STOPSIGNAL"] == "SIGTERM"
    order = [word for word, _ in final]
    assert order.index("USER") > max(index for index, word in enumerate(order) if word in ("RUN", "COPY"))
    assert not re.search(r"apt|apk|gcc|build-essential|npm", " ".join(rest for word, rest in final if word == "RUN"))
    assert [rest for word, rest in final if word == "COPY"] == ["--from=environment /opt/backchannel /opt/backchannel"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"VERSION={project['version']}" in [rest for word, rest in final if word == "ARG"]
    assert f'description="{project["description"]}"' in words["LABEL"]
    python = next(rest for word, rest in dockerfile if word == "ARG").removeprefix("PYTHON=")
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]


@pytest.mark.timeout(120)
def test_what_it_copies_makes_the_program(dockerfile: Instructions, tmp_path: Path) -> None:
    """The stage's own files, and no others, make a wheel; installed into a new environment, the program starts.

    What it depends on comes from this environment, so that the test needs no network.
    """
    context(tmp_path / "context")
    source = tmp_path / "source"
    for sources, target in copies(stages(dockerfile)["environment"]):
        for name in sources:
            place = source / target / name if target.endswith("/") else source / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if (tmp_path / "context" / name).is_dir():
                shutil.copytree(tmp_path / "context" / name, place, dirs_exist_ok=True)
            else:
                shutil.copy(tmp_path / "context" / name, place)
    static = source / "server" / "backchannel" / "demo" / "static"
    static.mkdir()
    (static / "index.html").write_text("made by the stage before\n")
    commands = [rest for word, rest in stages(dockerfile)["environment"] if word == "RUN"]
    assert commands[0] == "pip wheel --no-deps --wheel-dir /wheels ."
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", source)
    [wheel] = (tmp_path / "wheels").glob("backchannel-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    assert '"backchannel[server] @ file://$(echo /wheels/backchannel-*.whl)"' in commands[1]
    python = tmp_path / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--quiet", "--no-deps", wheel)
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # Behind its own packages in the order of imports, and without the .pth files that lead to the source.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    entry = [tmp_path / "venv" / "bin" / json.loads(dict(stages(dockerfile)["final"])["ENTRYPOINT"])[0]]
    shown = run(*entry, *json.loads(dict(stages(dockerfile)["final"])["CMD"]), cwd=tmp_path)
    assert "worker" in shown
    pages = "from backchannel.demo import app; print(app.statics[0].directory)"
    shown = run(python, "-c", pages, cwd=tmp_path)
    assert Path(shown.strip()) == packages / "backchannel" / "demo" / "static"


def test_the_sign_of_life_can_be_missed(dockerfile: Instructions) -> None:
    """The image's own health check is a command that this Python runs, and fails where nobody answers."""
    check = dict(stages(dockerfile)["final"])["HEALTHCHECK"]
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]],
        env={"PATH": os.environ["PATH"], "BACKCHANNEL_PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program and return what it says; a failure fails the test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BACKCHANNEL_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
