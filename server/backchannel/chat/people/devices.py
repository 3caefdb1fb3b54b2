"""Devices: what a user uses, and how pushes reach it."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from backchannel import Context, Refused

from ..common import app
from .contract import Device, DeviceList, DeviceRemoved, ListDevices, RegisterDevice, RemoveDevice
from .profiles import require_operator, require_user
from .tables import devices

__all__: list[str] = []

_MOST: Final = 50


@app.handle(RegisterDevice)
async def register_device(ctx: Context, request: RegisterDevice) -> Device:
    """Keep it, and take its push token from whoever had it before."""
    user = require_user(ctx)
    if bool(request.push_kind) != bool(request.push_token):
        raise Refused("invalid", "Give `push_kind` with `push_token`, or none of the two.", details={"reason": "push"})
    row = await ctx.db.get(devices, user=user, device=request.device)
    values = {
        "name": request.name.strip(),
        "platform": request.platform,
        "push_kind": request.push_kind,
        "push_token": request.push_token,
    }
    if row is None:
        await _refuse_many(ctx, user)
    if request.push_token:
        await _take_token(ctx, user, request)
    created = ctx.now if row is None else row.created
    if row is None:
        ctx.insert(devices, user=user, device=request.device, created=created, changed=ctx.now, **values)
    else:
        ctx.update(devices, {"user": user, "device": request.device}, changed=ctx.now, **values)
    return Device(device=request.device, created=created, changed=ctx.now, **{**values, "push_token": ""})


async def _refuse_many(ctx: Context, user: str) -> None:
    count = await ctx.db.value(
        sa.select(sa.func.count()).select_from(devices).where(devices.c.app == ctx.app, devices.c.user == user)
    )
    if count >= _MOST:
        raise Refused(
            "too_large",
            f"A user has {_MOST} devices at most; remove one that is not used any more.",
            details={"reason": "devices", "limit": _MOST},
        )


async def _take_token(ctx: Context, user: str, request: RegisterDevice) -> None:
    """Who used the device before would see what is pushed to it now."""
    others = await ctx.db.rows(
        sa.select(devices.c.user, devices.c.device).where(
            devices.c.app == ctx.app,
            devices.c.push_kind == request.push_kind,
            devices.c.push_token == request.push_token,
            sa.or_(devices.c.user != user, devices.c.device != request.device),
        )
    )
    for other in others:
        # Nothing that was read is written back, so it does no harm that this may be another user's row.
        ctx.update(devices, {"user": other.user, "device": other.device}, push_kind="", push_token="")


@app.handle(RemoveDevice)
async def remove_device(ctx: Context, request: RemoveDevice) -> DeviceRemoved:
    """Forget it, with its push token."""
    ctx.delete(devices, {"user": require_user(ctx), "device": request.device})
    return DeviceRemoved(request.device)


@app.handle(ListDevices)
async def list_devices(ctx: Context, request: ListDevices) -> DeviceList:
    """All of them: there are few."""
    if request.user is not None and request.user != ctx.user:
        require_operator(ctx)
    user = request.user or require_user(ctx)
    rows = await ctx.db.rows(
        sa.select(devices).where(devices.c.app == ctx.app, devices.c.user == user).order_by(devices.c.device)
    )
    return DeviceList([_device(row, secret=not ctx.user) for row in rows])


def _device(row: Any, *, secret: bool) -> Device:
    return Device(
        device=row.device,
        name=row.name,
        platform=row.platform,
        push_kind=row.push_kind,
        push_token=row.push_token if secret else "",
        created=row.created,
        changed=row.changed,
    )
