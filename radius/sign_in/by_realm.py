"""Sign-ins of other realms: on their way to the home server, and its answer on the way back to the NAS."""

from __future__ import annotations

from contextlib import suppress

from aaa.directory import Directory
from aaa.directory_realms import Realms
from radius.nas.table import NasState
from radius.packet.codec import MalformedPacket, proxy_states
from radius.proxying.proxy import Foreign, Proxy
from radius.reply.cache import Key
from radius.sign_in.answers import Answers


class ForeignSignIns:
    """The proxy's part of one pipeline."""

    __slots__ = ("_answers", "_logins", "_proxy", "realms")

    def __init__(self, answers: Answers, proxy: Proxy | None) -> None:
        self.realms: Realms | None = None
        """None while nobody is asked about sign-ins, and nothing here is called."""
        self._answers = answers
        self._proxy = proxy
        self._logins: Directory | None = None

    def use(self, directory: Directory) -> None:
        """Ask the home servers of this snapshot from now on."""
        realms = directory.realms
        self.realms = realms if self._proxy is not None and realms is not None and realms.by_name else None
        self._logins = directory

    def forward(
        self, nas: NasState, packet: bytes, key: Key, located: tuple[dict[int, int], list[int]]
    ) -> bool:
        """Whether the sign-in is another server's to decide; then it is on its way there, or gets silence."""
        first, repeats = located
        at = first.get(1)
        if at is None or self.realms is None or self._proxy is None or self._logins is None:
            return False
        username = packet[at + 2 : at + packet[at + 1]]
        realm = self.realms.of(username, self._logins.logins)
        if realm is None:
            return False
        replies, send = self._answers.replies, self._answers.late.send
        fingerprint, proxied = hash(packet), proxy_states(packet, first, repeats)
        replies.put(key, fingerprint, None)

        def settle(code: int | None, attributes: bytes) -> None:
            if replies.find(key, fingerprint) is None:
                return  # whoever asked has asked something else since then
            replies.drop(key, fingerprint)
            if code is not None:
                with suppress(MalformedPacket):  # what the home server sent does not fit
                    reply = nas.secret.reply(code, packet, attributes + proxied)
                    replies.put(key, fingerprint, reply)
                    send(reply, key[0])

        if not self._proxy.forward(Foreign(nas, packet, username, settle), realm):
            replies.drop(key, fingerprint)
        return True
