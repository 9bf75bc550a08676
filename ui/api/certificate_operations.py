"""What programs may ask of certificates and realms, and revoke."""

from __future__ import annotations

from aaa.domain.certificate import PURPOSES
from aaa.list_certificates import AuthorityLine, CertificateLine, list_authorities, list_certificates
from aaa.list_realms import HomeServerLine, RealmLine, list_home_servers, list_realms
from core.refusal import granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter

operations = Operations()


@operations.get(
    "/certificates", "Certificates for EAP-TLS and RadSec, newest first, and the authorities.",
    shapes.record(
        certificates=shapes.listed(shapes.of(CertificateLine)),
        authorities=shapes.listed(shapes.of(AuthorityLine)),
    ),
    Parameter("text", "Part of a name or service, a service's id, or the beginning of a serial."),
    Parameter("purpose", "One purpose alone.", choices=PURPOSES),
    Parameter("state", "Those that end soon, or all with the revoked and ended.", choices=("ending", "all")),
    Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1),
)  # fmt: skip
async def certificates(ask: Ask) -> Answer:
    """Those that are good, unless ``state`` says otherwise."""
    state = ask.text("state")
    async with ask.panel.workplace.reading() as connection:
        found = await list_certificates(
            connection, ask.panel.workplace.clock.now(), purpose=ask.text("purpose") or None,
            text=ask.text("text"), ending=state == "ending", past=state == "all", limit=ask.count("limit"),
        )  # fmt: skip
        return {"certificates": found, "authorities": await list_authorities(connection)}


@operations.post(
    "/certificates/{certificate}/revoke", "Revoke a certificate: it is refused within a second.",
    shapes.record(revoked=shapes.TEXT),
    Parameter("certificate", "Its id (crt_…) or serial.", in_path=True, required=True),
    Parameter(
        "reason", "Why; unspecified if left out.",
        choices=("unspecified", "key_compromise", "affiliation_changed", "superseded", "cessation",
                 "privilege_withdrawn"),
    ),
)  # fmt: skip
async def revoke(ask: Ask) -> Answer:
    """For good."""
    from aaa.revoke_certificate import revoke_certificate  # it signs: a library of five megabytes

    async with ask.panel.workplace.work(ask.actor) as work:
        revoked = granted(
            await revoke_certificate(
                work,
                ask.panel.sealer,
                certificate=ask.text("certificate"),
                reason=ask.text("reason") or "unspecified",
            )
        )
    return {"revoked": revoked}


@operations.get(
    "/realms", "Realms and their home servers, with the accounting reports that wait for them.",
    shapes.record(
        realms=shapes.listed(shapes.of(RealmLine)), home_servers=shapes.listed(shapes.of(HomeServerLine))
    ),
)  # fmt: skip
async def realms(ask: Ask) -> Answer:
    """By name."""
    async with ask.panel.workplace.reading() as connection:
        return {"realms": await list_realms(connection), "home_servers": await list_home_servers(connection)}
