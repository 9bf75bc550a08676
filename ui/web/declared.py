"""Pages and operations are found where they are declared; nobody keeps a second list of them."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def declared_in(package: ModuleType, kind: type[T]) -> Iterator[T]:
    """What the modules of ``package`` declare of that kind, in the order of the modules' names."""
    for found in pkgutil.iter_modules(package.__path__):
        for one in vars(import_module(f"{package.__name__}.{found.name}")).values():
            if isinstance(one, kind):
                yield one
