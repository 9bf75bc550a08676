"""The sandbox of the operator's Jinja templates: it reaches values, not the machine, and stays small."""

from __future__ import annotations

from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

_NUMBERS = (int, float)
_UNBOUNDED_FILTERS = ("center", "indent", "format", "batch", "slice", "wordwrap", "xmlattr", "pprint")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Without ``range`` and its like a loop goes over what is given, and nothing multiplies texts."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.globals.clear()
        for name in _UNBOUNDED_FILTERS:
            self.filters.pop(name, None)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic is of numbers, and of ordinary ones."""
        if not isinstance(left, _NUMBERS) or not isinstance(right, _NUMBERS) or operator == "**":
            raise SecurityError(f"{operator} is for numbers")
        return super().call_binop(context, operator, left, right)
