"""SQLAlchemy's asyncio package without its object-relational half, which this product has no use for.

``sqlalchemy.ext.asyncio`` imports its sessions, and these the whole mapper: 44 modules and six megabytes in
each process, for names that nobody here asks for. So a role has the package made from its engine first.
Whoever asks for anything else of it gets the whole, as if it had been imported in the usual way.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.abc import Loader
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = "sqlalchemy.ext.asyncio"
_OF_ENGINE: Final = ("AsyncConnection", "AsyncEngine", "AsyncTransaction", "create_async_engine")


def leave_out_orm() -> None:
    """Call it before anything imports ``sqlalchemy.ext.asyncio``; later it does nothing."""
    if _PACKAGE in sys.modules:
        return
    spec = find_spec(_PACKAGE)
    if spec is None or spec.loader is None:  # then the first to import it says what is missing
        return
    package = module_from_spec(spec)
    parent, _, own = _PACKAGE.rpartition(".")
    sys.modules[_PACKAGE] = package
    setattr(importlib.import_module(parent), own, package)
    engine = importlib.import_module(f"{_PACKAGE}.engine")
    package.__dict__.update({name: getattr(engine, name) for name in _OF_ENGINE})
    package.__dict__["__getattr__"] = _loading(package, spec.loader)


def _loading(package: ModuleType, loader: Loader) -> Callable[[str], Any]:
    def of_the_rest(name: str) -> Any:
        """A name that is not the engine's (PEP 562): now the package runs as it is."""
        if name.startswith("__"):
            raise AttributeError(name)
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    return of_the_rest
