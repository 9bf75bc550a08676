"""Names that nobody can make up: the mark of a message in its return path, and links to documents."""

from __future__ import annotations

import base64
import hmac

from core.secrets import Sealer

_MARK_OCTETS = 10
_LINK_OCTETS = 20


def mark_of(sealer: Sealer, message_id: str) -> str:
    """The mark of a message: its id without prefix, and a signature; lower case, for mail folds case."""
    name = message_id.removeprefix("msg_")
    return f"{name}-{_sign(sealer, 'mail-bounce', message_id, _MARK_OCTETS)}"


def message_of(sealer: Sealer, mark: str) -> str | None:
    """The message that a mark names; None for one that we did not make."""
    name, _, signature = mark.lower().rpartition("-")
    message_id = f"msg_{name}"
    right = _sign(sealer, "mail-bounce", message_id, _MARK_OCTETS)
    return message_id if name and hmac.compare_digest(signature.encode(), right.encode()) else None


def document_link(sealer: Sealer, base: str | None, invoice_id: str) -> str | None:
    """Where a subscriber fetches an invoice; None where the house has no such place."""
    if not base:
        return None
    return f"{base.rstrip('/')}/{invoice_id}-{_sign(sealer, 'document-link', invoice_id, _LINK_OCTETS)}"


def document_of(sealer: Sealer, name: str) -> str | None:
    """The invoice that a link names; None for one that we did not make."""
    invoice_id, _, signature = name.rpartition("-")
    right = _sign(sealer, "document-link", invoice_id, _LINK_OCTETS)
    return invoice_id if invoice_id and hmac.compare_digest(signature.encode(), right.encode()) else None


def _sign(sealer: Sealer, purpose: str, text: str, octets: int) -> str:
    digest = hmac.digest(sealer.derive_key(purpose), text.encode(), "sha256")[:octets]
    return base64.b32encode(digest).decode().lower().rstrip("=")
