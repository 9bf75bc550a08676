"""What the pipelines count. Every count names what happened to one datagram, or why there was no answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Datagrams since the start of this process, by what became of them."""

    accepts: int = 0
    walled: int = 0  # of the accepts, those into the walled garden
    rejects: int = 0
    challenges: int = 0  # EAP that goes on
    eap_ignored: int = 0  # a response to another request than the last
    eap_unfinished: int = 0  # conversations whose peer fell silent, or that had to make room
    accounting: int = 0  # committed and answered
    status: int = 0
    duplicates: int = 0  # answered again from memory
    duplicates_in_work: int = 0
    unknown_source: int = 0
    handed_over: int = 0  # of an EAP conversation that another of our processes holds
    malformed: int = 0
    unexpected_code: int = 0
    wrong_signature: int = 0  # Message-Authenticator or request authenticator: another shared secret
    unsigned_refused: int = 0  # the NAS is known to sign, or must
    unsigned_accepted: int = 0  # an old NAS under "auto" or "off"
    suspected_wrong_secret: int = 0
    slow_proofs: int = 0  # passwords given to a thread, to be checked against argon2id or bcrypt
    slow_proofs_refused: int = 0  # too many waited already: no answer, the NAS asks again
    stale_silent: int = 0  # the profile wants silence while the database is away for long
    gear_accepts: int = 0  # operators let in to network gear
    gear_not_recorded: int = 0  # an operator's sign-in that could not be put on record: no answer
    over_limit: int = 0  # more from one source or NAS than a worker takes
    held_back: int = 0  # refused unread after wrong passwords
    lockouts_not_kept: int = 0  # more logins guessed at than are watched
    unknown_not_answered: int = 0  # a storm of names nobody has
    rejects_not_queued: int = 0
    rejects_not_recorded: int = 0
    journal_failures: int = 0  # not committed, not answered
    journal_backlog_full: int = 0
    leases_written: int = 0  # Accepts that waited until what they give was on disk
    leases_awaited: int = 0  # no answer, because the next addresses are being set aside
    proxied: int = 0  # sign-ins forwarded to a home server
    proxy_accepts: int = 0
    proxy_rejects: int = 0
    proxy_unanswered: int = 0  # by no home server in time; the NAS got silence
    proxy_retransmits: int = 0
    proxy_late: int = 0  # replies that nobody waits for any more
    proxy_wrong_signature: int = 0  # replies of another secret, or unsigned
    proxy_loops: int = 0  # requests that have been here before
    proxy_full: int = 0  # too many wait already
    proxy_deaths: int = 0  # home servers that stopped answering
    radsec_admitted: int = 0  # connections whose certificate was a NAS's
    radsec_refused: int = 0  # certificate missing, unknown, revoked, or no NAS's
    radsec_full: int = 0  # too many connections
    radsec_timed_out: int = 0  # handshake, half packet or unread replies took too long; or idle
    radsec_broken: int = 0  # closed for what cannot be a RADIUS packet
    not_sent: int = 0  # the socket would not take the reply
    failures: int = 0  # an exception of our own: a defect

    def again(self, reply: bytes | None) -> bytes | None:
        """Count a retransmit, and give the reply it got before; None while the request is in work."""
        if reply is None:
            self.duplicates_in_work += 1
        else:
            self.duplicates += 1
        return reply

    def snapshot(self) -> dict[str, int]:
        """The counts as they are now."""
        return asdict(self)
