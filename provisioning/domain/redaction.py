"""Keeping secrets out of transcripts. Pure.

Two nets: the secrets that the session itself uses, wherever they appear, and the values of words that name
secrets in RouterOS and Linux consoles, whoever typed or printed them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "<redacted>"

# RouterOS (password=, secret=, wpa2-pre-shared-key=, private-key=, authentication-password=, community …) and
# Linux tools (psk=, passphrase, api_key, token=); a value is quoted, with escapes, or runs to the next blank.
_WORD = (
    r"(?:[\w.-]*(?:password|passwd|passphrase|secret|pre-?shared-?key|private-?key|auth-?key|api[-_]?key|psk|token"
    r"|communit(?:y|ies))|(?:[\w.]+-)?key)"
)
_VALUE = r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\s"\';,]+'
_ASSIGNED = re.compile(rf"(?<![\w-])({_WORD}\s*=\s*)(?:{_VALUE})", re.IGNORECASE)
_LABELLED = re.compile(rf"(?<![\w-])({_WORD}\s*:[ \t]*)(?:{_VALUE})", re.IGNORECASE)
_SPOKEN = re.compile(
    rf"(?<![\w-])((?:password|passphrase|secret|psk|pre-shared-key|snmp-server community|r[ow]community6?)"
    rf"[ \t]+)(?:{_VALUE})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]+")
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+(?=@)", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_CRYPT = re.compile(r"\$(?:1|2[aby]?|5|6|7|y|argon2\w*)\$[./A-Za-z0-9$=,+-]{8,}")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with every secret replaced by ``<redacted>``."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if secret:
            text = text.replace(secret, HIDDEN)
    text = _PEM.sub(HIDDEN, text)
    text = _CRYPT.sub(HIDDEN, text)
    for pattern in (_ASSIGNED, _LABELLED, _SPOKEN, _BEARER, _IN_URL):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text
