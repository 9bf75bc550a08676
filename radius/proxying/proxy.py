"""Sign-ins of other realms: forwarded to their home server, its answer brought back to the NAS.

Nothing of it is met by a sign-in while no realm is defined.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import partial

from aaa.directory import Directory
from aaa.directory_realms import Realm, Realms
from aaa.domain.realm import split_realm
from radius.dictionary.attributes import AttributeDictionary, attribute_dictionary
from radius.nas.table import NasState
from radius.packet.codec import ACCESS_ACCEPT, ACCESS_REJECT, Attr
from radius.packet.shared_secret import SharedSecret, new_salt
from radius.proxying.home_servers import HomeServers, Replied
from radius.proxying.packets import (
    Homeward,
    Looping,
    Nasward,
    Place,
    answer_for_nas,
    attributes_of,
    check_loop,
    forward_access,
)
from radius.serving.counters import Counters

_STATES_KEPT = 8_192
_STATE_OCTETS = 8


@dataclass(frozen=True, slots=True)
class Foreign:
    """A sign-in that is another server's to decide. ``settle`` gets the code and attributes, or None."""

    nas: NasState
    packet: bytes
    username: bytes
    settle: Callable[[int | None, bytes], None] = field(repr=False)


class Proxy:
    """Forwards for one process; the pipelines of all its sockets share it."""

    def __init__(
        self, servers: HomeServers, counters: Counters, marker: bytes, dictionary_files: Sequence[str] = ()
    ) -> None:
        self.servers = servers
        self._counters = counters
        self._marker = marker
        self._files = dictionary_files
        self._realms: Realms | None = None
        self._logins: Container[bytes] = ()
        self.troubles: tuple[str, ...] = ()
        """What realms name that no dictionary knows."""
        self.waiting = 0
        """Sign-ins that wait for a home server."""
        self._passes: dict[str, frozenset[Place] | None] = {}
        self._states: dict[bytes, str] = {}
        """Which server gave a State: the conversation goes on there."""

    def use(self, directory: Directory) -> None:
        """Ask the servers of this snapshot from now on."""
        realms = directory.realms
        self._logins = directory.logins
        if realms is self._realms:
            return
        self._realms = realms
        if realms is None:
            self.servers.use(())
            return
        named, troubles = attribute_dictionary(self._files), list[str]()
        self._passes = {one.id: _places(one, named, troubles) for one in realms.by_name.values()}
        self.troubles = tuple(troubles)
        asked = {server.id: server for one in realms.by_name.values() for server in one.servers}
        self.servers.use(list(asked.values()))

    def forward(self, foreign: Foreign, realm: Realm) -> bool:
        """Whether the request is on its way; ``foreign.settle`` is called once if so, maybe at once."""
        try:
            check_loop(foreign.packet, self._marker)
        except Looping:
            self._counters.proxy_loops += 1
            return False
        state = next((value for kind, value in attributes_of(foreign.packet) if kind == Attr.STATE), None)
        servers = [one.id for one in realm.servers]
        last = self._states.get(state) if state is not None else None
        if last in servers:
            servers = [last]  # nobody else knows this conversation
        username: bytes | None = None
        if realm.strip and (parts := split_realm(foreign.username)) is not None:
            username = parts[0]
        proxy_state = self._marker + os.urandom(_STATE_OCTETS)

        def make(home: SharedSecret, identifier: int, authenticator: bytes) -> bytes:
            homeward = Homeward(foreign.nas.secret, home, proxy_state, username)
            return forward_access(foreign.packet, homeward, identifier, authenticator)

        if foreign.nas.forwarded >= self.servers.most_of_one:  # nobody's flood shuts out the other NASes
            self._counters.proxy_full += 1
            return False
        self._note_waiting(foreign, 1)
        if not self.servers.ask(servers, make, partial(self._answered, foreign, realm)):
            self._note_waiting(foreign, -1)
            self._counters.proxy_full += 1
            return False
        self._counters.proxied += 1
        return True

    def _note_waiting(self, foreign: Foreign, change: int) -> None:
        self.waiting += change
        foreign.nas.forwarded += change

    def _answered(self, foreign: Foreign, realm: Realm, replied: Replied | None) -> None:
        self._note_waiting(foreign, -1)
        answer = None
        if replied is not None:
            passes = self._passes.get(realm.id, frozenset())
            nasward = Nasward(
                foreign.packet, replied.request, foreign.nas.secret, replied.secret, new_salt, passes,
                partial(self._is_of, realm),
            )  # fmt: skip
            answer = answer_for_nas(replied.reply, nasward)
        if replied is None or answer is None:
            self._counters.proxy_unanswered += 1
            foreign.settle(None, b"")
            return
        if answer.state is not None:
            self._remember(answer.state, replied.server_id)
        attributes = answer.attributes
        if answer.code == ACCESS_ACCEPT and realm.terms is not None:
            attributes += foreign.nas.encoded(realm.terms)
        self._counters.proxy_accepts += answer.code == ACCESS_ACCEPT
        self._counters.proxy_rejects += answer.code == ACCESS_REJECT
        foreign.settle(answer.code, attributes)

    def _is_of(self, realm: Realm, username: bytes) -> bool:
        found = None if self._realms is None else self._realms.of(username, self._logins)
        return found is not None and found.id == realm.id

    def _remember(self, state: bytes, server_id: str) -> None:
        if len(self._states) >= _STATES_KEPT:
            for old in list(self._states)[: _STATES_KEPT // 4]:
                del self._states[old]
        self._states[state] = server_id


def _places(realm: Realm, named: AttributeDictionary, troubles: list[str]) -> frozenset[Place] | None:
    """The attributes that a realm's accept may bring; None: every one."""
    if "*" in realm.passes:
        return None
    found: set[Place] = set()
    for name in realm.passes:
        definition = named.find(name)
        if definition is None or len(definition.path) != 1:
            troubles.append(f"realm {realm.name} lets {name} pass, which no dictionary knows")
            continue
        found.add((definition.vendor, definition.path[0]))
    return frozenset(found)
