"""A server's processes: everything in one, or gateways and workers around Redis and PostgreSQL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .embedded import Server, serve
from .front import gateway_options
from .process import run_to_end

if TYPE_CHECKING:
    from .gateway_process import GatewayProcess
    from .supervisor import Plan, Supervisor, SupervisorFailed
    from .worker_process import WorkerProcess

__all__ = [
    "GatewayProcess",
    "Plan",
    "Server",
    "Supervisor",
    "SupervisorFailed",
    "WorkerProcess",
    "gateway_options",
    "run_to_end",
    "serve",
]

# One process needs neither the clients of Redis and PostgreSQL nor the time to load them.
_LAZY: Final = {
    "GatewayProcess": "gateway_process",
    "Plan": "supervisor",
    "Supervisor": "supervisor",
    "SupervisorFailed": "supervisor",
    "WorkerProcess": "worker_process",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{module}", __name__), name)
