"""TLS without a socket (pyOpenSSL over memory): what every EAP method with TLS stands on.

One ``TlsServer`` a method holds the certificate, the rules and the sessions that may be resumed; a ``Tunnel``
is one peer's connection. Sessions are kept here and not in tickets, and OpenSSL forgets each that is not kept
on purpose: only a peer that was let in can resume. What it resumes is known again by the session's master
secret (TLS 1.2) or pre-shared key (TLS 1.3), which nobody else has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from radius.eap.session_pages import SessionPages
from radius.eap.tls_trouble import UNREADABLE, CertificateTrouble, TlsTrouble, of_certificate, of_tls

VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
SERVER_KEYS = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_AT_ONCE: Final = 16_384  # what a record holds
_NO_AUTO_CHAIN: Final = 0x8
"""SSL_MODE_NO_AUTO_CHAIN (ssl.h): the chain is what we were given; else the root is sent too, and looked for
in every handshake."""
_QUIETLY: Final = SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN

_CIPHERS: Final = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DEFAULT:!PSK:!SRP"
_TLS13_CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""AES-128 and SHA-256 first: little is said inside, and SHA-384 costs every handshake more.

Old radios without ECDHE find theirs further down (RFC 5216 section 2.4 asks for AES128-SHA).
"""

_SESSIONS_OF_PAGE: Final = 4_000
"""With a P-256 certificate 20 MB of memory, and as much again for the page before."""


class Left(Protocol):
    """Told of the sessions that a whole handshake has left, and whether its peer may resume."""

    def __call__(self, sessions: int, *, kept: bool) -> None: ...


Vet = Callable[[x509.Certificate], CertificateTrouble | None]
"""What is wrong with a peer's certificate beyond what its signatures say: revoked, for instance."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Who we are in TLS: the chain, our own certificate first, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: SERVER_KEYS = field(repr=False)


@dataclass(frozen=True, slots=True)
class TlsRules:
    """Which TLS is spoken. ``ciphers`` is a list for TLS 1.2 in OpenSSL's words; None is ours.

    ``session_lifetime_s`` 0 lets nobody resume.
    """

    minimum: str = "1.2"
    maximum: str = "1.3"
    ciphers: str | None = None
    session_lifetime_s: int = 28_800


class TlsServer:
    """The server's side for one method.

    ``anchors`` are those who may have signed a peer's certificate; without them none is asked for.
    """

    def __init__(
        self,
        name: str,
        certificates: Sequence[ServerCertificate],
        rules: TlsRules,
        anchors: Sequence[x509.Certificate] = (),
        vet: Vet | None = None,
        *,
        sessions_of_page: int = _SESSIONS_OF_PAGE,
    ) -> None:
        """Raises ``ValueError`` when the key is not the certificate's, or the ciphers name none."""
        self.rules = rules
        self._vet = vet

        def context() -> SSL.Context:
            return _context(name, certificates, rules, anchors)

        remembers = bool(anchors) and rules.session_lifetime_s > 0
        self._pages = SessionPages(context, sessions_of_page) if remembers else None
        self._only = None if remembers else context()

    def open(self, identity: bytes) -> Tunnel:
        """A connection with one peer, which has told that name of its own."""
        if self._only is not None:
            return Tunnel(self._only, self._vet, resumes=self.rules.session_lifetime_s > 0)
        assert self._pages is not None  # noqa: S101 - it is one or the other
        page = self._pages.page_of(identity)
        return Tunnel(page.context, self._vet, resumes=True, left=partial(self._pages.note, page, identity))


def _context(
    name: str, certificates: Sequence[ServerCertificate], rules: TlsRules, anchors: Sequence[x509.Certificate]
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(VERSIONS[rules.minimum])
    context.set_max_proto_version(VERSIONS[rules.maximum])
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    _present(context, certificates)
    _keep_sessions(context, name, rules)
    context.set_tls13_ciphersuites(_TLS13_CIPHERS)
    _choose_ciphers(context, rules.ciphers or _CIPHERS)
    if anchors:
        _ask_for_certificates(context, anchors)
    return context


def _present(context: SSL.Context, certificates: Sequence[ServerCertificate]) -> None:
    """One of each kind of key: OpenSSL shows a peer the one that it knows. The chains are sent with any."""
    above: list[x509.Certificate] = []
    try:
        for one in certificates:
            context.use_certificate(one.chain[0])
            context.use_privatekey(one.key)
            above += [each for each in one.chain[1:] if each not in above]
        for each in above:
            context.add_extra_chain_cert(each)
        context.check_privatekey()
    except SSL.Error as trouble:
        raise ValueError(
            f"the certificate and its key do not go together ({of_tls(trouble).reason})"
        ) from None


def _choose_ciphers(context: SSL.Context, ciphers: str) -> None:
    try:
        context.set_cipher_list(ciphers.encode())
    except SSL.Error:
        raise ValueError(f"{ciphers!r} names no cipher that OpenSSL knows") from None


def _keep_sessions(context: SSL.Context, name: str, rules: TlsRules) -> None:
    context.set_session_id(b"hilltop " + name.encode())
    if rules.session_lifetime_s:
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_timeout(rules.session_lifetime_s)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)


def _ask_for_certificates(context: SSL.Context, anchors: Sequence[x509.Certificate]) -> None:
    store = context.get_cert_store()
    if store is None:  # a context always has one
        raise ValueError("OpenSSL has no place for trust anchors")
    for one in anchors:
        store.add_cert(crypto.X509.from_cryptography(one))
        context.add_client_ca(one)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an issuing authority may be an anchor by itself
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)


def _verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, right: int) -> bool:
    tunnel = connection.get_app_data()
    return isinstance(tunnel, Tunnel) and tunnel.verify(certificate, error, depth, right=bool(right))


class TunnelFailed(Exception):  # noqa: N818 - named for what it is
    """TLS ended. ``alert`` is what to send to the peer, empty when it was the peer that ended it."""

    def __init__(self, trouble: TlsTrouble | CertificateTrouble, alert: bytes) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.alert = alert


class Tunnel:
    """One connection, from its first octet to its keys."""

    __slots__ = (
        "_connection", "_keep", "_left", "_refused", "_resumed_from", "_resumes", "_vet", "established",
    )  # fmt: skip

    def __init__(
        self, context: SSL.Context, vet: Vet | None, *, resumes: bool, left: Left | None = None
    ) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._connection.set_app_data(self)
        self._vet = vet
        self._resumes = resumes
        self._left = left
        self._refused: CertificateTrouble | None = None
        self._resumed_from = b""
        self._keep = False
        self.established = False

    def __repr__(self) -> str:
        return f"Tunnel(established={self.established})"

    def verify(self, certificate: crypto.X509, error: int, depth: int, *, right: bool) -> bool:
        """OpenSSL asks of each certificate of the peer's chain; the first refusal is what counts."""
        found = None if right else of_certificate(error)
        if found is None and depth == 0:
            found = self._vetted(certificate)
        if found is not None and self._refused is None:
            self._refused = found
        return found is None

    def _vetted(self, certificate: crypto.X509) -> CertificateTrouble | None:
        if self._vet is None:
            return None
        try:
            return self._vet(certificate.to_cryptography())
        except ValueError:  # OpenSSL is more patient with strange certificates than the other library
            return of_certificate(UNREADABLE)

    def take(self, octets: bytes) -> None:
        """Octets of the peer's handshake. Raises ``TunnelFailed``."""
        connection = self._connection
        connection.bio_write(octets)
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            if not self._resumed_from:
                self._resumed_from = self._session_secret()
        except SSL.Error as trouble:
            raise TunnelFailed(self._refused or of_tls(trouble), self.outgoing()) from None
        else:
            self.established = True

    def outgoing(self) -> bytes:
        """What TLS has to say to the peer; behind a short read nothing is left, so it is the last."""
        read = self._connection.bio_read
        said = b""
        try:
            while True:
                piece = read(_AT_ONCE)
                said += piece
                if len(piece) < _AT_ONCE:
                    return said
        except SSL.WantReadError:
            return said

    def read(self, octets: bytes = b"") -> bytes:
        """What the peer said inside, empty when nothing is complete. Raises ``TunnelFailed``."""
        connection = self._connection
        if octets:
            connection.bio_write(octets)
        clear = b""
        try:
            while True:
                clear += connection.recv(_AT_ONCE)
                if _is_one_record(octets):  # nearly always: another look would only raise
                    return clear
        except SSL.WantReadError:
            return clear
        except SSL.Error as trouble:  # a closed tunnel too
            raise TunnelFailed(of_tls(trouble), self.outgoing()) from None

    def seal(self, clear: bytes) -> bytes:
        """``clear`` for the peer, behind whatever TLS itself has to say."""
        self._connection.sendall(clear)
        return self.outgoing()

    @property
    def is_tls13(self) -> bool:
        """Which rules for keys and indications count."""
        return self._connection.get_protocol_version() == SSL.TLS1_3_VERSION

    @property
    def described(self) -> str:
        """The version and cipher, for people."""
        return f"{self._connection.get_protocol_version_name()} {self._connection.get_cipher_name()}"

    def export(self, label: bytes, size: int, context: bytes | None = None) -> bytes:
        """Keys for others from this session (RFC 5705; RFC 8446 section 7.5)."""
        return self._connection.export_keying_material(label, size, context)

    @property
    def randoms(self) -> bytes:
        """The client's and the server's random."""
        return (self._connection.client_random() or b"") + (self._connection.server_random() or b"")

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        """The certificate the peer proved to have, now or in the session that it resumed."""
        try:
            return self._connection.get_peer_certificate(as_cryptography=True)
        except ValueError:
            return None

    @property
    def resumed_from(self) -> bytes:
        """What names the session that was resumed; empty in a full handshake."""
        return _name_of(self._resumed_from) if self._resumed_from else b""

    @property
    def resumable_as(self) -> bytes:
        """What names the session that may be resumed next."""
        secret = self._session_secret()
        return _name_of(secret) if secret else b""

    def keep(self) -> None:
        """Let the peer resume this session: without this OpenSSL forgets it with the connection."""
        self._keep = True

    def close(self) -> None:
        """The last word: OpenSSL frees the connection, and its session unless that is kept."""
        if self._left is not None and self.established and not self._resumed_from:
            # TLS 1.3 has made two, and OpenSSL forgets only the last of them for a peer that was not let in
            self._left(self.is_tls13 + self._keep, kept=self._keep)
            self._left = None
        if self._keep:
            self._connection.set_shutdown(_QUIETLY)
        self._connection.set_app_data(None)

    def _session_secret(self) -> bytes:
        if not self._resumes:
            return b""
        try:
            return self._connection.master_key() or b""
        except SSL.Error:  # there is none yet
            return b""


def _is_one_record(octets: bytes) -> bool:
    """Whether the octets are one record of TLS that is read at once (RFC 8446 section 5.1)."""
    return len(octets) >= 5 and len(octets) == 5 + (octets[3] << 8 | octets[4])


def _name_of(secret: bytes) -> bytes:
    return sha256(b"hilltop session" + secret).digest()
