"""Which login a client certificate stands for (EAP-TLS), or why none."""

from __future__ import annotations

from aaa.authorize import Reject
from aaa.directory import Directory, Login
from aaa.directory_certificates import KnownCertificate, Unacceptable


def login_of_certificate(directory: Directory, der: bytes, identity: bytes) -> Login | Reject:
    """The login of a certificate that OpenSSL has verified; ``identity`` is what EAP was told.

    A certificate of ours says whose it is. One of an outside authority stands for the first of its names
    that is a user name here. Whether the service may be used now is ``aaa.authorize``'s to say.
    """
    shown = identity.decode("utf-8", "replace")
    judged = directory.certificates.judge(der, "client")
    if isinstance(judged, Unacceptable):
        return Reject(judged.rule, shown, judged.explanation, judged.remedy)
    if isinstance(judged, KnownCertificate):
        return _own(directory, judged, shown)
    for name in judged.names:
        login = directory.logins.get(name.encode())
        if login is not None and login.credential.kind != "mac":
            return login
    return Reject(
        "certificate_of_nobody", shown,
        f"its certificate is for {', '.join(judged.names) or 'nobody'}: no service signs in so",
        "add a credential of that name to the subscriber's service",
    )  # fmt: skip


def _own(directory: Directory, known: KnownCertificate, shown: str) -> Login | Reject:
    login = directory.logins.get((known.username or "").encode())
    if login is None or login.service.id != known.service_id:
        return Reject(
            "certificate_of_nobody", shown,
            f"its certificate {known.id} is for {known.username}, no longer a name of its service",
            "issue another certificate for the service", known.service_id,
        )  # fmt: skip
    return login
