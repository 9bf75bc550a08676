"""SQLAlchemy's asyncio engine without its ORM: 6 MB, and a tenth of the start of each role.

The package ``sqlalchemy.ext.asyncio`` imports sessions of the ORM beside the engine. Hilltop's tables and
statements are SQLAlchemy Core; no session is ever opened.
"""

from __future__ import annotations

import sys
from types import ModuleType


class _NotUsed(ModuleType):
    """Stands where a module would be; each of its names is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def leave_out_the_orm() -> None:
    """Call this before anything imports ``sqlalchemy.ext.asyncio``; later it changes nothing."""
    for name in ("sqlalchemy.ext.asyncio.scoping", "sqlalchemy.ext.asyncio.session"):
        sys.modules.setdefault(name, _NotUsed(name))
