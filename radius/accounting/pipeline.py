"""The accounting pipeline: a datagram in; an answer, a record to be committed first, or nothing out.

An Accounting-Response says "I have it" (RFC 2866 section 2), so it exists before the commit but leaves
after. What cannot be committed is forgotten again and the NAS tries once more.
"""

from __future__ import annotations

from typing import NamedTuple

from radius.accounting.journal import Record
from radius.guard.pipeline_limits import PipelineLimits
from radius.nas.table import NasState, NasTable
from radius.packet.codec import (
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    STATUS_SERVER,
    MalformedPacket,
    locate,
    proxy_states,
    trim,
)
from radius.reply.cache import Key, ReplyCache, Source
from radius.serving.counters import Counters
from radius.sign_in.live_devices import LiveDevices


class Pending(NamedTuple):
    """A record that must be on disk before ``reply`` may go to ``source``."""

    record: Record
    key: Key
    fingerprint: int
    reply: bytes


class AccountingPipeline:
    """Takes what comes to one accounting socket."""

    def __init__(
        self,
        nases: NasTable,
        counters: Counters,
        limits: PipelineLimits | None = None,
        devices: LiveDevices | None = None,
    ) -> None:
        limits = limits or PipelineLimits()
        self._nases = nases
        self._replies = ReplyCache(limits.duplicate_memory_s, limits.duplicate_entries)
        self._devices = devices
        self.counters = counters

    def receive(  # noqa: PLR0911 - the ways out without a reply
        self, datagram: bytes, source: Source, now_us: int
    ) -> bytes | Pending | None:
        """A reply to send at once, a record to commit first, or nothing; ``now_us`` since 1970."""
        nas = self._nases.at(source[0])
        if nas is None:
            self.counters.unknown_source += 1
            self._nases.note_stranger(source[0])
            return None
        nas.reports_left -= 1.0
        if nas.reports_left < 0.0 and not nas.refill_reports(now_us / 1e6):
            self.counters.over_limit += 1
            return None
        try:
            packet = trim(datagram)
            key = (source, packet[1])
            known = self._replies.find(key, hash(packet))
            if known is not None:
                return self.counters.again(known[1])
            if packet[0] == ACCOUNTING_REQUEST:
                return self._accounting(nas, packet, key, now_us)
            if packet[0] == STATUS_SERVER:
                return self._status(nas, packet)
        except MalformedPacket:
            self.counters.malformed += 1
            return None
        self.counters.unexpected_code += 1
        return None

    def _accounting(self, nas: NasState, packet: bytes, key: Key, now_us: int) -> Pending | None:
        if not nas.secret.request_is_right(packet) and not nas.other_made(packet):
            self.counters.wrong_signature += 1
            nas.wrong += 1
            return None
        nas.right += 1
        first, repeats = locate(packet)
        at = first.get(80)
        if at is not None and not nas.secret.accounting_is_signed(packet, at):
            self.counters.wrong_signature += 1
            return None
        proxied = b"" if 33 not in first else proxy_states(packet, first, repeats)
        reply = nas.secret.plain_reply(ACCOUNTING_RESPONSE, packet, proxied)
        self._replies.put(key, hash(packet), None)
        return Pending(Record(now_us, nas.nas.id, key[0][0], packet), key, hash(packet), reply)

    def _status(self, nas: NasState, packet: bytes) -> bytes | None:
        reply = nas.status_reply(ACCOUNTING_RESPONSE, packet)
        if reply is None:
            self.counters.wrong_signature += 1
        else:
            self.counters.status += 1
        return reply

    def settle(self, pending: Pending, *, committed: bool) -> bytes | None:
        """The commit has ended: the reply to send, or nothing when the record is not on disk."""
        if not committed:
            self._replies.drop(pending.key, pending.fingerprint)
            self.counters.journal_failures += 1
            return None
        if self._devices is not None and self._devices.watching:
            self._devices.note(pending.record)
        self._replies.complete(pending.key, pending.fingerprint, pending.reply)
        self.counters.accounting += 1
        return pending.reply

    def refuse(self, pending: Pending) -> None:
        """The journal takes no more: forget the request, so that its retransmit is tried afresh."""
        self._replies.drop(pending.key, pending.fingerprint)
        self.counters.journal_backlog_full += 1

    def age(self, now_s: float) -> None:
        """Let time pass for the remembered replies."""
        self._replies.age(now_s)
