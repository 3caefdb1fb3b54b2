"""`python -m backchannel.cli`: the same as `backchannel`."""

from . import main

main()
