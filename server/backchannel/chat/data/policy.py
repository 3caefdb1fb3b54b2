"""What users may do with their own data. An app may say otherwise in code."""

from __future__ import annotations

from backchannel import Struct

__all__ = ["DataRules", "data_rules", "rules"]


class DataRules(Struct, frozen=True, kw_only=True):
    """What users may ask for themselves; operators may always."""

    export: bool = True
    """To be given all that is kept of them."""
    erase: bool = False
    """To be erased."""


_rules = DataRules()


def rules() -> DataRules:
    """The rules in force."""
    return _rules


def data_rules(wanted: DataRules) -> DataRules:
    """Set the rules, before the server starts."""
    global _rules
    _rules = wanted
    return wanted
