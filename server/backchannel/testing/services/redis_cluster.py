"""A Redis Cluster of three masters on loopback, whose slots can be moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from .process import Service, ServiceFailed, free_port
from .redis import RedisServer
from .redis_group import RedisGroup

__all__ = ["RedisCluster"]

_SLOTS: Final = 16384
_NODES: Final = 3


class RedisCluster(RedisGroup):
    """Three masters with a third of the slots each.

    Attributes:
        nodes: the servers, in the order of their first slots.

    Args:
        config: further lines of every node's configuration.
        program: Redis or Valkey.
    """

    name = "The Redis Cluster"

    def __init__(
        self, *, config: Mapping[str, str] | None = None, program: Literal["redis", "valkey"] = "redis"
    ) -> None:
        self._bus_ports = [free_port() for _ in range(_NODES)]
        self.nodes = [
            RedisServer(
                program=program,
                config={
                    "cluster-enabled": "yes",
                    "cluster-config-file": "nodes.conf",
                    "cluster-node-timeout": "2000",
                    "cluster-port": str(bus_port),
                }
                | dict(config or {}),
            )
            for bus_port in self._bus_ports
        ]

    @property
    def url(self) -> str:
        """`redis+cluster://` with all nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start the nodes and make them a cluster; returns once each says that it is up.

        Raises:
            ServiceFailed: they do not agree in time.
        """
        for number, node in enumerate(self.nodes):
            node.start()
            first, last = _SLOTS * number // _NODES, _SLOTS * (number + 1) // _NODES - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus_port in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        self.until("up", lambda: all(self._sees_all(node) for node in self.nodes))

    def _sees_all(self, node: RedisServer) -> bool:
        # A connection handshake counts as a node too, so the slots are what tells.
        info = _fields(node.command("CLUSTER", "INFO"))
        return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(_SLOTS) and info["cluster_size"] == "3"

    def owner(self, slot: int) -> RedisServer:
        """The node that serves a slot now."""
        for node in self.nodes:
            for entry in node.command("CLUSTER", "SLOTS"):
                start, end, (_, port, *_), *_ = entry
                if int(start) <= slot <= int(end) and int(port) == node.port:
                    return node
        raise ServiceFailed(f"No node serves slot {slot}.")

    def begin_move(self, slot: int, to: RedisServer) -> None:
        """Let a slot be on its way: its present node answers ASK for keys that it does not have."""
        source = self.owner(slot)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))

    def finish_move(self, slot: int, to: RedisServer) -> None:
        """Move the keys of a slot that is on its way, and let it belong to its new node."""
        source = self.owner(slot)
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *(node for node in self.nodes if node is not to and node is not source)):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", self._id(to))

    def move(self, slot: int, to: RedisServer) -> None:
        """Move a slot with its keys to another node, as resharding does."""
        self.begin_move(slot, to)
        self.finish_move(slot, to)

    def members(self) -> Sequence[Service]:
        """All servers."""
        return self.nodes

    @staticmethod
    def _id(node: RedisServer) -> str:
        found = node.command("CLUSTER", "MYID")
        return found.decode() if isinstance(found, bytes) else str(found)


def _fields(info: Any) -> dict[str, str]:
    """CLUSTER INFO's fields, whichever form redis-py gives them."""
    if isinstance(info, dict):
        return {str(name): str(value) for name, value in info.items()}
    text = info.decode() if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
