"""What the operator is told of home servers: who does not answer, and whose replies cannot be believed."""

from __future__ import annotations

from collections.abc import Iterable

from aaa.directory import Directory
from core.health import HealthIssue
from radius.proxying.home_servers import Server

_TOLD_FOR_S = 600.0
_KINDS = ("silent", "unbelieved")


def home_server_issue_keys(directory: Directory) -> set[str]:
    """What an earlier process may have found: it is closed unless this one finds it again."""
    realms = () if directory.realms is None else directory.realms.by_name.values()
    return {_key(kind, server.id) for realm in realms for server in realm.servers for kind in _KINDS}


def home_server_issues(servers: Iterable[Server], now_s: float) -> list[HealthIssue]:
    """What is to be told now."""
    return [issue for server in servers for issue in _issues(server, now_s)]


def _key(kind: str, server_id: str) -> str:
    return f"radius.home_server_{kind}:{server_id}"


def _issues(server: Server, now_s: float) -> list[HealthIssue]:
    told, found = server.told, []
    if server.dead_since_s is not None:
        found.append(
            HealthIssue(
                _key("silent", told.id), "warning", f"The home server {told.name} does not answer sign-ins",
                f"Look at {told.address} port {told.auth_port}: is it up, does it know us, has it the same "
                "secret? The next server of its realms is asked meanwhile.",
            )
        )  # fmt: skip
    if now_s - server.unbelieved_s < _TOLD_FOR_S:
        found.append(
            HealthIssue(
                _key("unbelieved", told.id), "warning",
                f"Replies of the home server {told.name} are not believed",
                "They are signed with another secret, or carry no Message-Authenticator (CVE-2024-3596): "
                "compare the secrets and update that server; as a last resort: "
                "hilltop home-server change NAME --no-signs-replies.",
            )
        )  # fmt: skip
    return found
