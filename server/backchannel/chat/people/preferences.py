"""Preferences: a user's settings, the same on each of their devices."""

from __future__ import annotations

from typing import Final

import msgspec

from backchannel import Context

from ..common import app
from ..limits import merge_data
from .contract import GetPreferences, Preferences, PreferencesChanged, UpdatePreferences
from .profiles import require_user
from .tables import preferences

__all__: list[str] = []

_MOST: Final = 16 * 1024


@app.handle(UpdatePreferences)
async def update_preferences(ctx: Context, request: UpdatePreferences) -> Preferences:
    """Keep what changes, and tell the user's devices all of it."""
    user = require_user(ctx)
    row = await ctx.db.get(preferences, user=user)
    before = "{}" if row is None else row.data
    merged = merge_data(before, request.data, "data", _MOST)
    data = msgspec.json.decode(merged)
    if merged == before:
        return Preferences(data)
    if row is None:
        ctx.insert(preferences, user=user, data=merged, changed=ctx.now)
    else:
        ctx.update(preferences, {"user": user}, data=merged, changed=ctx.now)
    ctx.publish(f"user:{user}", PreferencesChanged(data))
    return Preferences(data)


@app.handle(GetPreferences)
async def get_preferences(ctx: Context, request: GetPreferences) -> Preferences:
    """All of them."""
    row = await ctx.db.get(preferences, user=require_user(ctx))
    return Preferences({} if row is None else msgspec.json.decode(row.data))
