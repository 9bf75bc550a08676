"""The operator's own lines over what a dialect says: where they apply, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplyTemplate:
    """Lines for the replies of a profile, of a NAS or a dialect, or of a profile on one of them.

    Without any of the three it is for every reply. ``nas_id`` and ``dialect`` never stand together.
    """

    id: str
    profile_id: str | None
    nas_id: str | None
    dialect: str | None
    lines: str
    profile: str = field(default="", compare=False)
    """The profile's name, for who reads where a line stands; ``nas`` likewise."""
    nas: str = field(default="", compare=False)

    def __str__(self) -> str:
        """What it is for, in words."""
        profile = f"profile {self.profile or self.profile_id}" if self.profile_id else ""
        nas = f"NAS {self.nas or self.nas_id}" if self.nas_id else ""
        dialect = f"dialect {self.dialect}" if self.dialect else ""
        return ", ".join(one for one in (profile, nas, dialect) if one) or "every reply"

    @property
    def rank(self) -> int:
        """Place in the order of application; a later one has the last word.

        Every reply < a dialect's < a NAS's < a profile's < a profile's in a dialect < a profile's on a NAS.
        """
        return (3 if self.profile_id else 0) + (2 if self.nas_id else 1 if self.dialect else 0)

    @property
    def scope(self) -> str:
        """What it applies to, as one key."""
        return scope_of(self.profile_id, self.nas_id, self.dialect)


def scope_of(profile_id: str | None, nas_id: str | None, dialect: str | None) -> str:
    """``PROFILE|NAS`` or ``PROFILE|DIALECT``; ``*`` stands for any."""
    return f"{profile_id or '*'}|{nas_id or dialect or '*'}"


def for_nas(templates: Iterable[ReplyTemplate], nas_id: str, dialect: str) -> tuple[ReplyTemplate, ...]:
    """Those that can apply to a NAS of that dialect, in the order of application."""
    fitting = (
        one
        for one in templates
        if (one.nas_id is None or one.nas_id == nas_id) and (one.dialect is None or one.dialect == dialect)
    )
    return tuple(sorted(fitting, key=lambda one: (one.rank, one.id)))
