"""The report on an address as a PDF to sign and send. What it says travels as data, never as a template."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aaa.find_holder import Holder
from aaa.sessions import SessionView
from billing.documents.render import fonts
from core.periods import zone
from ui.config import UiSettings
from ui.read.address_report import AddressReport, Subscriber

_TEMPLATES = Path(__file__).parent / "templates"
_CERTAINTY = {"certain": "proven", "likely": "likely, with doubts", "possible": "possible, not proven"}


def address_pdf(report: AddressReport, settings: UiSettings) -> bytes:
    """The report as PDF, octet for octet the same each time."""
    import typst  # 84 MB of machine code, of which 6 come into memory: only for who prints

    pdf = typst.compile(
        str(_TEMPLATES / "address_report.typ"),
        format="pdf",
        root=str(_TEMPLATES),
        font_paths=fonts(),
        sys_inputs={"report": json.dumps(_printed(report, settings), ensure_ascii=False)},
        timestamp=0,
    )
    if not isinstance(pdf, bytes):
        raise TypeError("typst answered with pages instead of one PDF")
    return pdf


def _printed(report: AddressReport, settings: UiSettings) -> dict[str, Any]:
    answer, where = report.answer, zone(settings.time_zone)
    question = answer.question
    return {
        "provider": settings.provider_name, "address": question.address, "sentence": answer.sentence,
        "reference": answer.reference,
        "facts": [
            ["Address", question.address], ["Time asked for", _said(question.at, where)],
            ["Clock tolerance", f"{question.tolerance_s} seconds"], ["Reason", question.reason],
            ["Asked by", answer.asked_by], ["Looked up", _said(answer.asked_at, where)],
            ["Reference", answer.reference],
        ],
        "holders": [_claim(report, one, where) for one in answer.holders],
        "static": [
            f"{one.network} is given for good to {_named(report.subscriber_of(one.account_id))},"
            f" {one.service} ({one.service_id})."
            for one in answer.static
        ]
        + [
            f"{one.network} was given by our own pool to {_named(report.subscriber_of(one.account_id))},"
            f" {one.service} ({one.service_id}), at {_said(one.from_at, where)}."
            for one in answer.leases
        ],
        "neighbours": [
            f"{word} {_said(view.stopped_at or view.started_at, where)}: {view.username} on {view.nas},"
            f" {_named(report.subscriber_of(view.account_id))}."
            for word, view in (("The last ended", answer.before), ("The next began", answer.after))
            if view is not None
        ],
    }  # fmt: skip


def _claim(report: AddressReport, holder: Holder, where: ZoneInfo) -> dict[str, Any]:
    view, person = holder.session, report.subscriber_of(holder.session.account_id)
    return {
        "title": _named(person), "certainty": _CERTAINTY[holder.certainty], "reasons": list(holder.reasons),
        "facts": [*_person(person), *_place(view, holder, where)],
        "reports": [
            [_said(one.at, where), str(one.evidence.get("kind", "report")), f"{one.octets_down:,}",
             f"{one.octets_up:,}", str(one.evidence.get("source", "–"))]
            for one in holder.reports
        ],
    }  # fmt: skip


def _person(person: Subscriber | None) -> list[list[str]]:
    if person is None:
        return [["Subscriber", "none: nobody has that user name"]]
    facts = [["Account", person.number], ["Address", ", ".join(person.address)], ["Telephone", person.phone]]
    return [[name, text] for name, text in [*facts, ["E-mail", person.email]] if text]


def _place(view: SessionView, holder: Holder, where: ZoneInfo) -> list[list[str]]:
    start = _said(view.started_at, where) + ("" if view.start_seen else " (inferred: no Start came)")
    last = f"open; last report {_said(view.last_event_at, where)}"
    stop = last if view.stopped_at is None else f"{_said(view.stopped_at, where)}: {view.why}"
    span = _said(holder.first_seen_at, where)
    if holder.last_seen_at is not None:
        span += f" to {_said(holder.last_seen_at, where)}"
    return [
        ["Held", f"{holder.network}, reported from {span}"],
        ["Service", f"{view.service} ({view.service_id})"], ["User name", view.username],
        ["Session", f"{view.acct_session_id} ({view.id})"], ["Start", start],
        ["Stop", stop], ["NAS", f"{view.nas} {view.nas_address} {view.nas_port_id}".strip()],
        ["CPE", view.calling_station or "–"],
    ]  # fmt: skip


def _named(person: Subscriber | None) -> str:
    return person.name if person else "nobody on record"


def _said(at: datetime, where: ZoneInfo) -> str:
    local = at.astimezone(where)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC ({local:%Y-%m-%d %H:%M:%S %Z})"
