"""The public names are a promise: adding one is a decision, removing one breaks somebody's program."""

from __future__ import annotations

import backchannel
import backchannel_client
import backchannel_protocol

PROTOCOL = """
    CLOSE_CODES CODECS ERROR_CODES JSON MSGPACK PROTOCOL_VERSION BackchannelError CloseCode Codec Command
    Event Limits Malformed Outcome Query Refused Request is_final
"""
CLIENT = """
    JSON MSGPACK RANDOM_KEY Answer BackchannelError Bot BotEvent Client ClientState Clock ConnectionClosed Connector
    Event Gap Malformed Overflow Position Presence Received Refused StateError StateFile Subscription Timer Token
    Transport open_websocket
"""
SERVER = """
    App Asker BackchannelError Bot Client Command ConnectionClosed Context Event LogPart LoggedEvent Meta Namespace
    Publisher Query Refused RegistrationError Request RunningServer Server Settings Struct measure
    problem_response serve
"""


def test_names_of_the_protocol() -> None:
    """`backchannel_protocol` offers these names, each of which exists."""
    assert sorted(backchannel_protocol.__all__) == sorted(PROTOCOL.split())
    assert all(hasattr(backchannel_protocol, name) for name in PROTOCOL.split())


def test_names_of_the_client() -> None:
    """`backchannel_client` offers these names, each of which exists."""
    assert sorted(backchannel_client.__all__) == sorted(CLIENT.split())
    assert all(hasattr(backchannel_client, name) for name in CLIENT.split())


def test_names_of_the_server() -> None:
    """`backchannel` offers these names, each of which exists, those that load on first use too."""
    assert sorted(backchannel.__all__) == sorted(SERVER.split())
    assert all(hasattr(backchannel, name) for name in SERVER.split())
