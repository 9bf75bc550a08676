"""What a service's replies carry on one kind of NAS, as octets that are kept: nothing is encoded twice."""

from __future__ import annotations

from collections.abc import Iterable

from aaa.directory import ServiceAccess
from aaa.domain.profile import SessionTerms
from aaa.domain.reply_template import ReplyTemplate
from radius.dialects.attributes import WireAttribute
from radius.dialects.dialect import Dialect
from radius.dialects.known import (
    change_attributes,
    dialect_named,
    service_attributes,
    terms_attributes,
)

_TERMS_KEPT = 4_096
SERVICES_KEPT = 65_536


class Rendering:
    """One dialect's words. NASes that speak alike share it.

    ``services`` holds what is a service's own, by the service, for the pipeline; ``room`` bounds it.
    """

    __slots__ = ("_terms", "dialect", "room", "services")

    def __init__(self, dialect: Dialect, room: int = SERVICES_KEPT) -> None:
        self.dialect = dialect
        self.room = room
        self.services: dict[ServiceAccess, tuple[bytes, bytes]] = {}
        self._terms: dict[SessionTerms, bytes] = {}

    def terms(self, terms: SessionTerms) -> bytes:
        """What every session under these terms is told."""
        octets = self._terms.get(terms)
        if octets is None:
            if len(self._terms) >= _TERMS_KEPT:  # terms are made anew when profiles change
                self._terms.clear()
            octets = self._terms[terms] = _encoded(terms_attributes(terms, self.dialect))
        return octets

    def own(self, service: ServiceAccess) -> bytes:
        """What is told of the service itself, behind that of its terms; the caller keeps it."""
        return _encoded(service_attributes(service, self.dialect))

    def keep(self, service: ServiceAccess, encoded: tuple[bytes, bytes]) -> None:
        """Remember what was encoded for the service's next sign-in."""
        if len(self.services) >= self.room:
            self.services.clear()
        self.services[service] = encoded

    def accept(self, service: ServiceAccess) -> list[WireAttribute]:
        """Every attribute of an Accept in order, without its Class."""
        return terms_attributes(service.terms, self.dialect) + service_attributes(service, self.dialect)

    def change(self, service: ServiceAccess, open_list: str) -> list[WireAttribute]:
        """What a CoA changes about a live session."""
        return change_attributes(service.terms, self.dialect, open_list)

    def remarks(self, service: ServiceAccess) -> list[str]:
        """What this NAS cannot be told, or must know itself."""
        return self.dialect.remarks(service.terms)


def _encoded(attributes: list[WireAttribute]) -> bytes:
    return b"".join(one.encoded() for one in attributes)


class Renderings:
    """The renderings of a list of NASes, made when first asked for."""

    def __init__(self, templates: Iterable[ReplyTemplate] = ()) -> None:
        self._templates = tuple(templates)
        self._of_dialect: dict[str, Rendering] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """Templates that cannot be used."""
        return ()

    def of(self, _nas_id: str, dialect: str) -> Rendering:
        """The rendering of a NAS."""
        found = self._of_dialect.get(dialect)
        if found is None:
            found = self._of_dialect[dialect] = Rendering(dialect_named(dialect))
        return found
