"""The contract of an app as a TypeScript module. It is compiled in tests/integration/contract_documents/."""

from __future__ import annotations

import re

import msgspec
import pytest

from backchannel import App, Command
from backchannel.schema import typescript


@pytest.fixture(scope="module")
def module(everything: App) -> str:
    """The module of an app with everything."""
    return typescript(everything)


def test_every_type_has_its_form(module: str) -> None:
    """As JSON carries it: instants and decimals are strings, a tagged struct tells its tag."""
    place = module[module.index("export interface Place {") :]
    for line in (
        "readonly quantity: number;",
        "readonly shape: Circle | Square;",
        "readonly either: readonly (number | string)[];",
        "readonly exact: readonly [number, string];",
        "readonly anything: unknown;",
        "readonly by_name: { readonly [key: string]: Item };",
        "readonly item?: Item | null;",
        "readonly size: Size;",
        "  /** A date and time (RFC 3339). */\n  readonly at: string;",
        "  /** A decimal number. */\n  readonly price: string;",
    ):
        assert line in place
    assert 'export type Size = "s" | "l";' in module
    assert "export type Level = 1 | 2;" in module
    assert "export type Point = readonly [number, number];" in module
    assert "export type Pair = readonly [number, string];" in module
    assert 'export interface Circle {\n  readonly type: "circle";\n' in module
    assert "export interface Page_Item {" in module
    assert not re.search(r"\bany\b", re.sub(r"/\*.*?\*/", "", module, flags=re.DOTALL))


def test_what_may_be_left_out(module: str) -> None:
    """A client may leave out what has a default; a reply always has it, unless its struct omits defaults."""
    assert "readonly limit?: number;" in module
    assert "export interface Page_Item {\n  readonly items: readonly Item[];\n  readonly next: string | null;" in module
    assert "readonly note?: string | null;" in module
    assert "export interface Extra {\n  readonly note?: string;" in module


def test_the_contract_lists_what_is_declared(module: str) -> None:
    """Commands and queries with data, reply and own errors; events; namespaces with kind and presence."""
    contract = module[module.index("export interface EveryThingContract {") :]
    assert (
        '    "order.place": {\n      data: Place;\n      reply: Placed;\n      errors: "closed" | "sold_out";\n'
        in contract
    )
    assert '    "item.find": {\n      data: Find;\n      reply: Page_Item;\n      errors: never;\n' in contract
    assert '    /** An order was placed. */\n    "order.placed": Placed;\n' in contract
    assert '    /** The orders of a shop. */\n    orders: { kind: "durable"; presence: true };\n' in contract
    assert '    "cursors-2": { kind: "ephemeral"; presence: false };\n' in contract


def test_texts_are_comments_that_stay_closed(module: str) -> None:
    """Docstrings and the texts below fields; one that holds the end of a comment does not end it."""
    assert "/** What it is called, over two lines. */" in module
    assert "a comment, * /, does no harm" in module
    assert "Address(" not in module  # what a dataclass has for a docstring where it has none
    assert "Pair(" not in module
    assert all(len(line) <= 110 for line in module.splitlines())


def test_types_of_one_name_are_told_apart() -> None:
    """Two structs may be called the same in two modules; each gets its module's name too."""
    app = App("twice")
    one = msgspec.defstruct("Thing", [("a", int)], module="first.place")
    two = msgspec.defstruct("Thing", [("b", one)], module="second")

    @app.command("thing.make")
    class Make(Command[two]):  # type: ignore[valid-type]
        pass

    module = typescript(app)
    assert "export interface first_place_Thing {" in module
    assert "export interface second_Thing {\n  readonly b: first_place_Thing;" in module
    assert "reply: second_Thing;" in module
