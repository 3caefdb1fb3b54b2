"""A decorator for tests that need a sandbox and no plugin."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..app import App
from .loop import run
from .sandbox import Sandbox

__all__ = ["sandboxed"]

P = ParamSpec("P")
T = TypeVar("T")


def sandboxed(
    app: App, **options: Any
) -> Callable[[Callable[Concatenate[Sandbox, P], Coroutine[Any, Any, T]]], Callable[P, T]]:
    """Run an `async def test(box, …)` on virtual time, in a sandbox with this app; the result is a plain function.

    So it suits every test runner. `options` are those of `Sandbox`. Further parameters (fixtures, examples) stay.

    Example:
        @sandboxed(app, seed=7)
        async def test_orders_are_told(box: Sandbox) -> None: ...
    """

    def decorate(test: Callable[Concatenate[Sandbox, P], Coroutine[Any, Any, T]]) -> Callable[P, T]:
        @functools.wraps(test)
        def run_it(*args: P.args, **kwargs: P.kwargs) -> T:
            async def main() -> T:
                async with Sandbox(app, **options) as box:
                    return await test(box, *args, **kwargs)

            return run(main)

        # Test runners ask for the parameters, and the first one is ours.
        signature = inspect.signature(test)
        rest = list(signature.parameters.values())[1:]
        run_it.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        del run_it.__wrapped__
        return run_it

    return decorate
