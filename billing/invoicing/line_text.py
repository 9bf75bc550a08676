"""Lines as canonical text, to tell whether two drafts would say the same, octet for octet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft, LineDraft

FIELDS = (
    "kind", "description", "quantity", "amount_minor", "quoted_minor", "subscription_id", "plan_version_id",
    "item_code", "charged_for", "charge_id", "revenue", "deferred", "period_start", "period_end",
    "explanation",
)  # fmt: skip
BILL_TO = ("number", "name", "email", "street", "postal_code", "city", "region", "country")


def drafted_fields(line: LineDraft) -> dict[str, Any]:
    """The fields of a draft's line under the names of its row."""
    named = {field: getattr(line, field) for field in FIELDS if not field.startswith("period_")}
    return {**named, "period_start": line.period.start, "period_end": line.period.end}


def line_text(fields: Mapping[str, Any]) -> str:
    """One line as canonical JSON: sorted keys, no blanks, dates as ISO 8601."""
    return json.dumps(dict(fields), sort_keys=True, separators=(",", ":"), default=_iso, ensure_ascii=False)


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no part of a line")


def bill_to(account: Account) -> dict[str, Any]:
    """Name and address as an invoice keeps them."""
    return {name: getattr(account, name) for name in BILL_TO}


def draft_digest(draft: InvoiceDraft) -> str:
    """SHA-256 of all that the invoice would say but its number and days, hexadecimal."""
    account = draft.account
    head = {
        "bill_to": bill_to(account), "entity": account.entity_id, "currency": account.currency,
        "terms": account.payment_terms_days, "cycle": [draft.cycle.start, draft.cycle.end],
        "net": draft.net_minor, "tax": draft.tax_minor, "taxed_outside": draft.taxed_outside,
    }  # fmt: skip
    texts = [line_text(head), *(line_text(drafted_fields(line)) for line in draft.lines)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
