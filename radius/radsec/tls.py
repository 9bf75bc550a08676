"""TLS for RadSec (RFC 6614): contexts from the directory's certificates, and whose one a NAS shows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from hashlib import sha256

from aaa.directory import Directory
from aaa.directory_certificates import KnownCertificate, OutsideCertificate, TlsMaterial, Unacceptable
from core.memory_files import in_memory


def server_context(material: TlsMaterial) -> ssl.SSLContext | None:
    """What connections are accepted with; None while we have no certificate to show or nobody to trust.

    RFC 6614 section 2.3: both sides have certificates. There are no tickets. A session of TLS 1.2 may be
    resumed while this very context lives, and its certificate is then judged again: only its end is not
    looked at anew.
    """
    trusted = material.anchors_for("nas")
    if not material.servers or not trusted:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.load_verify_locations(cadata=trusted)
    for one in material.servers:
        with in_memory(one.chain.encode(), one.key.reveal().encode()) as (chain, key):
            context.load_cert_chain(chain, key)
    return context


@dataclass(frozen=True, slots=True)
class Admitted:
    """The NAS that a certificate stands for."""

    nas_id: str
    name: str


class Guests:
    """Which NAS a verified certificate stands for, by the RadSec identities of one directory."""

    def __init__(self, directory: Directory) -> None:
        self._certificates = directory.certificates
        known = [nas for nas in directory.nases if nas.radsec_identity is not None]
        self._by_id = {nas.id: nas for nas in known}
        self._by_identity = {nas.radsec_identity: nas for nas in known}

    def admit(self, der: bytes) -> Admitted | str:
        """The NAS, or why there is none; ``der`` has been verified against the trusted authorities.

        A fingerprint that is registered names one certificate alone, a name every good one that carries it
        (RFC 6614 section 2.3). One that our authority issued to a NAS needs no name.
        """
        judged = self._certificates.judge(der, "nas")
        if isinstance(judged, Unacceptable):
            return f"{judged.explanation}; {judged.remedy}"
        pinned = self._by_identity.get(f"sha256:{sha256(der).hexdigest()}")
        if pinned is not None:
            return Admitted(pinned.id, pinned.name)
        nas = self._named(judged)
        if nas is None:
            return "no NAS has the name in its certificate as its RadSec identity; set it on the NAS"
        return nas

    def _named(self, judged: KnownCertificate | OutsideCertificate) -> Admitted | None:
        if isinstance(judged, KnownCertificate):
            nas = self._by_id.get(judged.nas_id or "")
            if nas is None or (nas.radsec_identity or "").startswith("sha256:"):
                return None
            return Admitted(nas.id, nas.name)
        for name in judged.names:
            nas = self._by_identity.get(name.lower())
            if nas is not None:
                return Admitted(nas.id, nas.name)
        return None
