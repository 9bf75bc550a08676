"""Links for customers: to pay one invoice, or to save a card for one account. Who has one may do that."""

from __future__ import annotations

import hmac

from core.secrets import Sealer

_PURPOSE = "pay-link"
_MARK_CHARACTERS = 26
"""104 bits of a keyed digest: nobody guesses one."""


def pay_path(sealer: Sealer, subject_id: str) -> str:
    """The path of the link, behind the panel's or the portal's address, for an invoice's or account's id."""
    return f"/pay/{subject_id}/{_mark(sealer, subject_id)}"


def is_genuine(sealer: Sealer, subject_id: str, mark: str) -> bool:
    """Whether we made the link."""
    return hmac.compare_digest(mark.encode(), _mark(sealer, subject_id).encode())


def _mark(sealer: Sealer, subject_id: str) -> str:
    digest = hmac.new(sealer.derive_key(_PURPOSE), subject_id.encode(), "sha256").hexdigest()
    return digest[:_MARK_CHARACTERS]
