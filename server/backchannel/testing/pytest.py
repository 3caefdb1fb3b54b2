"""A plugin for pytest with pytest-asyncio: the fixture `sandbox`, whose tests run on virtual time.

Switch it on in the top-level `conftest.py`, and say on each test, class or module which app it tests:

    pytest_plugins = ["backchannel.testing.pytest"]

    @pytest.mark.sandbox(app, ping=5.0)
    async def test_something(sandbox: Sandbox) -> None: ...

Other tests, and other plugins' loops, are left as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping

import pytest
import pytest_asyncio

from .loop import VirtualLoop
from .sandbox import Sandbox

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure", "sandbox"]

_LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers",
        "sandbox(app, **options): what the fixture `sandbox` is made of, as in backchannel.testing.Sandbox(app, …)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Generator[None, _LoopFactories | None, _LoopFactories]:
    """Give virtual time to the tests that have a sandbox, and to the others what they had."""
    others = yield
    if "sandbox" in getattr(item, "fixturenames", ()):
        return {"virtual": VirtualLoop}
    return others or {"asyncio": asyncio.new_event_loop}


@pytest_asyncio.fixture(loop_scope="function")
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """A sandbox with the app of the closest marker `sandbox`."""
    marker = request.node.get_closest_marker("sandbox")
    if marker is None or not marker.args:
        raise pytest.UsageError(
            "The fixture `sandbox` needs an app: put @pytest.mark.sandbox(app) on the test, or set "
            "pytestmark = pytest.mark.sandbox(app) in its module."
        )
    async with Sandbox(*marker.args, **marker.kwargs) as box:
        yield box
