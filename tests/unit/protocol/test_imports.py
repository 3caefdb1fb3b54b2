"""Imports: the protocol stands on msgspec alone, so that a bot's install stays small."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import pkgutil, sys

class OnlyMsgspec:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {"backchannel_protocol", "msgspec"} | sys.stdlib_module_names:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, OnlyMsgspec())
import backchannel_protocol
modules = [module.name for module in pkgutil.iter_modules(backchannel_protocol.__path__, "backchannel_protocol.")]
for name in modules:
    __import__(name)
print(len(modules), backchannel_protocol.JSON.decode_client(b'{"type":"pong"}'))
"""


def test_protocol_imports_msgspec_only() -> None:
    """Every module loads and works where nothing but msgspec is installed."""
    done = subprocess.run([sys.executable, "-P", "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7", "Pong()"]


def test_protocol_loads_no_event_loop() -> None:
    """The contract has no I/O: neither asyncio nor sockets."""
    probe = "import sys, backchannel_protocol; print('asyncio' in sys.modules, 'socket' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
