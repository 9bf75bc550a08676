"""A trivial UDP echo: what the generator reaches against it is the ceiling of every rate measured with it."""

from __future__ import annotations

import multiprocessing
import socket
from multiprocessing.process import BaseProcess


def _echo(endpoint: socket.socket) -> None:
    while True:
        datagram, source = endpoint.recvfrom(4096)
        endpoint.sendto(datagram[:20], source)


class Echo:
    """The echo in a process of its own; ``port`` on loopback."""

    def __init__(self) -> None:
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        endpoint.bind(("127.0.0.1", 0))
        self.port: int = endpoint.getsockname()[1]
        context = multiprocessing.get_context("fork")
        self._process: BaseProcess = context.Process(target=_echo, args=(endpoint,), daemon=True)
        self._process.start()
        endpoint.close()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join(5)
