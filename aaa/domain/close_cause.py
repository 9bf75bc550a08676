"""Why a session ended, in words: what the NAS said (RFC 2866 section 5.10), or what was inferred."""

from __future__ import annotations

NOT_TOLD = {
    "lost_stop": "nothing more was heard of it for several interim intervals; it is taken to have ended with "
    "its last report",
    "nas_reboot": "its NAS started anew or gave its session id to another sign-in",
    "superseded": "a newer session of the same CPE, or of another subscriber at its address, took its place",
    "nas_lost_it": "its NAS said, when asked to change or end it, that it has no such session",
}
"""Causes that Hilltop inferred."""

TOLD = {
    "User-Request": "the CPE hung up",
    "Lost-Carrier": "the link to the CPE was lost",
    "Lost-Service": "the service was lost on the way to the CPE",
    "Idle-Timeout": "it was idle for longer than its time-out allows",
    "Session-Timeout": "it ran for as long as its time-out allows",
    "Admin-Reset": "an administrator or a Disconnect-Request ended it",
    "Admin-Reboot": "an administrator restarted the NAS",
    "Port-Error": "the NAS found an error on the port",
    "NAS-Error": "the NAS had an error",
    "NAS-Request": "the NAS ended it for a reason of its own",
    "NAS-Reboot": "the NAS restarted",
    "Port-Unneeded": "the NAS no longer needed the port",
    "Port-Preempted": "the NAS gave the port to somebody else",
    "Port-Suspended": "the NAS suspended the session",
    "Service-Unavailable": "the NAS could not provide the service",
    "Callback": "the NAS ended it to call back",
    "User-Error": "the CPE made an error",
    "Host-Request": "the host ended it normally",
    "Unspecified": "it ended; the NAS did not say why",
}
"""Acct-Terminate-Cause by name."""

CAUSES = {**TOLD, **NOT_TOLD}


def why_closed(cause: str | None, *, inferred: bool) -> str:
    """The sentence for a cause; nothing for a session that runs."""
    if cause is None:
        return ""
    words = CAUSES.get(cause, f"the NAS gave {cause}, which no RFC names")
    return f"inferred: {words}" if inferred else words
