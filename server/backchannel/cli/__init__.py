"""The command line: `backchannel`, also as `python -m backchannel.cli`.

The base install is enough to import it, and for `call`, `listen` and `version`; other commands load the server's
packages when they run.
"""

from .root import main

__all__ = ["main"]
