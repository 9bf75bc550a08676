"""The dialects by name, and what each says of a session: declared once, for replies and for CoA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from aaa.directory import ServiceAccess
from aaa.domain.addressing import NO_ADDRESSING
from aaa.domain.profile import SessionTerms
from radius.dialects import (
    accel_ppp,
    cambium_epmp,
    cambium_pmp450,
    cisco,
    generic,
    juniper,
    mikrotik,
    standard,
    ubiquiti,
    wispr,
)
from radius.dialects.attributes import WireAttribute
from radius.dialects.dialect import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = {
    module.DIALECT.name: module.DIALECT
    for module in (
        mikrotik, cambium_epmp, cambium_pmp450, ubiquiti, wispr, cisco, juniper, accel_ppp, generic
    )
}  # fmt: skip


def dialect_named(name: str) -> Dialect:
    """The dialect; one that this release does not know counts as generic."""
    return DIALECTS.get(name, generic.DIALECT)


def terms_attributes(terms: SessionTerms, dialect: Dialect) -> list[WireAttribute]:
    """What every session under these terms is told, whoever it belongs to."""
    found = list(dialect.speed(terms))
    if terms.access_filter is not None:
        found += dialect.filter(terms, terms.access_filter)
    found += dialect.session(terms) + standard.timeouts(terms)
    return [replace(one, origin=f"dialect {dialect.name}") for one in found]


def change_attributes(terms: SessionTerms, dialect: Dialect, open_list: str) -> list[WireAttribute]:
    """What a CoA says to a live session: speed and filter.

    A filter cannot be taken away by CoA, so a session that is restored is moved to the open one.
    """
    found = dialect.speed(terms) + dialect.filter(terms, terms.access_filter or open_list)
    return [replace(one, origin=f"dialect {dialect.name}") for one in found]


def service_attributes(service: ServiceAccess, dialect: Dialect) -> list[WireAttribute]:
    """What is the service's own: its addresses and its interim interval."""
    return [replace(one, origin="service") for one in service_words(service, dialect)]


def service_words(service: ServiceAccess, dialect: Dialect) -> list[WireAttribute]:
    """The same without where it comes from: a tower that rebooted asks for thousands of them at once."""
    found = [standard.interim(service.interim_interval_s)]
    if not dialect.gives_addresses:
        return found
    if service.addressing is NO_ADDRESSING:
        return standard.address_or_pool(service.framed_ip, service.terms.pool) + found
    return standard.addresses(service.framed_ip, service.terms.pool, service.addressing) + found
