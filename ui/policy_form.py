"""A dunning policy as people type it, in a form or as parameters, and as the terms that are kept."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing.domain.dunning_policy import Policy, RestoreBy
from billing.domain.dunning_terms import terms_as_json
from core.money import format_money
from ui.web.forms import Form

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RESTORE = [
    (RestoreBy.RUNG.value, "What is left reaches no such rung"),
    (RestoreBy.FULL.value, "Nothing overdue is left"),
    (RestoreBy.PERCENT.value, "A share is paid"),
]
APPROVED = ("restricted", "suspended", "ended")
NEW_POLICY = {
    "skip_weekends": "yes", "restore_by": "rung", "restore_percent": "100", "respite_days": "7",
    "approve_days": "14", "fee_tax_class": "fee", "fee_most_times": "12",
}  # fmt: skip
"""What a policy starts with, as typed."""


def read_terms(form: Form) -> dict[str, Any]:
    """The terms as typed; faults are on the form."""
    return {
        "ladder": _read_ladder(form),
        "currency": (form.optional("currency", longest=3) or "").upper() or None,
        "minimum_balance_minor": _amount(form, "minimum_balance") or 0,
        "skip_weekends": form.flag("skip_weekends"),
        "weekdays": _read_weekdays(form),
        "closed_days": {
            "country": (form.optional("country", longest=2) or "").upper() or None,
            "subdivision": (form.optional("subdivision", longest=10) or "").upper() or None,
            "own": _read_days(form),
        },
        "skip_eves": form.flag("skip_eves"),
        "hours": {name: form.optional(name, longest=5) for name in ("not_before", "not_after")},
        "restoring": {
            "by": form.choice("restore_by", [value for value, _ in RESTORE]),
            "percent": form.integer("restore_percent", least=1, most=100, default=100),
            "respite_days": form.integer("respite_days", least=0, most=90, default=7),
        },
        "cap": {
            "accounts": form.optional_integer("cap_accounts", least=1, most=10**7),
            "percent": form.optional_integer("cap_percent", least=1, most=100),
        },
        "approving": {
            "stages": [one for one in APPROVED if form.flag(f"approve_{one}")],
            "days": form.integer("approve_days", least=1, most=90, default=14),
        },
        "late_fee": _read_fee(form),
        "reconnect_fee_minor": _amount(form, "reconnect_fee") or 0,
        "fee_tax_class": form.optional("fee_tax_class", longest=40) or "fee",
        "longest_promise_days": form.optional_integer("longest_promise_days", least=1, most=366),
        "broken_promises": form.optional_integer("broken_promises", least=1, most=100),
        "write_off_days": form.optional_integer("write_off_days", least=1, most=3_660),
        "on_restored": _read_notices(form, "on_restored", form.optional("on_restored") or ""),
        "on_promise_broken": _read_notices(
            form, "on_promise_broken", form.optional("on_promise_broken") or ""
        ),
    }  # fmt: skip


def _amount(form: Form, name: str) -> int | None:
    """With the decimals of the policy's currency; without one, whole smallest units."""
    if not form.value(name).strip():
        return None
    currency = form.value("currency").strip().upper()
    if not currency:
        return form.integer(name, least=0, most=10**12)
    return form.amount(name, currency, zero=True)


def _read_ladder(form: Form) -> list[dict[str, Any]]:
    """A rung a line: ``7 reminded letter:reminder_2``."""
    rungs = []
    for line in form.text("ladder", longest=2_000).splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or not (words[0].isascii() and words[0].isdigit() and len(words[0]) < 6):
            form.blame("ladder", f"{line.strip()!r}: write days and stage, like 15 suspended")
            continue
        notices = _read_notices(form, "ladder", " ".join(words[2:]))
        rungs.append({"stage": words[1].lower(), "days_overdue": int(words[0]), "notices": notices})
    return rungs


def _read_notices(form: Form, name: str, text: str) -> list[dict[str, str]]:
    notices = []
    for word in text.replace(",", " ").split():
        channel, colon, template = word.partition(":")
        if not colon:
            form.blame(name, f"{word!r}: write notices like email:reminder_1")
        notices.append({"channel": channel, "template": template})
    return notices


def _read_weekdays(form: Form) -> dict[str, list[int]]:
    """A stage a line: ``suspended mon tue wed thu``."""
    found: dict[str, list[int]] = {}
    for line in (form.optional("weekdays", longest=500) or "").lower().splitlines():
        stage, *days = line.replace(",", " ").replace(":", " ").split() or [""]
        if not stage:
            continue
        if not days or any(one[:3] not in WEEKDAYS for one in days):
            form.blame(
                "weekdays", f"{line.strip()!r}: write a stage and its days, like suspended mon tue wed"
            )
            continue
        found[stage] = sorted({WEEKDAYS.index(one[:3]) for one in days})
    return found


def _read_days(form: Form) -> list[str]:
    days = []
    for word in (form.optional("own_days", longest=2_000) or "").replace(",", " ").split():
        try:
            days.append(date.fromisoformat(word).isoformat())
        except ValueError:
            form.blame("own_days", f"{word!r} is not a date: write it like 2026-12-24")
    return days


def _read_fee(form: Form) -> dict[str, Any] | None:
    percent = form.optional_decimal("fee_percent", least=0, most=100)
    flat, minimum = _amount(form, "fee_flat"), _amount(form, "fee_minimum")
    if not (percent or flat or minimum):
        return None
    return {
        "flat_minor": flat or 0, "percent_ppm": round((percent or 0) * 10_000), "minimum_minor": minimum or 0,
        "maximum_minor": _amount(form, "fee_maximum"),
        "grace_days": form.integer("fee_grace_days", least=0, most=366, default=0),
        "monthly": form.flag("fee_monthly"),
        "most_times": form.integer("fee_most_times", least=1, most=120, default=12),
    }  # fmt: skip


def form_of(policy: Policy) -> dict[str, str]:
    """What stands, as it would be typed."""
    terms = terms_as_json(policy)
    cap, fee = terms["cap"] or {}, terms["late_fee"] or {}
    approving = terms["approving"] or {"stages": [], "days": 14}
    yes = {True: "yes", False: ""}
    return {
        "ladder": "\n".join(
            f"{one['days_overdue']} {one['stage']} {_notices(one['notices'])}".strip()
            for one in terms["ladder"]
        ),
        "currency": policy.currency or "",
        "minimum_balance": _typed(terms["minimum_balance_minor"], policy.currency),
        "skip_weekends": yes[policy.skip_weekends],
        "weekdays": "\n".join(
            f"{stage} {' '.join(WEEKDAYS[day] for day in days)}" for stage, days in terms["weekdays"].items()
        ),
        "country": policy.closed.country or "", "subdivision": policy.closed.subdivision or "",
        "own_days": "\n".join(terms["closed_days"]["own"]), "skip_eves": yes[policy.skip_eves],
        "not_before": terms["hours"]["not_before"] or "", "not_after": terms["hours"]["not_after"] or "",
        "restore_by": terms["restoring"]["by"], "restore_percent": str(terms["restoring"]["percent"]),
        "respite_days": str(terms["restoring"]["respite_days"]),
        "cap_accounts": str(cap.get("accounts") or ""), "cap_percent": str(cap.get("percent") or ""),
        **{f"approve_{one}": yes[one in approving["stages"]] for one in APPROVED},
        "approve_days": str(approving["days"]),
        "fee_flat": _typed(fee.get("flat_minor"), policy.currency),
        "fee_minimum": _typed(fee.get("minimum_minor"), policy.currency),
        "fee_maximum": _typed(fee.get("maximum_minor"), policy.currency),
        "fee_percent": f"{fee['percent_ppm'] / 10_000:g}" if fee.get("percent_ppm") else "",
        "fee_grace_days": str(fee.get("grace_days") or ""), "fee_monthly": yes[bool(fee.get("monthly"))],
        "fee_most_times": str(fee.get("most_times") or 12),
        "reconnect_fee": _typed(policy.reconnect_fee_minor, policy.currency),
        "fee_tax_class": policy.fee_tax_class,
        "longest_promise_days": str(policy.longest_promise_days or ""),
        "broken_promises": str(policy.broken_promises or ""),
        "write_off_days": str(policy.write_off_days or ""),
        "on_restored": _notices(terms["on_restored"]),
        "on_promise_broken": _notices(terms["on_promise_broken"]),
    }  # fmt: skip


def _typed(amount_minor: int | None, currency: str | None) -> str:
    if not amount_minor:
        return ""
    return str(amount_minor) if currency is None else format_money(amount_minor, currency).split()[0]


def _notices(notices: list[dict[str, str]]) -> str:
    return " ".join(f"{one['channel']}:{one['template']}" for one in notices)
