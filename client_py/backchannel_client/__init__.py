"""The asyncio client of Backchannel: ask, listen, and bots."""

from backchannel_protocol import JSON, MSGPACK, BackchannelError, Event, Malformed, Refused
from backchannel_protocol.frames import Gap, Position, Presence

from .bot import Bot
from .bot_event import BotEvent
from .client import RANDOM_KEY, Answer, Client
from .clock import Clock, Timer
from .errors import ConnectionClosed, Overflow, StateError
from .lifecycle import ClientState
from .received import Received
from .state_file import StateFile
from .subscription import Subscription
from .token import Token
from .transport import Connector, Transport, open_websocket

__all__ = [
    "JSON",
    "MSGPACK",
    "RANDOM_KEY",
    "Answer",
    "BackchannelError",
    "Bot",
    "BotEvent",
    "Client",
    "ClientState",
    "Clock",
    "ConnectionClosed",
    "Connector",
    "Event",
    "Gap",
    "Malformed",
    "Overflow",
    "Position",
    "Presence",
    "Received",
    "Refused",
    "StateError",
    "StateFile",
    "Subscription",
    "Timer",
    "Token",
    "Transport",
    "open_websocket",
]
