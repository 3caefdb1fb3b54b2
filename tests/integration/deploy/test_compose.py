"""The files of the deployment agree with each other and with the program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from backchannel.settings import describe, load

if TYPE_CHECKING:
    from tests.integration.deploy.conftest import Compose

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
LASTING = [name for name in SERVICES if name != "migrate"]
OURS = [name for name in SERVICES if name.startswith(("gateway-", "worker-", "migrate"))]
UNITS = {"k": 1e3, "kb": 2**10, "mb": 2**20, "gb": 2**30, "K": 2**10, "M": 2**20, "G": 2**30}


def size(text: str) -> float:
    """Bytes of `384mb` or `512M`."""
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def seconds(text: str) -> float:
    """Of `45s`."""
    return float(text.removesuffix("s"))


def conf(name: str) -> str:
    """A configuration file without its comments."""
    return re.sub(r"#.*", "", (DEPLOY / name).read_text())


def redis_values(name: str) -> list[list[str]]:
    """The words behind each line of this name in redis.conf."""
    return [line.split()[1:] for line in conf("redis.conf").splitlines() if line.split()[:1] == [name]]


def test_it_has_what_was_asked_for() -> None:
    """Redis, PostgreSQL, two gateways behind a balancer, two workers, a job for the tables, and metrics apart."""
    assert set(SERVICES) == {
        "balancer", "gateway-1", "gateway-2", "worker-1", "worker-2", "migrate", "redis", "postgres", "prometheus",
    }  # fmt: skip
    assert [name for name in SERVICES if SERVICES[name].get("profiles")] == ["prometheus"]
    # Built once, by the one that all others of ours wait for: several builds of one tag at once fail.
    assert [name for name in SERVICES if "build" in SERVICES[name]] == ["migrate"]
    assert len({SERVICES[name]["image"] for name in OURS}) == 1
    assert all("migrate" in SERVICES[name]["depends_on"] for name in OURS if name != "migrate")


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_bounded_and_has_few_rights(name: str) -> None:
    """No service can eat the machine, fill its disk with logs, or become more than it is."""
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert 0 < float(limits["cpus"]) <= 2
    assert 2**27 < size(limits["memory"]) < 2**32
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped")
    # The images of ours and of Prometheus say so themselves.
    assert name in OURS or name == "prometheus" or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert "latest" not in service["image"]


@pytest.mark.parametrize("name", LASTING)
def test_each_can_be_asked_whether_it_is_well(name: str) -> None:
    """Whoever waits for a service, or looks, is told; `test_stack.py` runs these."""
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) <= 5
    assert seconds(SERVICES[name]["stop_grace_period"]) >= 15


def test_only_the_balancer_is_published() -> None:
    """By default on this machine alone; the data is on a network without a way in or out."""
    published = {name: SERVICES[name]["ports"] for name in SERVICES if "ports" in SERVICES[name]}
    assert published == {"balancer": ["${PUBLISH:-127.0.0.1:8000}:8080"], "prometheus": ["127.0.0.1:9090:9090"]}
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert file["networks"]["back"]["internal"] is True
    assert [name for name in SERVICES if list(SERVICES[name]["networks"]) == ["back"]] == [
        "worker-1", "worker-2", "migrate", "redis", "postgres",
    ]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str, compose: Compose, tmp_path: Path) -> None:
    """Each variable is a setting, and its value fits; what is secret is not among them, but in files."""
    environment = compose.environment(name)
    assert environment
    secret = {info.name for info in describe() if not info.flag} | {"redis", "postgres"}
    assert not {variable.removeprefix("BACKCHANNEL_").lower() for variable in environment} & secret
    subprocess.run([DEPLOY / "make-secrets", tmp_path], check=True, capture_output=True)
    there = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environment.items()}
    settings, warnings = load(environ=there)
    assert warnings == []
    assert settings.postgres.startswith("postgresql://backchannel:")
    files = {Path(value).name for value in environment.values() if value.startswith("/run/secrets/")}
    assert files == set(compose.services[name]["secrets"])


def test_the_demo_can_be_played(compose: Compose) -> None:
    """With BACKCHANNEL_DEV=true the ready-made users may sign in, and a drain is as long as without."""
    given = type(compose)({"BACKCHANNEL_DEV": "true"}).environment("gateway-1")
    settings, _warnings = load(environ={name: value for name, value in given.items() if not name.endswith("_FILE")})
    assert (settings.dev, settings.drain) == (True, 30.0)
    assert compose.environment("gateway-1")["BACKCHANNEL_DEV"] == "false"


def test_secrets_are_made(tmp_path: Path, compose: Compose) -> None:
    """Every secret's file is made by one command, in a folder closed to others; a second time changes nothing."""
    subprocess.run([DEPLOY / "make-secrets", tmp_path / "made"], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "made").iterdir()}
    assert {Path(secret["file"]).name for secret in compose.file["secrets"].values()} <= made.keys()
    assert {Path(secret["file"]).parent.as_posix() for secret in compose.file["secrets"].values()} == {"deploy/secrets"}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert made["secret"] != made["postgres_password"] != made["redis_password"]
    assert made["redis_password"].strip() not in made["redis_users"]
    again = subprocess.run([DEPLOY / "make-secrets", tmp_path / "made"], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert {file.name: file.read_text() for file in (tmp_path / "made").iterdir()} == made
    tracked = subprocess.run(
        ["git", "check-ignore", "deploy/secrets/secret"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert tracked.returncode in (0, 128), "deploy/secrets/ is not ignored by git"


def test_gateways_are_where_the_balancer_looks(compose: Compose) -> None:
    """Names, ports and fixed addresses are the same in the compose file and for nginx; gateways trust nginx alone."""
    gateways = compose.named("gateway-")
    servers = re.findall(r"server ([\w-]+):(\d+) ", conf("nginx.conf"))
    assert servers == [(name, compose.environment(name)["BACKCHANNEL_PORT"]) for name in gateways]
    hosts = [f"{name}:{compose.address(name)}" for name in gateways]
    assert compose.services["balancer"]["extra_hosts"] == hosts
    assert len({compose.address(name) for name in [*gateways, "balancer"]}) == len(gateways) + 1
    for name in gateways:
        assert compose.environment(name)["BACKCHANNEL_TRUSTED_PROXIES"] == compose.address("balancer")
    assert "X-Forwarded-For $proxy_add_x_forwarded_for" in conf("nginx.conf")
    assert re.findall(r"listen (\d+)", conf("nginx.conf")) == [compose.services["balancer"]["ports"][0].split(":")[-1]]
    # No sticky sessions: nothing but the number of connections decides.
    assert not re.search(r"\b(ip_hash|hash|sticky)\b", conf("nginx.conf"))


def test_prometheus_asks_every_process(compose: Compose) -> None:
    """Its targets are the gateways and workers, at the ports where they tell."""
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    port = {"gateway": "BACKCHANNEL_PORT", "worker": "BACKCHANNEL_HEALTH_PORT"}
    assert found == {
        kind: [f"{name}:{compose.environment(name)[port[kind]]}" for name in compose.named(f"{kind}-")]
        for kind in ("gateway", "worker")
    }


def test_alerts_are_told_apart_and_tell_what_to_do() -> None:
    """Each alert has a severity, a summary, and a place in the documentation."""
    rules: list[dict[str, Any]] = [
        rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]
    assert len(rules) == len({rule["alert"] for rule in rules}) >= 8
    page = (ROOT / "docs" / "howto" / "production.md").read_text()
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert f"`{rule['alert']}`" in page, rule["alert"]


def test_time_outs_outlast_what_they_wait_for(compose: Compose) -> None:
    """A quiet WebSocket is not cut, a drain is not killed, and an answer of the gateway comes before nginx's own."""
    settings, _ = load(environ={})
    spans = [int(span) for span in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", conf("nginx.conf"))]
    assert len(spans) == 4
    assert min(spans[:2]) > settings.ping + settings.grace
    assert min(spans[2:]) > settings.handler_timeout
    for name in compose.named("gateway-"):
        drain = float(compose.environment(name)["BACKCHANNEL_DRAIN"])
        assert seconds(compose.services[name]["stop_grace_period"]) >= drain + 10
    for name in compose.named("worker-"):
        assert seconds(compose.services[name]["stop_grace_period"]) >= settings.handler_timeout + 10
    shutdown = re.search(r"worker_shutdown_timeout (\d+)s", conf("nginx.conf"))
    assert shutdown
    assert seconds(compose.services["balancer"]["stop_grace_period"]) > int(shutdown[1])


def test_redis_has_room(compose: Compose) -> None:
    """What it may hold and what slow subscribers may leave unread fit into its memory; it never evicts."""
    limits = {values[0]: values[1:] for values in redis_values("client-output-buffer-limit")}
    hard, soft, span = limits["pubsub"]
    assert size(hard) > size("32mb")  # the default, which has made gateways deaf
    assert size(hard) > size(soft) > size("8mb")
    assert int(span) <= 60
    processes = len(compose.named("gateway-")) + len(compose.named("worker-"))
    [[maxmemory]] = redis_values("maxmemory")
    memory = size(compose.services["redis"]["deploy"]["resources"]["limits"]["memory"])
    assert size(maxmemory) + processes * size(hard) < memory
    assert redis_values("maxmemory-policy") == [["noeviction"]]
    assert redis_values("appendonly") == [["yes"]]
    assert redis_values("aclfile") == [["/run/secrets/redis_users"]]


def test_files_and_backlogs_are_allowed(compose: Compose) -> None:
    """Open files suffice for two per client at the balancer; a storm of connects finds a queue that is long enough."""
    workers = re.search(r"worker_connections (\d+)", conf("nginx.conf"))
    files = re.search(r"worker_rlimit_nofile (\d+)", conf("nginx.conf"))
    assert workers
    assert files
    for name in ["balancer", *compose.named("gateway-")]:
        service = compose.services[name]
        assert service["ulimits"]["nofile"]["hard"] >= int(files[1]) >= 2 * int(workers[1])
        assert service["sysctls"]["net.core.somaxconn"] >= 4096
    assert "backlog=4096" in conf("nginx.conf")
    assert redis_values("tcp-backlog") == [[str(compose.services["redis"]["sysctls"]["net.core.somaxconn"])]]


def test_postgres_has_connections(compose: Compose) -> None:
    """Twice what all processes hold fits, since a rolling restart has old and new ones, and some is left for you."""
    [allowed] = [
        int(word.removeprefix("max_connections=")) for word in compose.command("postgres") if "max_conn" in word
    ]
    processes = [*compose.named("gateway-"), *compose.named("worker-")]
    held = sum(int(compose.environment(name)["BACKCHANNEL_POSTGRES_POOL"]) for name in processes)
    assert 2 * held + 10 <= allowed


def test_redis_lets_backchannel_do_what_it_does_and_no_more(tmp_path: Path) -> None:
    """The rights of the user in Redis are those of the commands that scripts and the bus use, on keys with the prefix
    alone; the page shows the same line."""
    subprocess.run([DEPLOY / "make-secrets", tmp_path], check=True, capture_output=True)
    _everybody, line = (tmp_path / "redis_users").read_text().splitlines()
    rules = line.split()
    given = {rule[1:] for rule in rules if rule[0] == "+"}
    used = {"ping", "select", "publish", "subscribe", "unsubscribe", "eval", "evalsha"}
    for file in (ROOT / "server" / "backchannel").rglob("*"):
        if file.suffix in (".lua", ".py"):
            words = re.findall(r"redis\.p?call\('([A-Z]+)'|bus\.call\(\s*\"([A-Z]+)\"", file.read_text())
            used |= {(first or second).lower() for first, second in words}
    assert given == used
    assert [rule for rule in rules if rule[0] in "~&"] == ["~backchannel:*", "&backchannel:*"]
    hashed = re.sub(r"#[0-9a-f]{64}", "#SHA256_OF_THE_PASSWORD resetkeys resetchannels", line)
    assert hashed in (ROOT / "docs" / "howto" / "production.md").read_text()


def test_the_page_quotes_what_is_said() -> None:
    """What the table of failures quotes from `/readyz` and from the logs is in the program, word for word."""
    text = (ROOT / "docs" / "howto" / "production.md").read_text()
    table = text.partition("| /readyz |")[2].partition("\n\n")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines()[2:]]
    assert len(rows) > 15
    source = "".join(file.read_text() for file in (ROOT / "server" / "backchannel").rglob("*.py"))
    reasons = {reason for row in rows for reason in re.findall(r"`[a-z]+`: ([a-z][a-z ]+[a-z])", row[2])}
    logged = {phrase for row in rows for phrase in re.findall(r"`([a-z]+ [a-z ]+)`", row[4])}
    assert len(reasons) == 3
    assert len(logged) >= 5
    assert {phrase for phrase in reasons | logged if phrase not in source} == set()
