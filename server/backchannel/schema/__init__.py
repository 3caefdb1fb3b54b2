"""The contract of an app, derived from its declarations."""

from .asyncapi import asyncapi
from .forms import FORMS
from .json_schema import json_schema
from .markdown import markdown
from .openapi import openapi
from .typescript import typescript

__all__ = ["FORMS", "asyncapi", "json_schema", "markdown", "openapi", "typescript"]
