"""TLS messages in EAP packets: flags, lengths and fragments (RFC 5216 section 3, RFC 5281, MS-PEAP). Pure.

A message longer than a packet travels in pieces, each of which the other side acknowledges with an empty one.
Whatever the other side claims of lengths is checked against what it sent and against a bound.
"""

from __future__ import annotations

from typing import Final

from radius.eap.packet import MalformedEap

LENGTH_INCLUDED: Final = 0x80
MORE_FRAGMENTS: Final = 0x40
START: Final = 0x20
VERSION: Final = 0x07

LONGEST_MESSAGE: Final = 65_536
"""Octets of one message from a peer: a certificate chain of many kilobytes, and no end of memory."""


class Reassembly:
    """The pieces of one message that comes in."""

    __slots__ = ("_announced", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._announced: int | None = None

    def take(self, data: bytes) -> bytes | None:
        """The data of one EAP packet: the whole message when it is complete, None while more is to come.

        An empty message is an acknowledgement. Raises ``MalformedEap`` when flags and lengths contradict
        each other or the message is longer than any may be.
        """
        if not data:
            raise MalformedEap("no flags")
        flags, at = data[0], 1
        if flags & START:
            raise MalformedEap("the start flag in a response")
        if flags & LENGTH_INCLUDED:
            at = 5
            self._announce(data)
        piece = data[at:]
        if flags & MORE_FRAGMENTS and not piece:
            raise MalformedEap("an empty fragment")
        self._size += len(piece)
        if self._size > (LONGEST_MESSAGE if self._announced is None else self._announced):
            raise MalformedEap("more octets than announced, or than a message may have")
        self._pieces.append(piece)
        return None if flags & MORE_FRAGMENTS else self._complete()

    def _announce(self, data: bytes) -> None:
        if len(data) < 5:
            raise MalformedEap("the length flag without a length")
        announced = int.from_bytes(data[1:5], "big")
        if announced > LONGEST_MESSAGE:
            raise MalformedEap("a message longer than any may be")
        if self._announced is not None and announced != self._announced:
            raise MalformedEap("two lengths of one message")
        self._announced = announced

    def _complete(self) -> bytes:
        if self._announced is not None and self._size != self._announced:
            raise MalformedEap("fewer octets than announced")
        message = b"".join(self._pieces)
        self._pieces, self._size, self._announced = [], 0, None
        return message

    @property
    def is_under_way(self) -> bool:
        """Whether pieces of a message have come and not its end."""
        return bool(self._pieces)


class Fragments:
    """The pieces of one message that goes out."""

    __slots__ = ("_at", "_message", "_size")

    def __init__(self, message: bytes, size: int) -> None:
        """``size``: octets of TLS in each packet."""
        self._message = message
        self._size = size
        self._at = 0

    @property
    def is_finished(self) -> bool:
        """Whether the last piece has been taken."""
        return self._at > 0 and self._at >= len(self._message)

    def next(self) -> bytes:
        """The data of the next packet. The first of several announces the length of the whole."""
        message, at = self._message, self._at
        rest = len(message) - at
        if at == 0 and rest <= self._size:
            self._at = max(rest, 1)
            return b"\0" + message
        header = b""
        if at == 0:
            flags = LENGTH_INCLUDED | MORE_FRAGMENTS
            header = len(message).to_bytes(4, "big")
        else:
            flags = MORE_FRAGMENTS if rest > self._size else 0
        self._at = at + self._size
        return bytes((flags,)) + header + message[at : at + self._size]
