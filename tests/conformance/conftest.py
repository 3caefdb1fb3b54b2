"""The vectors of `protocol/vectors/`: found, read, compared; and a loop without real time to play them on.

What a step and a placeholder mean is said in `protocol/vectors/README.md`; the names here are the names there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

from backchannel.testing import VirtualLoop

T = TypeVar("T")
Plain = dict[str, Any]

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "protocol" / "vectors"

START = 1000.0
"""Where the loop's clock begins, in seconds."""
WALL = 1_760_000_000.0
"""What the calendar says then, Unix seconds."""


# Reading


@cache
def documents() -> dict[str, Plain]:
    """Every file of vectors, by its path from `protocol/vectors`."""
    files = sorted(VECTORS.glob("*/*.json"))
    return {str(file.relative_to(VECTORS)): json.loads(file.read_text(encoding="utf-8")) for file in files}


@cache
def common() -> Plain:
    """What holds for every dialogue that does not say otherwise."""
    found: Plain = json.loads((VECTORS / "common.json").read_text(encoding="utf-8"))
    return found


def vectors(kind: str) -> Iterator[Plain]:
    """Every vector of a kind; a dialogue with what is common filled in."""
    for path, document in documents().items():
        for vector in document["vectors"] if document["kind"] == kind else ():
            found = {**vector, "file": path}
            if kind == "dialogues":
                for field in ("values", "given"):
                    found[field] = {**common()[field], **vector.get(field, {})}
            yield found


def is_for(dialogue: Plain, side: str) -> bool:
    """Whether this side is under test in a dialogue: the server in all but a few, a client where something is done."""
    only = dialogue.get("only")
    if only is not None:
        return bool(only == side)
    return side == "server" or any("do" in step for step in dialogue["steps"])


SUITES: dict[str, Callable[[], list[Plain]]] = {
    "codec_vector": lambda: [
        {**vector, "encoding": encoding}
        for vector in vectors("codec")
        for encoding in ("json", "msgpack")
        if vector.keys() & {encoding, f"{encoding}_hex"}
    ],
    "handshake": lambda: list(vectors("handshakes")),
    "server_dialogue": lambda: [vector for vector in vectors("dialogues") if is_for(vector, "server")],
    "client_dialogue": lambda: [vector for vector in vectors("dialogues") if is_for(vector, "client")],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per vector, for tests that take one."""
    for argument, suite in SUITES.items():
        if argument in metafunc.fixturenames:
            found = suite()
            metafunc.parametrize(argument, found, ids=[called(vector) for vector in found])


def called(vector: Plain) -> str:
    """What a vector is called in the reports of tests."""
    folder, _, name = f"{vector['file'].removesuffix('.json')}/{vector['name']}".partition("/")
    return f"{name}-{vector['encoding']}" if folder == "codec" else name


@pytest.fixture
def all_documents() -> dict[str, Plain]:
    """Every file of vectors, by its path."""
    return documents()


@pytest.fixture
def common_facts() -> Plain:
    """`common.json`."""
    return common()


@pytest.fixture
def beside() -> Callable[[str], ModuleType]:
    """Loads a file of this folder that is no test. Tests belong to no package, so they cannot import it."""

    def load(name: str) -> ModuleType:
        known = f"conformance_{name}"
        if known not in sys.modules:
            spec = importlib.util.spec_from_file_location(known, Path(__file__).with_name(f"{name}.py"))
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[known] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[known]

    return load


# Comparing


def same(one: Any, other: Any) -> bool:
    """Equality of the JSON data model: 7 is 7.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", list: "list", dict: "map", type(None): "null"}[type(value)]


class Names:
    """The placeholders of one dialogue: what they stand for, once that is known."""

    def __init__(self, samples: Plain) -> None:
        self._samples = samples
        self._bound: Plain = {}
        self._numbers = count(101)

    def _sample(self, name: str) -> Any:
        if name.startswith("$id"):
            return next(self._numbers)
        if name.startswith("$key"):
            return f"{next(self._numbers):032x}"
        return self._samples[name]

    def fill(self, value: Any) -> Any:
        """What the played side sends: every placeholder has a value from now on."""
        if isinstance(value, str) and value.startswith("$"):
            if value not in self._bound:
                self._bound[value] = self._sample(value)
            return self._bound[value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return [self.fill(item) for item in value] if isinstance(value, list) else value

    def frame(self, frame: Plain) -> Plain:
        """A whole frame to be sent; a field that is null is left out."""
        return self.fill({field: value for field, value in frame.items() if value is not None})  # type: ignore[no-any-return]

    def matches(self, expected: Plain, frame: Plain) -> bool:
        """Whether a frame that came is the one expected. If so, its placeholders are bound."""
        trial = dict(self._bound)
        for field, value in expected.items():
            came = frame.get(field)
            if field == "message":
                if not (isinstance(came, str) and came):
                    return False
            elif not self._matches(value, came, trial):
                return False
        self._bound = trial
        return True

    def agrees(self, expected: Any, came: Any) -> bool:
        """Whether a value is the expected one, as inside a frame."""
        return self._matches(expected, came, self._bound)

    def _matches(self, expected: Any, came: Any, bound: Plain) -> bool:
        if isinstance(expected, str) and expected.startswith("$"):
            if expected in bound:
                return same(bound[expected], came)
            if kind_of(came) != kind_of(self._sample(expected)):
                return False
            bound[expected] = came
            return True
        if isinstance(expected, dict):
            return (
                isinstance(came, dict)
                and expected.keys() == came.keys()
                and all(self._matches(value, came[key], bound) for key, value in expected.items())
            )
        if isinstance(expected, list):
            return (
                isinstance(came, list)
                and len(expected) == len(came)
                and all(self._matches(one, other, bound) for one, other in zip(expected, came, strict=True))
            )
        return same(expected, came)

    def take(self, expected: list[Plain], came: list[Plain]) -> str:
        """Match frames that may have come in another order, and take them out; says what is wrong, if anything is.

        Frames of one channel keep their order.
        """
        places: dict[str, int] = {}
        taken: list[int] = []
        for wanted in expected:
            after = places.get(wanted.get("channel", ""), -1) if "channel" in wanted else -1
            for place, frame in enumerate(came):
                if place > after and place not in taken and self.matches(wanted, frame):
                    break
            else:
                left = [frame for place, frame in enumerate(came) if place not in taken]
                return f"expected {self.fill_known(wanted)}\n     came {left}"
            taken.append(place)
            if "channel" in wanted:
                places[wanted["channel"]] = place
        came[:] = [frame for place, frame in enumerate(came) if place not in taken]
        return ""

    def fill_known(self, frame: Plain) -> Plain:
        """A frame with the placeholders that are bound, for messages."""
        return {
            field: self._bound.get(value, value) if isinstance(value, str) else value for field, value in frame.items()
        }


@pytest.fixture
def names_of() -> Callable[[Plain], Names]:
    """Makes the placeholders of a dialogue."""
    return lambda dialogue: Names(dialogue["values"])


@pytest.fixture
def equal() -> Callable[[Any, Any], bool]:
    """Equality of the JSON data model."""
    return same


# Time


def wall() -> float:
    """The calendar of a virtual loop, Unix seconds."""
    return WALL + asyncio.get_running_loop().time() - START


@pytest.fixture
def on_virtual_time() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine on a fresh loop with virtual time."""

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def calendar() -> Callable[[], float]:
    """The time of day on a virtual loop, Unix seconds."""
    return wall
