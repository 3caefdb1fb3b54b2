"""A bot that rolls dice, chooses for you, and tells the load of its host.

Start the server with ./scripts/serve, then:

    export BACKCHANNEL_TOKEN=$(.venv/bin/backchannel token --user dicebot)
    .venv/bin/python examples/bot.py --state .data/dicebot.state

and write `/roll 2d6`, `/choose tea "hot chocolate"`, `/load` or `/help` in the lobby. With a state file it answers what
was written while it was away.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import re
import sys
from typing import Annotated, Any

from msgspec import Meta

from backchannel_client import BackchannelError, Bot, BotEvent, Gap

log = logging.getLogger("dicebot")

MOST_DICE = 100
MOST_SIDES = 1000
DICE = re.compile(r"(?P<count>\d{0,4})[dD](?P<sides>\d{1,5})(?P<bonus>[+-]\d{1,5})?")

Dice = Annotated[
    str, Meta(pattern=f"^{DICE.pattern}$", description="dice", examples=["2d6", "d20", "3d8+2"], max_length=20)
]


def roll(dice: str, chance: random.Random) -> str:
    """Roll dice written as `2d6`, `d20` or `3d8+2`.

    Raises:
        ValueError: nobody has such dice; the message says what to write.
    """
    match = DICE.fullmatch(dice)
    if match is None:
        raise ValueError("Write dice as 2d6, d20 or 3d8+2.")
    count, sides = int(match["count"] or 1), int(match["sides"])
    bonus = int(match["bonus"] or 0)
    if not 1 <= count <= MOST_DICE:
        raise ValueError(f"I can roll 1 to {MOST_DICE} dice at once.")
    if not 2 <= sides <= MOST_SIDES:
        raise ValueError(f"My dice have 2 to {MOST_SIDES} sides.")
    rolled = [chance.randint(1, sides) for _ in range(count)]
    sum_ = " + ".join(map(str, rolled)) + (f" {'+' if bonus > 0 else '-'} {abs(bonus)}" if bonus else "")
    total = sum(rolled) + bonus
    name = f"{count}d{sides}{match['bonus'] or ''}"
    return f"{name}: {total}" if count == 1 and not bonus else f"{name}: {sum_} = {total}"


def load() -> str:
    """This host's load, in a sentence. It takes a moment to measure."""
    try:
        import psutil
    except ImportError:
        one, five, fifteen = os.getloadavg()
        return f"Load {one:.2f}, {five:.2f}, {fifteen:.2f} (1, 5, 15 minutes) on {os.cpu_count()} cores."
    cpu = psutil.cpu_percent(interval=0.3)
    memory = psutil.virtual_memory()
    used, total = memory.used / 2**30, memory.total / 2**30
    return f"CPU {cpu:.0f} % of {psutil.cpu_count()} cores, memory {used:.1f} of {total:.1f} GiB."


def make_bot(url: str, token: str, join: list[str], chance: random.Random, state: str | None = None) -> Bot:
    """The bot with its commands."""
    bot = Bot(url, token=token, join=join, state=state)

    @bot.command("roll")
    async def answer_roll(event: BotEvent[Any], dice: Dice = "1d6") -> None:
        """Roll dice."""
        try:
            await event.reply(f"🎲 {roll(dice, chance)}")
        except ValueError as exc:
            await event.reply(str(exc))

    @bot.command("choose")
    async def answer_choose(event: BotEvent[Any], first: str, second: str, *others: str) -> None:
        """Choose one of several things."""
        await event.reply(f"I would take {chance.choice([first, second, *others])}.")

    @bot.command("load")
    async def answer_load(event: BotEvent[Any]) -> None:
        """Tell what this host is doing."""
        await event.reply(await asyncio.to_thread(load))

    @bot.on_gap
    async def missed(gap: Gap) -> None:
        # Nobody waits for an answer from so long ago: the bot says nothing and goes on.
        log.info("Some messages of %s are gone", gap.channel)

    return bot


def main() -> int:
    """Read the command line and serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A bot that answers /roll 2d6, /choose, /load and /help.")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/ws", help="the server (%(default)s)")
    parser.add_argument(
        "--token",
        default=os.environ.get("BACKCHANNEL_TOKEN"),
        help="the bot's token; better in the environment, as BACKCHANNEL_TOKEN",
    )
    parser.add_argument(
        "--join", action="append", metavar="CHANNEL", help="join a channel first; may be repeated (chat:lobby)"
    )
    parser.add_argument("--state", metavar="FILE", help="where the bot remembers how far it came")
    options = parser.parse_args()
    if not options.token:
        parser.error("no token: set BACKCHANNEL_TOKEN=$(backchannel token --user dicebot)")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    join = options.join or ["chat:lobby"]
    try:
        make_bot(options.url, options.token, join, random.SystemRandom(), options.state).run()
    except BackchannelError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
