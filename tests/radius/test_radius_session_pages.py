"""Sessions with certificates take bounded memory: whole pages of them go, the oldest first."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from eapol import Authority
from OpenSSL import SSL

from radius.eap.certificates import read_server_certificate
from radius.eap.tls_session import TlsRules, TlsServer

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass
class Cpe:
    """A peer with a certificate; ``sign_in`` says whether it resumed."""

    server: TlsServer
    context: SSL.Context
    identity: bytes
    session: Any = field(default=None)

    def sign_in(self, *, let_in: bool = True) -> bool:
        wire = SSL.Connection(self.context, None)
        wire.set_connect_state()
        if self.session is not None:
            wire.set_session(self.session)
        tunnel = self.server.open(self.identity)
        while not tunnel.established:
            with suppress(SSL.WantReadError):
                wire.do_handshake()
            tunnel.take(wire.bio_read(65_536))
            if said := tunnel.outgoing():
                wire.bio_write(said)
        with suppress(SSL.WantReadError):
            wire.do_handshake()
            wire.recv(1)
        if let_in:
            tunnel.keep()
        resumed = bool(tunnel.resumed_from)
        tunnel.close()
        self.session = wire.get_session()
        wire.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return resumed


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _server(authority: Authority, version: str, page: int) -> TlsServer:
    certificate = read_server_certificate(*authority.issue("radius.example", server=True))
    anchor = x509.load_pem_x509_certificate(authority.file.read_bytes())
    return TlsServer("tls", [certificate], TlsRules(version, version), [anchor], sessions_of_page=page)


def _context(authority: Authority) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    chain, key = authority.issue("cpe.example")
    context.use_certificate_chain_file(str(chain))
    context.use_privatekey_file(str(key))
    return context


def test_the_oldest_page_goes_and_its_memory_with_it(authority: Authority, version: str) -> None:
    each = 2 if version == "1.3" else 1
    server, context = _server(authority, version, 4 * each), _context(authority)
    assert server._pages is not None
    first = weakref.ref(server._pages.page_of(b""))
    cpes = [Cpe(server, context, b"cpe %d" % number) for number in range(14)]
    assert [cpe.sign_in() for cpe in cpes] == [False] * 14
    gc.collect()
    assert first() is None, "with the page OpenSSL's store of it goes"
    resumed = [cpe.sign_in() for cpe in reversed(cpes)]
    assert resumed == [True] * 6 + [False] * 8, "two on the page in use, four on the one before it"


def test_who_is_on_the_page_in_use_resumes_again_and_again(authority: Authority, version: str) -> None:
    server = _server(authority, version, 4)
    cpe = Cpe(server, _context(authority), b"cpe")
    assert [cpe.sign_in() for _ in range(12)] == [False] + [True] * 11


def test_who_is_on_the_page_before_resumes_once_and_then_begins_on_the_new_one(
    authority: Authority, version: str
) -> None:
    each = 2 if version == "1.3" else 1
    server, context = _server(authority, version, 2 * each), _context(authority)
    old, other = (Cpe(server, context, name) for name in (b"old", b"other"))
    assert [old.sign_in(), other.sign_in()] == [False, False]
    assert [old.sign_in() for _ in range(4)] == [True, False, True, True]


def test_who_is_not_let_in_fills_no_page_that_is_never_turned(authority: Authority) -> None:
    """OpenSSL keeps the first of TLS 1.3's two sessions, whatever becomes of the peer."""
    server, context = _server(authority, "1.3", 4), _context(authority)
    pages = server._pages
    assert pages is not None
    first = weakref.ref(pages.page_of(b""))
    for _ in range(8):
        Cpe(server, context, b"refused").sign_in(let_in=False)
    gc.collect()
    assert first() is None
    assert pages.page_of(b"refused") is pages.page_of(b"")
