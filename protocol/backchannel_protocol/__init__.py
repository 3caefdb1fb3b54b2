"""Backchannel's wire, version 1: the one definition that everything else is derived from."""

from .codec import CODECS, JSON, MSGPACK, Codec
from .codes import CLOSE_CODES, ERROR_CODES, CloseCode, Outcome, is_final
from .errors import BackchannelError, Malformed, Refused
from .limits import PROTOCOL_VERSION, Limits
from .requests import Command, Event, Query, Request

__all__ = [
    "CLOSE_CODES",
    "CODECS",
    "ERROR_CODES",
    "JSON",
    "MSGPACK",
    "PROTOCOL_VERSION",
    "BackchannelError",
    "CloseCode",
    "Codec",
    "Command",
    "Event",
    "Limits",
    "Malformed",
    "Outcome",
    "Query",
    "Refused",
    "Request",
    "is_final",
]
