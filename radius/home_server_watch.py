"""What the operator is told of home servers: who does not answer, and whose replies cannot be believed."""

from __future__ import annotations

from core.health import HealthIssue, close_issue, open_issue
from core.work import Workplace
from radius.home_servers import HomeServers, Server

_TOLD_FOR_S = 600.0


class HomeServerWatch:
    """Opens and closes the health issues of home servers, when they have changed."""

    def __init__(self, servers: HomeServers) -> None:
        self._servers = servers
        self._open: set[str] = set()
        self._inherited = True
        """What an earlier process found is closed unless this one finds it again."""

    async def turn(self, workplace: Workplace) -> None:
        """One look."""
        known, now_s = self._servers.known, workplace.clock.monotonic_s()
        wanted = {issue.key: issue for server in known for issue in _issues(server, now_s)}
        opening = wanted.keys() - self._open
        closing = self._open - wanted.keys()
        if self._inherited and known:
            closing |= {_key(kind, one) for kind in ("silent", "unbelieved") for one in known} - wanted.keys()
        if opening or closing:
            async with workplace.work("system:radius") as work:
                for key in sorted(opening):
                    await open_issue(work, wanted[key])
                for key in sorted(closing):
                    await close_issue(work, key)
        self._open = set(wanted)
        self._inherited = self._inherited and not known


def _key(kind: str, server: Server) -> str:
    return f"radius.home_server_{kind}:{server.told.id}"


def _issues(server: Server, now_s: float) -> list[HealthIssue]:
    name, found = server.told.name, []
    if server.dead_since_s is not None:
        found.append(
            HealthIssue(
                _key("silent", server), "warning", f"The home server {name} does not answer sign-ins",
                f"Look at {server.told.address} port {server.told.auth_port}: is it up, does it know us, has "
                "it the same secret? The next server of its realms is asked meanwhile.",
            )
        )  # fmt: skip
    if now_s - server.unbelieved_s < _TOLD_FOR_S:
        found.append(
            HealthIssue(
                _key("unbelieved", server), "warning", f"Replies of the home server {name} are not believed",
                "They are signed with another secret, or carry no Message-Authenticator (CVE-2024-3596): "
                "compare the secrets and update that server; as a last resort: "
                "hilltop home-server change NAME --no-signs-replies.",
            )
        )  # fmt: skip
    return found
