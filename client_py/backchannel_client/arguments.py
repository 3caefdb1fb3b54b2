"""Arguments of a bot's command: declared by a function's signature or a struct, read from what somebody wrote."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from types import SimpleNamespace
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec import inspect as types

from .words import Unclosed, next_word

__all__ = ["Signature", "UsageError"]

Kind = Literal["one", "many", "text"]

_YES: Final = frozenset({"yes", "y", "true", "on", "1"})
_NO: Final = frozenset({"no", "n", "false", "off", "0"})

# What is repeated of a word that was not understood.
_MOST_SHOWN: Final = 40


class UsageError(Exception):
    """What somebody wrote is not what the command takes; the message is for that person."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    name: str
    form: Any
    """The declared type of one value, with its bounds."""
    kind: Kind
    """One word; all further words; or all further text, as it was written."""
    required: bool
    wanted: str
    """What to write, for people."""
    choices: tuple[str, ...]
    is_yes_or_no: bool

    @property
    def usage(self) -> str:
        """`<dice>`, `[dice]`, `<red|blue>`, `[words...]`."""
        shown = "|".join(self.choices) or self.name
        if self.kind == "many":
            shown += "..."
        return f"<{shown}>" if self.required else f"[{shown}]"

    def read(self, word: str) -> Any:
        """The value that a word stands for.

        Raises:
            UsageError: it stands for none.
        """
        text = word
        if self.is_yes_or_no:
            text = "true" if word.lower() in _YES else "false" if word.lower() in _NO else word
        try:
            value = msgspec.convert(text, self.form, strict=False)
        except msgspec.ValidationError:
            raise self._not_understood(word) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._not_understood(word)
        return value

    def _not_understood(self, word: str) -> UsageError:
        shown = word if len(word) <= _MOST_SHOWN else word[:_MOST_SHOWN] + "…"
        return UsageError(f"{self.name}: write {self.wanted}, not “{shown}”.")


class Signature:
    """What a command takes behind its name."""

    def __init__(self, arguments: Sequence[Argument], struct: type[Struct] | None = None) -> None:
        self.arguments = tuple(arguments)
        self._struct = struct

    @property
    def usage(self) -> str:
        """`<first> [second] [more...]`; empty where nothing is taken."""
        return " ".join(argument.usage for argument in self.arguments)

    @property
    def explanations(self) -> list[str]:
        """A line for each argument: its name and what to write."""
        return [f"{argument.name}: {argument.wanted}" for argument in self.arguments]

    def read(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """The arguments to call the handler with, positional ones and the others.

        Raises:
            UsageError: the text is not what the command takes.
        """
        values: dict[str, Any] = {}
        more: list[Any] = []
        at = 0
        try:
            for argument in self.arguments:
                if argument.kind == "text":
                    rest, at = text[at:].strip(), len(text)
                    if rest:
                        values[argument.name] = argument.read(rest)
                elif argument.kind == "many":
                    while (found := next_word(text, at)) is not None:
                        word, at = found
                        more.append(argument.read(word))
                elif (found := next_word(text, at)) is not None:
                    word, at = found
                    values[argument.name] = argument.read(word)
                is_there = more if argument.kind == "many" else argument.name in values
                if argument.required and not is_there:
                    raise UsageError(f"{argument.name} is missing: write {argument.wanted}.")
            if (found := next_word(text, at)) is not None:
                raise UsageError(f"That is too much, from “{found[0][:_MOST_SHOWN]}” on.")
        except Unclosed as exc:
            raise UsageError(str(exc)) from None
        return self._arranged(values, more)

    def _arranged(self, values: dict[str, Any], more: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        many = next((argument for argument in self.arguments if argument.kind == "many"), None)
        if self._struct is None:
            if many is None:
                return [], values
            # What stands before `*words` can only be given by its place, and is all there if there are words.
            return ([*values.values(), *more], {}) if more else ([], values)
        if many is not None and more:
            values[many.name] = more
        try:
            return [self._struct(**values)], {}
        except (TypeError, ValueError) as exc:
            # A struct may check itself as a whole, in __post_init__.
            raise UsageError(f"{exc}") from None


def signature_of(handler: Callable[..., Any]) -> Signature:
    """The signature that a handler declares behind its first parameter, the event.

    Raises:
        TypeError: a parameter is none that words can be read for; the message tells the cure.
    """
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    parameters = list(inspect.signature(handler).parameters.values())
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters.pop(0).kind not in by_place:
        raise TypeError(f"{name} takes no event: write `async def {name}(event, ...)`.")
    forms = _forms(handler, parameters, name)
    if len(parameters) == 1 and isinstance(form := forms[parameters[0].name], type) and issubclass(form, Struct):
        return _of_struct(form)
    arguments = []
    for parameter in parameters:
        where = f"{parameter.name} of {name}"
        kind: Kind = "one"
        if parameter.kind is parameter.VAR_POSITIONAL:
            kind = "many"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kind = "text"
        elif parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(
                f"{where}: write it as `name: type`, `*names: type` or, for the rest of the text, `*, name`."
            )
        required = parameter.default is parameter.empty and kind != "many"
        arguments.append(_argument(where, parameter.name, forms[parameter.name], kind, required))
    _check_order(arguments, name)
    return Signature(arguments)


def _of_struct(struct: type[Struct]) -> Signature:
    arguments = []
    for field in msgspec.structs.fields(struct):
        where = f"{field.name} of {struct.__name__}"
        form, kind = field.type, "one"
        info = _bare(types.type_info(form))[0]
        if isinstance(info, types.ListType | types.VarTupleType):
            form, kind = _item_form(form), "many"
        required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        arguments.append(_argument(where, field.name, form, kind, required))  # type: ignore[arg-type]
    _check_order(arguments, struct.__name__)
    return Signature(arguments, struct)


def _item_form(form: Any) -> Any:
    origin = form
    while hasattr(origin, "__metadata__"):
        origin = origin.__origin__
    return origin.__args__[0] if getattr(origin, "__args__", ()) else str


def _check_order(arguments: Sequence[Argument], name: str) -> None:
    for before, after in pairwise(arguments):
        if before.kind != "one":
            raise TypeError(f"{before.name} of {name} takes all that is left: let it be the last one.")
        if after.required and not before.required:
            raise TypeError(f"{after.name} of {name} needs a default, because {before.name} before it has one.")


def _forms(handler: Callable[..., Any], parameters: Sequence[inspect.Parameter], name: str) -> dict[str, Any]:
    """The parameters' types; the event's own is not looked at, and may be known to type checkers only."""
    for parameter in parameters:
        if parameter.annotation is parameter.empty:
            raise TypeError(f"{parameter.name} of {name} has no type: write it as in `{parameter.name}: int`.")
    function = inspect.unwrap(getattr(handler, "__func__", handler))
    seen = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    holder = SimpleNamespace(__annotations__={each.name: each.annotation for each in parameters})
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}), dict(seen), include_extras=True)
    except NameError as exc:
        raise TypeError(
            f"A type of {name} is not known where the program runs: {exc}. Define it in the module."
        ) from exc


def _argument(where: str, name: str, form: Any, kind: Kind, required: bool) -> Argument:
    try:
        info, words, examples = _bare(types.type_info(form))
    except TypeError as exc:
        raise TypeError(f"{where}: {exc}.") from exc
    if isinstance(info, types.UnionType):
        kinds = [each for each in info.types if not isinstance(each, types.NoneType)]
        if len(kinds) == 1:
            info, inner_words, inner_examples = _bare(kinds[0])
            words, examples = words or inner_words, examples or inner_examples
    choices = _choices(form)
    wanted = _wanted(info, choices)
    if wanted is None:
        raise TypeError(
            f"{where} cannot be read from words: use str, int, float, bool, Decimal, a date, a Literal, an Enum, or "
            "one of them with `| None` or Annotated[…, Meta(…)]."
        )
    if kind == "text" and not isinstance(info, types.StrType):
        raise TypeError(f"{where} takes the rest of the text: let its type be str.")
    if words or examples:
        wanted = words or wanted
        wanted += f", such as {' or '.join(str(example) for example in examples)}" if examples else ""
    return Argument(
        name=name,
        form=form,
        kind=kind,
        required=required,
        wanted=wanted,
        choices=choices,
        is_yes_or_no=isinstance(info, types.BoolType),
    )


def _bare(info: types.Type) -> tuple[types.Type, str, list[Any]]:
    """A type without its metadata, and what that says in words: description and examples."""
    words = ""
    examples: list[Any] = []
    while isinstance(info, types.Metadata):
        said = info.extra_json_schema or {}
        words = words or str(said.get("description", "")).rstrip(".")
        examples = examples or list(said.get("examples", []))
        info = info.type
    return info, words, examples


def _choices(form: Any) -> tuple[str, ...]:
    """The values of a Literal or an Enum, in the order in which they were declared (msgspec sorts them)."""
    if get_origin(form) is Literal:
        return tuple(map(str, get_args(form)))
    if isinstance(form, type):
        return tuple(str(member.value) for member in form) if issubclass(form, Enum) else ()
    inside = [_choices(each) for each in get_args(form)[: 1 if get_origin(form) is Annotated else None]]
    return next(filter(None, inside), ())


def _wanted(info: types.Type, choices: Sequence[str]) -> str | None:
    """What to write for a type, in words; None where no word can be read as it."""
    if choices:
        *others, last = choices
        return f"{', '.join(others)} or {last}" if others else last
    match info:
        case types.StrType(min_length=least, max_length=most, pattern=None):
            return f"a text{_bounds(least, most, ' of', ' characters')}"
        case types.StrType(pattern=pattern):
            return f"a text that matches {pattern}"
        case types.IntType() | types.FloatType() | types.DecimalType():
            what = "a whole number" if isinstance(info, types.IntType) else "a number"
            if isinstance(info, types.DecimalType):
                return what
            above = f" above {_number(info.gt)}" if info.gt is not None else ""
            below = f" below {_number(info.lt)}" if info.lt is not None else ""
            steps = f" that {_number(info.multiple_of)} divides" if info.multiple_of is not None else ""
            return f"{what}{_bounds(info.ge, info.le)}{above}{below}{steps}"
        case types.BoolType():
            return "yes or no"
        case types.DateType():
            return "a date as 2030-12-31"
        case _:
            return None


def _bounds(least: float | None, most: float | None, before: str = "", after: str = "") -> str:
    """` from 1 to 6`, or for a length ` of 1 to 6 characters`."""
    if least is not None and most is not None:
        return f"{before or ' from'} {_number(least)} to {_number(most)}{after}"
    if least is not None:
        return f"{before} at least {_number(least)}{after}" if before else f" from {_number(least)} on"
    if most is not None:
        return f"{before} at most {_number(most)}{after}" if before else f" up to {_number(most)}"
    return ""


def _number(value: float) -> str:
    # Not 1e+07 for what was written as ten million.
    return f"{value:.12g}"
