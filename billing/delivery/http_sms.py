"""Text messages by HTTP POST, for gateways in the cloud and for a phone with a SIM on the shelf."""

from __future__ import annotations

import re
from collections.abc import Mapping

from billing.ports import SmsFate
from core.secrets import Secret

PATIENCE_S = 20.0
_TRY_AGAIN = {408, 425, 429}


class HttpSms:
    """One gateway. What it answers beyond the status is not kept: it may repeat secrets."""

    def __init__(
        self, url: str, body_kind: str, body: Mapping[str, str], auth_header: str, auth: Secret | None
    ) -> None:
        self._url = url
        self._body_kind = body_kind
        self._body = dict(body)
        self._headers = {} if auth is None else {auth_header: auth.reveal()}

    async def send(self, message_id: str, to_number: str, text: str) -> SmsFate:
        """2xx is taken, 4xx final but for time-outs and too many requests; all else may go better later."""
        from aiohttp import ClientError, ClientSession, ClientTimeout

        put_in = {"{to}": to_number, "{id}": message_id, "{text}": text}
        fields = {name: _fill(value, put_in) for name, value in self._body.items()}
        as_json, as_form = (fields, None) if self._body_kind == "json" else (None, fields)
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as session,
                session.post(
                    self._url, headers=self._headers, allow_redirects=False, json=as_json, data=as_form
                ) as answer,
            ):
                status = answer.status
        except TimeoutError:
            return SmsFate(taken=False, reason="the gateway did not answer in time")
        except (ClientError, OSError, ValueError) as trouble:
            return SmsFate(taken=False, reason=f"the gateway is not reached: {type(trouble).__name__}")
        if 200 <= status < 300:
            return SmsFate(taken=True)
        final = 400 <= status < 500 and status not in _TRY_AGAIN
        return SmsFate(taken=False, reason=f"the gateway answered {status}", final=final)


def _fill(text: str, put_in: Mapping[str, str]) -> str:
    """Marks of the template alone are filled in, never those within a value."""
    marks = re.compile("|".join(re.escape(mark) for mark in put_in))
    return marks.sub(lambda found: put_in[found[0]], text)
