"""Answers that leave together: the same datagrams, in fewer calls, and singly where the kernel will not."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from radius.reply.cache import Source
from radius.serving.endpoint import Datagram, Endpoint
from radius.serving.sockets import bind_endpoint


class _Counted(socket.socket):
    """A real socket whose ``sendmsg`` is counted, and may refuse to send several datagrams at once."""

    refuses = 0

    def __init__(self, listen: str) -> None:
        super().__init__(fileno=bind_endpoint(listen).detach())
        self.setblocking(False)
        self.together: list[int] = []

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        if len(buffers) > 1:
            if self.refuses:
                raise OSError(self.refuses, "refused")
            self.together.append(len(buffers))
        return super().sendmsg(buffers, ancillary, flags, address)


class _Nas:
    """Asks from one port."""

    def __init__(self, server: Endpoint, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.endpoint = socket.socket(family, socket.SOCK_DGRAM)
        self.endpoint.settimeout(5)
        self.endpoint.connect((host, server.port))

    def ask(self, *requests: bytes) -> None:
        for one in requests:
            self.endpoint.send(one)

    def told(self, count: int) -> list[bytes]:
        return [self.endpoint.recv(4_096) for _ in range(count)]

    def hears_no_more(self) -> bool:
        self.endpoint.setblocking(False)
        try:
            self.endpoint.recv(4_096)
        except BlockingIOError:
            return True
        return False


def _answering(listen: str, refuses: int = 0) -> tuple[Endpoint, _Counted]:
    """Answers each request with itself."""

    def handle(datagrams: list[Datagram]) -> None:
        for datagram, source in datagrams:
            endpoint.post(datagram, source)

    counted = _Counted(listen)
    counted.refuses = refuses
    endpoint = Endpoint(listen, handle, counted)
    return endpoint, counted


@pytest.mark.parametrize(
    ("listen", "host"),
    [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.77"), ("[::1]:0", "::1"), ("[::]:0", "::1")],
)
async def test_answers_of_one_length_to_one_source_leave_in_one_call(listen: str, host: str) -> None:
    server, counted = _answering(listen)
    one, other = _Nas(server, host), _Nas(server, host)
    same = [bytes((number,)) * 90 for number in range(7)]
    one.ask(*same, b"short", b"a" * 1_300, b"b" * 1_300)
    other.ask(*same[:2])
    server.turn()
    assert sorted(one.told(10)) == sorted([*same, b"short", b"a" * 1_300, b"b" * 1_300])
    assert other.told(2) == same[:2]
    assert one.hears_no_more() and other.hears_no_more()
    assert sorted(counted.together) == [2, 7], "the long ones may not fit their path together"
    assert server.not_sent == 0
    server.close()


@pytest.mark.parametrize("trouble", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
async def test_where_the_kernel_refuses_they_leave_one_by_one(trouble: int) -> None:
    server, counted = _answering("127.0.0.1:0", refuses=trouble)
    one = _Nas(server, "127.0.0.1")
    for turn in range(2):
        asked = [bytes((number + 10 * turn,)) * 40 for number in range(5)]
        one.ask(*asked)
        server.turn()
        assert one.told(5) == asked
        counted.refuses = 0  # a second try would be taken, and is not made
    assert counted.together == []
    assert server.not_sent == 0
    server.close()


async def test_a_full_socket_is_counted_and_ends_nothing() -> None:
    server, _ = _answering("127.0.0.1:0", refuses=errno.EAGAIN)
    one = _Nas(server, "127.0.0.1")
    one.ask(b"one", b"two")
    server.turn()
    assert server.not_sent == 2
    one.ask(b"alone")
    server.turn()
    assert one.told(1) == [b"alone"]
    server.close()


async def test_what_is_posted_between_wake_ups_leaves_by_itself() -> None:
    sources: list[Source] = []
    server = Endpoint("127.0.0.1:0", lambda datagrams: sources.extend(source for _, source in datagrams))
    one = _Nas(server, "127.0.0.1")
    one.ask(b"?")
    server.turn()
    for number in range(3):
        server.post(bytes((number,)), sources[0])
    await asyncio.sleep(0)
    assert one.told(3) == [b"\0", b"\1", b"\2"]
    server.post(b"last", sources[0])
    server.close()
    assert one.told(1) == [b"last"]


async def test_a_handler_that_fails_holds_no_answer_back() -> None:
    def handle(datagrams: list[Datagram]) -> None:
        server.post(b"said", datagrams[0][1])
        raise ValueError("then it failed")

    server = Endpoint("127.0.0.1:0", handle)
    one = _Nas(server, "127.0.0.1")
    one.ask(b"?")
    with pytest.raises(ValueError, match="then it failed"):
        server.turn()
    assert one.told(1) == [b"said"]
    server.close()


async def test_whoever_watches_sees_each_answer_as_it_is_given() -> None:
    server, counted = _answering("127.0.0.1:0")
    seen: list[bytes] = []
    server.send = lambda reply, _source: seen.append(reply)
    one = _Nas(server, "127.0.0.1")
    one.ask(b"one", b"two")
    server.turn()
    assert seen == [b"one", b"two"]
    assert counted.together == []
    server.close()
