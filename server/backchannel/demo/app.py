"""The demo app: chat and live figures, put together as anybody would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from backchannel import App, Meta, Publisher, Refused, Server, Struct, chat, live

__all__ = ["PEOPLE", "app"]

app = App("demo")
app.include(chat.app)
app.include(live.app)

LOBBY = "chat:lobby"

PEOPLE = {"alice": "Alice", "bob": "Bob", "carol": "Carol", "dave": "Dave"}
"""The ready-made users of the demo, by name."""

_LIFETIME = 86_400.0

_PAGES = Path(__file__).parent / "static"

if _PAGES.is_dir():
    app.static("/", _PAGES)
else:

    @app.route("/")
    async def no_pages(request: Request) -> Response:
        """Say how to get the pages; everything else works without them."""
        return PlainTextResponse("The demo's pages are not built: run ./scripts/serve, or npm run build:demo.\n")


@app.on_start
async def open_lobby(publisher: Publisher) -> None:
    """See to it that there is a channel to begin with. The key makes it happen once."""
    first, *others = PEOPLE
    try:
        await publisher.call(
            "channel.create", {"id": "lobby", "name": "Lobby", "members": others}, user=first, key="demo-lobby"
        )
    except Refused as refused:
        if refused.code != "conflict":
            raise


@app.route("/demo/users", dev_only=True)
async def users(request: Request) -> Response:
    """Who may be played."""
    return JSONResponse({"users": [{"user": user, "name": name} for user, name in PEOPLE.items()]})


class _Wish(Struct):
    user: Annotated[str, Meta(max_length=128)]


@app.route("/demo/token", methods=["POST"], dev_only=True)
async def token(request: Request) -> Response:
    """A token for one of them. Only under `serve --dev`: anybody who reaches this page is let in."""
    try:
        wish = msgspec.json.decode(await request.body(), type=_Wish)
    except msgspec.MsgspecError as exc:
        return JSONResponse({"code": "invalid", "detail": str(exc)}, 400)
    if wish.user not in PEOPLE:
        return JSONResponse({"code": "not_found", "detail": f"Choose one of {', '.join(PEOPLE)}."}, 404)
    server: Server = request.state.server
    issued, expires = server.issue_token(wish.user, lifetime=_LIFETIME)
    return JSONResponse({"token": issued, "expires": expires}, headers={"cache-control": "no-store"})
