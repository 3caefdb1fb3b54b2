"""One target under Atheris, in a process of its own: `python -m tests.fuzz.atheris_run TARGET SECONDS [LIBFUZZER …]`.

It must import the code under test itself, to have its branches counted.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["backchannel.gateway", "backchannel.session", "backchannel_protocol"]):
    from .progress import Progress
    from .targets import TARGETS

if __name__ == "__main__":
    name, seconds, *arguments = sys.argv[1:]
    progress = Progress(TARGETS[name], float(seconds))
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *arguments], progress.check)
    atheris.Fuzz()
