"""The UDP sockets that RADIUS is answered on: bound here, read by ``radius.serving.endpoint``.

Only light imports: the process that owns them for all others has nothing else to do.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from core.endpoints import split_endpoint

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_BUFFER_OCTETS = 8 << 20
_SO_RCVBUFFORCE = 33
IP_PKTINFO = 8  # Linux; socket has the name from Python 3.12 on
_IPV6_RECVPKTINFO = 49
_DISCARD_PORT = 9


def bind_endpoint(listen: str) -> socket.socket:
    """A socket on ``host:port`` for one process. Raises ``OSError`` that names the place."""
    return _bound_socket(*split_endpoint(listen))


def bind_shared(listen: str, count: int, beside: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """``count`` sockets on the same ``host:port``, one for each of our processes.

    The kernel divides by source address and port: what a NAS repeats comes to the process it came to before.
    ``beside`` are sockets that we have there already. Raises ``OSError`` that names the place, also when
    another program has it.
    """
    host, port = split_endpoint(listen)
    if beside:
        port = int(beside[0].getsockname()[1])
    else:
        with _bound_socket(host, port) as probe:  # who shares is not refused, so a stranger is seen only so
            port = int(probe.getsockname()[1])
    made: list[socket.socket] = []
    try:
        made.extend(_bound_socket(host, port, shared=True) for _ in range(count))
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def retire(shared: socket.socket) -> None:
    """Have the kernel give this socket nothing more, but leave what waits in it to its reader.

    A socket with a peer is passed over for datagrams from anyone else; sending is not affected.
    """
    host = shared.getsockname()[0]
    loopback = "::1" if shared.family == socket.AF_INET6 else "127.0.0.1"
    with contextlib.suppress(OSError):  # the network may be gone: then nothing comes either
        shared.connect((loopback if host in WILDCARDS else host, _DISCARD_PORT))


def _bound_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _enlarge(made)
        if host in WILDCARDS:
            _note_arrival(made, family)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except OSError as trouble:
        made.close()
        raise OSError(trouble.errno, f"{host} port {port}: {trouble.strerror}") from trouble
    return made


def _enlarge(made: socket.socket) -> None:
    """Room for the burst after a power cut: the size we want with CAP_NET_ADMIN, else what is allowed."""
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_OCTETS)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)


def _note_arrival(made: socket.socket, family: int) -> None:
    if family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
