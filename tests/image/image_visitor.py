"""What visits a box from outside: an operator's browser at the panel, a NAS with radclient."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import subprocess
import time
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode


class Browser:
    """Signs in at a panel whose certificate is its own: the fingerprint is what is compared."""

    def __init__(self, host: str, port: int, *, patience_s: float = 30) -> None:
        self.host, self.port, self._patience_s = host, port, patience_s
        self._cookies: dict[str, str] = {}

    def _connect(self) -> http.client.HTTPSConnection:
        unproved = ssl.create_default_context()
        unproved.check_hostname = False
        unproved.verify_mode = ssl.CERT_NONE  # the test compares the fingerprint
        return http.client.HTTPSConnection(self.host, self.port, timeout=self._patience_s, context=unproved)

    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as the console shows it."""
        connection = self._connect()
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        digest = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest().upper()
        connection.close()
        return ":".join(digest[at : at + 2] for at in range(0, 64, 2))

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body (of a redirection: where it leads)."""
        connection = self._connect()
        place = self.host if self.port == 443 else f"{self.host}:{self.port}"
        headers = {"Origin": f"https://{place}"}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, None if fields is None else urlencode(fields), headers)
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name == "Set-Cookie":
                assert "secure" in value.lower() and "httponly" in value.lower(), value
                self._cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        body = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, answer.getheader("Location") or body

    def _token(self, path: str) -> str:
        status, page = self.ask("GET", path)
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert found is not None, f"{path}: {status}: {page[:500]}"
        return found[1]

    def sign_in(self, name: str, password: str) -> tuple[int, str]:
        """The answer to the sign-in form."""
        words = {"csrf": self._token("/sign-in"), "next": "", "name": name, "password": password}
        return self.ask("POST", "/sign-in", words)

    def choose_password(self, current: str, chosen: str) -> tuple[int, str]:
        """The answer to the form that an operator with a one-time password is led to."""
        words = {"csrf": self._token("/password"), "current": current, "chosen": chosen, "again": chosen}
        return self.ask("POST", "/password", words)

    def health(self) -> dict[str, Any] | None:
        """What /healthz says, None while nobody answers."""
        try:
            status, body = self.ask("GET", "/healthz")
        except (OSError, http.client.HTTPException):
            return None
        told: dict[str, Any] = json.loads(body)
        return told | {"http": status}


def radclient(host: str, port: int, kind: str, secret: str, *attributes: str, patience_s: int = 3) -> str:
    """Ask once as a NAS does; what radclient printed, empty when nobody answered."""
    asked = subprocess.run(
        ["radclient", "-x", "-t", str(patience_s), "-r", "1", f"{host}:{port}", kind, secret],
        input="\n".join([*attributes, "Message-Authenticator = 0x00"]) + "\n", capture_output=True, text=True,
    )  # fmt: skip
    return asked.stdout if asked.returncode == 0 or "Access-Reject" in asked.stdout else ""


def first_answer_s(host: str, port: int, secret: str, began_s: float, patience_s: float) -> float:
    """Seconds from ``began_s`` (monotonic) to the first answer to a Status-Server of a known NAS."""
    while time.monotonic() - began_s < patience_s:
        if "Received Access-Accept" in radclient(host, port, "status", secret, patience_s=1):
            return time.monotonic() - began_s
    raise AssertionError(f"no RADIUS answer within {patience_s:g} s")
