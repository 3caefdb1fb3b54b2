"""The contract of an app, derived from its declarations."""

from .json_schema import json_schema
from .markdown import markdown

__all__ = ["json_schema", "markdown"]
