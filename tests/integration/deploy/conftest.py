"""The services of docker-compose.yml as processes on loopback: their own commands, environments and files.

Only host names, ports and paths are others, so that no container engine is needed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from backchannel.auth.tokens import issue_token
from backchannel.testing.services import Nginx, PostgresServer, RedisServer, free_port
from backchannel.testing.services.process import Service, program

ROOT = Path(__file__).parents[3]

_VARIABLE = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")


class Compose:
    """docker-compose.yml, with anchors merged and variables replaced."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        """
        Args:
            variables: what the shell that starts it has set.
        """
        given = variables or {}
        text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
        self.file: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda found: given.get(found[1]) or found[2], text))
        self.services: dict[str, dict[str, Any]] = self.file["services"]

    def command(self, service: str) -> list[str]:
        """What its container runs, without the image's entry point."""
        return list(self.services[service]["command"])

    def environment(self, service: str) -> dict[str, str]:
        """The variables that it gets."""
        return dict(self.services[service].get("environment", {}))

    def named(self, beginning: str) -> list[str]:
        """The services whose names begin so, in order."""
        return [name for name in self.services if name.startswith(beginning)]

    def address(self, service: str) -> str | None:
        """Its fixed address, if it has one."""
        networks = self.services[service]["networks"]
        front = networks.get("front") if isinstance(networks, dict) else None
        return front["ipv4_address"] if front else None


class Ours(Service):
    """A `backchannel` process with the environment of a container."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], port: int) -> None:
        super().__init__(port=port)
        self._words = list(command)
        self._environment = environment

    @property
    def words(self) -> list[str]:
        """What is run."""
        environment = [f"{name}={value}" for name, value in self._environment.items()]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return [
            program("env", package="coreutils"), "-i", f"PATH={path}", *environment,
            sys.executable, "-P", "-m", "backchannel.cli", *self._words,
        ]  # fmt: skip

    def _command(self) -> Sequence[str]:
        return self.words

    def _answers(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """What it answers: status, 0 where nobody does, and body."""
        return get(f"http://127.0.0.1:{self.port}{path}")

    def measure(self, name: str) -> float:
        """One of its metrics, of which it has one without labels."""
        _status, text = self.get("/metrics")
        found = re.search(rf"^{name} (\S+)$", text, re.M)
        assert found, f"there is no {name} in\n{text}"
        return float(found[1])

    def told_to_end(self, seconds: float) -> int:
        """Send it SIGTERM; returns its exit status. Raises `TimeoutExpired` if it takes longer."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(seconds)
        self._process = None
        return status

    @property
    def said(self) -> str:
        """Its log."""
        return self.log.read_text()


def get(url: str) -> tuple[int, str]:
    """Status, 0 where nobody answers, and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


_INSIDE = {"redis": 6379, "postgres": 5432, "balancer": 8080}
_OURS = 8000


@dataclass
class Here:
    """Where this machine has what the containers have: ports by service, and the folder of secrets."""

    compose: Compose
    ports: dict[str, int]
    secrets: Path

    def text(self, text: str, service: str) -> str:
        """A text for a service (a URL, a command, a configuration) with this machine's hosts, ports and paths."""
        for name, port in self.ports.items():
            text = re.sub(rf"(?<![\w.-]){name}:{_INSIDE.get(name, _OURS)}\b", f"127.0.0.1:{port}", text)
            if address := self.compose.address(name):
                text = text.replace(address, "127.0.0.1")
        if service in self.ports:
            text = re.sub(rf"\b{_INSIDE.get(service, _OURS)}\b", str(self.ports[service]), text)
        return text.replace("0.0.0.0", "127.0.0.1").replace("/run/secrets", str(self.secrets))


class Stack:
    """All services, up."""

    def __init__(self, compose: Compose, folder: Path, stack: ExitStack) -> None:
        secrets = folder / "secrets"
        subprocess.run([ROOT / "deploy" / "make-secrets", secrets], check=True, capture_output=True)
        ports = {name: free_port() for name in compose.services if name not in ("migrate", "prometheus")}
        self.compose = compose
        self.here = Here(compose, ports, secrets)
        for url in ("postgres_url", "redis_url"):
            text = (secrets / url).read_text()
            (secrets / url).unlink()
            (secrets / url).write_text(self.here.text(text, ""))
        self.redis = stack.enter_context(RedisServer(config=self._redis_config(), port=ports["redis"]))
        self.postgres = PostgresServer(config=self._postgres_config(), port=ports["postgres"])
        stack.enter_context(self.postgres)
        database = compose.environment("postgres")["POSTGRES_DB"]
        self.postgres.execute(f"CREATE DATABASE {database}")
        self.run("migrate")
        self.migrated = self.postgres.execute("SELECT relname FROM pg_class WHERE relkind = 'r'", database)
        """The tables that are there before any worker has started."""
        self.workers = [self.ours(name) for name in compose.named("worker-")]
        self.gateways = [self.ours(name) for name in compose.named("gateway-")]
        ours = [*self.workers, *self.gateways]
        # All at once. A service dies with the thread that started it, so these threads stay until the end.
        pool = stack.enter_context(ThreadPoolExecutor(len(ours)))
        for each in ours:
            stack.callback(each.stop)
        list(pool.map(Service.start, ours))
        self.balancer = stack.enter_context(Nginx(self._nginx_config(), port=ports["balancer"]))

    def _redis_config(self) -> dict[str, str]:
        config = {}
        for line in (ROOT / "deploy" / "redis.conf").read_text().splitlines():
            if line and not line.startswith("#"):
                name, *values = line.split()
                # It comes once for each kind of client.
                count = 1 if name == "client-output-buffer-limit" else 0
                config[" ".join([name, *values[:count]])] = self.here.text(" ".join(values[count:]), "redis")
        return config | {"bind": "127.0.0.1", "dir": "."}

    def _postgres_config(self) -> dict[str, str]:
        program_, *words = self.compose.command("postgres")
        assert (program_, set(words[::2])) == ("postgres", {"-c"})
        return dict(word.split("=", 1) for word in words[1::2])

    def _nginx_config(self) -> str:
        text = self.here.text((ROOT / "deploy" / "nginx.conf").read_text(), "balancer")
        return text.replace("listen ", "listen 127.0.0.1:")

    def ours(self, service: str) -> Ours:
        """A gateway or a worker, not yet started."""
        variables = self.compose.environment(service)
        environment = {name: self.here.text(value, service) for name, value in variables.items()}
        return Ours(self.compose.command(service), environment, self.here.ports.get(service) or free_port())

    def run(self, service: str) -> None:
        """Run a service that ends. Raises `ServiceFailed` with what it said."""
        ours = self.ours(service)
        try:
            ours.run(ours.words)
        finally:
            ours.stop()

    def health_check(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the command that says whether a service is well."""
        kind, *words = self.compose.services[service]["healthcheck"]["test"]
        words = [self.here.text(word, service) for word in words]
        words = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        if words[0] == "python":
            words[0] = sys.executable
        elif words[0] == "pg_isready":
            words[0] = program(
                "pg_isready", folders=sorted(Path("/usr/lib/postgresql").glob("*/bin")), package="postgresql"
            )
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)

    @property
    def url(self) -> str:
        """The WebSocket, through the balancer."""
        return f"ws://127.0.0.1:{self.balancer.port}/ws"

    def token(self, user: str) -> str:
        """A token that every gateway accepts."""
        return issue_token((self.here.secrets / "secret").read_text().strip().encode(), user, lifetime=600)

    def connections(self) -> list[float]:
        """How many connections each gateway has; 0 where it is away."""
        there = [gateway.get("/healthz")[0] == 200 for gateway in self.gateways]
        return [
            gateway.measure("backchannel_connections") if is_there else 0.0
            for gateway, is_there in zip(self.gateways, there, strict=True)
        ]


@pytest.fixture(scope="session")
def compose() -> Compose:
    """The file, as it is without any variable."""
    return Compose()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services of the file, up; a drain is short, so that tests need not wait for what is spread over it."""
    with ExitStack() as opened:
        yield Stack(Compose({"BACKCHANNEL_DRAIN": "4"}), tmp_path_factory.mktemp("deploy"), opened)


@pytest.fixture(scope="session")
def dockerfile() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: word and rest, each in one line."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]
