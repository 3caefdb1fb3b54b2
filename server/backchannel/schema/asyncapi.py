"""The contract of an app's WebSocket as AsyncAPI 3.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from backchannel_protocol import ERROR_CODES, PROTOCOL_VERSION, frames
from backchannel_protocol.limits import CHANNEL_PATTERN, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK

from ..app import App, EventDeclaration, Namespace, RequestDeclaration
from .components import Schema, components, mapped
from .words import doc_of, meaning

__all__ = ["asyncapi"]

_SOCKET: Final = "webSocket"
"""The one channel that is a WebSocket; no namespace is called so, for it has a capital."""

_FRAMES: Final = (frames.Call, frames.Reply, frames.Error, frames.Event, frames.Publish)

_Frames = Mapping[Any, Schema]
"""Frames' schemas, by their structs."""

_ABOUT: Final = f"""\
What travels over the app's WebSocket, told from the server's side: it receives calls and sends replies and events.
One connection at `/ws` carries everything, in the subprotocol `{SUBPROTOCOL_JSON}` or `{SUBPROTOCOL_MSGPACK}`. The
client sends `connect` first; then calls are answered by their `id`, and after `subscribe` the events of a channel
follow. The frames around these, and the rules of all, are version {PROTOCOL_VERSION} of the Backchannel protocol."""


def asyncapi(app: App) -> dict[str, Any]:
    """One document with all calls and channels; the same declarations give the same document."""
    requests = sorted(app.offered().items())
    events = sorted(app.events.items())
    namespaces = sorted(app.all_namespaces().items())
    wanted = [type_ for _, request in requests for type_ in (request.cls, request.reply)]
    wanted += [event.cls for _, event in events]
    schemas, definitions = components([*_FRAMES, *wanted], "#/components/schemas/{name}")
    frame: _Frames = {cls: definitions.pop(_named(schema)) for cls, schema in zip(_FRAMES, schemas, strict=False)}
    parts = iter(schemas[len(_FRAMES) :])
    messages: dict[str, Any] = {"error": _error(frame[frames.Error])}
    for name, request in requests:
        messages |= _calls(name, request, next(parts), next(parts), frame)
    for name, event in events:
        messages |= _events(name, event, next(parts), frame)
    if not any(namespace.cls.clients_may_publish for _, namespace in namespaces):
        messages = {key: message for key, message in messages.items() if not key.startswith("publish.")}
    socket = [key for key in messages if not key.startswith(("event.", "publish."))]
    channels = {_SOCKET: _socket(socket)}
    operations = {f"call.{name}": _call(name, request) for name, request in requests}
    for name, namespace in namespaces:
        channels[name] = _channel(name, namespace.cls, [event for event, _ in events])
        operations |= _operations(name, namespace.cls, [event for event, _ in events])
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": app.name, "version": str(PROTOCOL_VERSION), "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": dict(sorted(operations.items())),
        "components": {
            "securitySchemes": {
                "userToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A user's token, in `connect` or in the handshake's `Authorization` header.",
                }
            },
            "messages": dict(sorted(messages.items())),
            "schemas": definitions,
        },
    }
    plain: dict[str, Any] = mapped(document, _older)
    return plain


# Messages


def _calls(name: str, request: RequestDeclaration, data: Schema, reply: Schema, frame: _Frames) -> dict[str, Any]:
    call = _with(frame[frames.Call], name={"const": name}, data=data)
    if request.kind == "query":
        del call["properties"]["key"]
    found = {
        f"call.{name}": _message(name, meaning(request), call, answered=True),
        f"reply.{name}": _message(name, "", _with(frame[frames.Reply], data=reply), answered=True),
    }
    if request.errors:
        codes = {"enum": sorted(request.errors)}
        found[f"refused.{name}"] = _message(name, "", _with(frame[frames.Error], code=codes), answered=True)
    return found


def _error(frame: Schema) -> dict[str, Any]:
    codes = {"enum": list(ERROR_CODES)}
    return _message("error", "The answer to any request that is refused.", _with(frame, code=codes), answered=True)


def _events(name: str, event: EventDeclaration, data: Schema, frame: _Frames) -> dict[str, Any]:
    heard = _with(frame[frames.Event], name={"const": name}, data=data)
    if event.ephemeral:
        del heard["properties"]["offset"]
    told = doc_of(event.cls)
    return {
        f"event.{name}": _message(name, told, heard),
        f"publish.{name}": _message(name, told, _with(frame[frames.Publish], name={"const": name}, data=data)),
    }


def _message(name: str, told: str, payload: Schema, *, answered: bool = False) -> dict[str, Any]:
    message: dict[str, Any] = {"name": name, "title": payload["description"]}
    if told:
        message["summary"] = told
    if answered:
        message["correlationId"] = {"location": "$message.payload#/id"}
    return {**message, "payload": payload}


def _with(frame: Schema, **properties: Schema) -> Schema:
    """A frame with some of its fields told more exactly."""
    changed = {
        name: {**{key: value for key, value in frame["properties"][name].items() if key == "description"}, **told}
        for name, told in properties.items()
    }
    return {**frame, "properties": {**frame["properties"], **changed}}


# Channels


def _socket(messages: Iterable[str]) -> dict[str, Any]:
    protocol = {"type": "string", "enum": [SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK]}
    headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": protocol}}
    return {
        "address": "/ws",
        "title": "The WebSocket",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(messages)},
        "bindings": {"ws": {"method": "GET", "headers": headers, "bindingVersion": "0.1.0"}},
    }


def _channel(name: str, namespace: type[Namespace], events: Iterable[str]) -> dict[str, Any]:
    kinds = ("event", "publish") if namespace.clients_may_publish else ("event",)
    keys = [f"{kind}.{event}" for kind in kinds for event in events]
    grammar = CHANNEL_PATTERN.partition(":")[2].removesuffix(r"$(?!\n)")
    channel: dict[str, Any] = {
        "address": f"{name}:{{name}}",
        "title": f"The channels {name}:…",
        "parameters": {"name": {"description": f"What follows the colon: {grammar}."}},
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in keys},
        "x-backchannel": {"kind": namespace.kind, "presence": namespace.presence, "slow": namespace.slow},
    }
    if told := doc_of(namespace):
        channel["description"] = told
    return channel


# Operations


def _call(name: str, request: RequestDeclaration) -> dict[str, Any]:
    answers = [f"reply.{name}", *([f"refused.{name}"] if request.errors else []), "error"]
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{_SOCKET}"},
        "summary": meaning(request) or name,
        "security": [{"$ref": "#/components/securitySchemes/userToken"}],
        "messages": [{"$ref": f"#/channels/{_SOCKET}/messages/call.{name}"}],
        "reply": {
            "channel": {"$ref": f"#/channels/{_SOCKET}"},
            "messages": [{"$ref": f"#/channels/{_SOCKET}/messages/{answer}"} for answer in answers],
        },
    }


def _operations(name: str, namespace: type[Namespace], events: list[str]) -> dict[str, Any]:
    """What happens on the channels of a namespace. Which of the events those are is the app's to know."""
    actions = {"event": "send", **({"publish": "receive"} if namespace.clients_may_publish else {})}
    return {
        f"{kind}.{name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{kind}.{event}"} for event in events],
        }
        for kind, action in actions.items()
    }


def _older(node: dict[str, Any]) -> dict[str, Any]:
    """As JSON Schema draft 7 says it, which AsyncAPI's own schemas extend."""
    node = {key: value for key, value in node.items() if key != "discriminator" or isinstance(value, str)}
    if "prefixItems" in node:
        items = {"items": node.pop("prefixItems")}
        if "items" in node:
            items["additionalItems"] = node.pop("items")
        node |= items
    return node


def _named(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
