"""Numbers as the settings of every room bound them: what lies beyond is a slip of the pen, not a choice."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""An interval or a patience: never none at all, and no longer than a day."""

Count = Annotated[int, Field(ge=1, le=10_000_000)]
"""How many of something: at least one, and no more than a machine could hold."""
