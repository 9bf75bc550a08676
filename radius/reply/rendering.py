"""What a service's replies carry on one kind of NAS, as octets that are kept: nothing is encoded twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aaa.directory import Login, ServiceAccess
from aaa.domain.profile import SessionTerms
from aaa.domain.reply_template import ReplyTemplate, for_nas
from radius.dialects.attributes import WireAttribute
from radius.dialects.dialect import Dialect
from radius.dialects.known import (
    change_attributes,
    dialect_named,
    service_attributes,
    service_words,
    terms_attributes,
)

if TYPE_CHECKING:
    from radius.dictionary.attributes import AttributeDictionary
    from radius.reply.template import TemplateLine
    from radius.sign_in.quick import QuickLogin

MOST_OCTETS = 3_000
"""Of all attributes that are rendered: keys, Proxy-State and the rest of a reply need the others."""
_KEPT = 262_144
_TROUBLES_KEPT = 100


@dataclass(frozen=True, slots=True)
class UsableTemplate:
    """A template that was read. ``origin`` says in words where its lines stand."""

    profile_id: str | None
    origin: str
    lines: tuple[TemplateLine, ...]


class Shelf:
    """Counts what all renderings keep together: memory is bounded, however many NASes have templates."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept = 0
        self._dictionaries: list[dict[Any, Any]] = []

    def add(self, *dictionaries: dict[Any, Any]) -> None:
        """Watch over these."""
        self._dictionaries += dictionaries

    def make_room(self) -> None:
        """Count one more that is to be kept; when there is no room, all is forgotten.

        Most of it is then of services and terms that have changed since.
        """
        if self._kept >= self._room:
            for one in self._dictionaries:
                one.clear()
            self._kept = 0
        self._kept += 1


class Rendering:
    """One dialect's words under the same templates. NASes that speak alike share it.

    ``services`` holds what is a service's own, by the service, for the pipeline; ``quick`` what answers a
    login that was accepted before.
    """

    __slots__ = ("_book", "_shelf", "_terms", "dialect", "quick", "services", "templates")

    def __init__(
        self, dialect: Dialect, templates: Sequence[UsableTemplate], book: TemplateBook, shelf: Shelf
    ) -> None:
        self.dialect = dialect
        self.templates = tuple(templates)
        self.services: dict[ServiceAccess, tuple[bytes, bytes]] = {}
        self.quick: dict[Login, QuickLogin] = {}
        self._book = book
        self._shelf = shelf
        self._terms: dict[SessionTerms, bytes] = {}
        shelf.add(self.services, self._terms, self.quick)

    def terms(self, terms: SessionTerms) -> bytes:
        """What every session under these terms is told; nothing, where a template makes each differ."""
        octets = self._terms.get(terms)
        if octets is None:
            self._shelf.make_room()
            octets = self._terms[terms] = self._encode_terms(terms)
        return octets

    def _encode_terms(self, terms: SessionTerms) -> bytes:
        lines = self._lines(terms, "accept")
        if any(line.of_one_service for line, _ in lines):
            return b""
        return _encoded(self._after(lines, terms_attributes(terms, self.dialect), terms, None))

    def own(self, service: ServiceAccess) -> bytes:
        """What is told of the service behind that of its terms; the caller keeps it."""
        if self.templates:
            lines = self._lines(service.terms, "accept")
            if any(line.of_one_service for line, _ in lines):
                return _encoded(self.accept(service))
        return _encoded(service_words(service, self.dialect))

    def keep(self, service: ServiceAccess, encoded: tuple[bytes, bytes]) -> None:
        """Remember what was encoded for the service's next sign-in."""
        self._shelf.make_room()
        self.services[service] = encoded

    def keep_quick(self, login: Login, quick: QuickLogin) -> None:
        """Remember what answers this login's next sign-in."""
        self._shelf.make_room()
        self.quick[login] = quick

    def accept(self, service: ServiceAccess) -> list[WireAttribute]:
        """Every attribute of an Accept in order, without its Class."""
        terms = service.terms
        lines, said = self._lines(terms, "accept"), terms_attributes(terms, self.dialect)
        if any(line.of_one_service for line, _ in lines):
            return self._after(lines, said + service_attributes(service, self.dialect), terms, service)
        return self._after(lines, said, terms, None) + service_attributes(service, self.dialect)

    def change(self, service: ServiceAccess, open_list: str) -> list[WireAttribute]:
        """What a CoA changes about a live session."""
        said = change_attributes(service.terms, self.dialect, open_list)
        return self._after(self._lines(service.terms, "coa"), said, service.terms, service)

    def remarks(self, service: ServiceAccess) -> list[str]:
        """What this NAS cannot be told, or must know itself."""
        return self.dialect.remarks(service.terms)

    def _lines(self, terms: SessionTerms, packet: str) -> list[tuple[TemplateLine, str]]:
        return [
            (line, template.origin)
            for template in self.templates
            if template.profile_id in (None, terms.profile_id)
            for line in template.lines
            if line.holds(terms, packet)
        ]

    def _after(
        self,
        lines: list[tuple[TemplateLine, str]],
        said: list[WireAttribute],
        terms: SessionTerms,
        service: ServiceAccess | None,
    ) -> list[WireAttribute]:
        """The attributes after the templates; what stands when they make too much of it."""
        if not lines:
            return said
        from radius.reply.template import apply_lines, values_of

        found, troubles = apply_lines(
            lines=lines, attributes=said, given=values_of(terms, service), dictionary=self._book.dictionary
        )
        for trouble in troubles:
            self._book.note(f"{terms.profile_name}: {trouble}")
        if len(_encoded(found)) <= MOST_OCTETS:
            return found
        self._book.note(
            f"{terms.profile_name}: with its templates a reply has more than {MOST_OCTETS} octets; "
            "the dialect's own words are sent: take lines away"
        )
        return said


class TemplateBook:
    """Templates as they can be used, and the dictionary they are read with: loaded only if there are any."""

    def __init__(self, templates: Iterable[ReplyTemplate] = (), dictionary_files: Sequence[str] = ()) -> None:
        self._files = tuple(dictionary_files)
        self._templates = tuple(templates)
        self._read: dict[str, UsableTemplate | None] = {}
        self._dictionary: AttributeDictionary | None = None
        self._troubles: dict[str, None] = {}
        if self._templates:
            self._load()

    def _load(self) -> None:
        from radius.dictionary.attributes import attribute_dictionary
        from radius.dictionary.definitions import DictionaryFault
        from radius.reply.template import TemplateFault, read_template

        try:
            self._dictionary = attribute_dictionary(self._files)
        except DictionaryFault as trouble:
            self.note(f"no reply template is used: {trouble}")
            return
        for one in self._templates:
            origin = f"template for {one}"
            try:
                lines = read_template(one.lines, self._dictionary)
            except TemplateFault as trouble:
                self.note(f"{origin} is not used: {trouble}")
            else:
                self._read[one.id] = UsableTemplate(one.profile_id, origin, lines)

    @property
    def dictionary(self) -> AttributeDictionary:
        """The dictionary; only those with templates ask."""
        if self._dictionary is None:
            raise RuntimeError("there is no usable template to ask the dictionary for")
        return self._dictionary

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be used or did not fit, for the operator."""
        return tuple(self._troubles)

    def note(self, trouble: str) -> None:
        """Keep a trouble, once, and no more than some."""
        if len(self._troubles) < _TROUBLES_KEPT:
            self._troubles[trouble] = None

    def for_nas(self, nas_id: str, dialect: str) -> tuple[UsableTemplate, ...]:
        """The templates of a NAS that can be used, in the order of application."""
        fitting = for_nas(self._templates, nas_id, dialect)
        found = (self._read.get(one.id) for one in fitting)
        return tuple(one for one in found if one is not None)


class Renderings:
    """The renderings of a list of NASes, made when first asked for."""

    def __init__(
        self,
        templates: Iterable[ReplyTemplate] = (),
        dictionary_files: Sequence[str] = (),
        room: int = _KEPT,
    ) -> None:
        self._book = TemplateBook(templates, dictionary_files)
        self._shelf = Shelf(room)
        self._alike: dict[tuple[str, tuple[UsableTemplate, ...]], Rendering] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be used or did not fit, for the operator."""
        return self._book.troubles

    def of(self, nas_id: str, dialect: str) -> Rendering:
        """The rendering of a NAS."""
        key = (dialect, self._book.for_nas(nas_id, dialect))
        found = self._alike.get(key)
        if found is None:
            found = self._alike[key] = Rendering(dialect_named(dialect), key[1], self._book, self._shelf)
        return found


def _encoded(attributes: list[WireAttribute]) -> bytes:
    return b"".join(one.encoded() for one in attributes)
