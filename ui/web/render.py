"""Templates, and how values are written for people."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.clock import Clock
from core.money import minor_digits
from core.periods import zone
from core.quantities import format_octets, format_rate
from ui.config import UiSettings
from ui.web.forms import Form

_HERE = Path(__file__).resolve().parent.parent

NOTICES = {
    "payment": "The payment is recorded. Access follows by itself where it was held for money.",
    "payment_again": "This payment was already recorded; nothing was booked twice.",
    "topped_up": "The top-up is bought. What was held for its cap is free within moments.",
    "topped_up_again": "This top-up was already bought; nothing was charged twice.",
    "subscription_changed": "The change is recorded; on its day plan, pause or end reach the towers.",
    "subscribed": "It is sold, and comes with the next invoice.",
    "charge_added": "The charge comes with the next invoice.",
    "charge_withdrawn": "The charge is withdrawn; no invoice will have it.",
    "credit_note": "The credit note is issued. It pays what is open first; the rest is kept as credit.",
    "credit_note_again": "This credit note was issued before; nothing was credited twice.",
    "hold": "The hold stands. Towers follow within moments; watch the enforcement history.",
    "lifted": "The hold is lifted. Towers follow within moments; watch the enforcement history.",
    "days_closed": "The days are closed. Write the newest hash down where nobody else can change it.",
    "no_days_closed": "No day was due to be closed.",
    "period_locked": "The period is locked. What belongs to it is booked on the first open day.",
    "period_reopened": "The period may be booked on again. Lock it when you have finished.",
    "code_kept": "The code is kept; exports use it from now on.",
    "clock": "The clock is trusted from now on. Billing begins within minutes.",
    "plan": "The plan is changed from today on. Live sessions move to its rates within moments.",
    "profile": "The profile is changed. Live sessions move to its rates within moments.",
    "address": "The address is saved; it is given at the next sign-in.",
    "addressing": "Prefixes and routes are saved; they are given at the next sign-in.",
    "redefined": "The profile is saved. Live sessions move to it within moments.",
    "rule": "The rule is saved; it is looked at within a minute.",
    "rule_gone": "The rule is taken away; what it holds is lifted within a minute.",
    "template": "The lines are saved; RADIUS sends them within a second. Who is online keeps "
    "what he was told; Tell live sessions brings him over.",
    "template_gone": "The lines are taken away; the dialect's own words are sent within a second. "
    "Who is online keeps what he was told until he dials again.",
    "point": "The device enforces this service from now on.",
    "swap": "The window is open: the next other CPE that signs in is bound in place of the old one.",
    "hash_only": "The password is forgotten; only a hash of it is kept.",
    "pppoe_password": "The new PPPoE password is in force within a second.",
    "as_before": "Nothing changed: it was so already.",
    "ended": "The service has ended. Its last days come with the next invoice.",
    "enforce": "It is enforced once more; watch the enforcement history.",
    "promise": "The promise is noted; nothing worsens until its day has passed.",
    "promise_gone": "The promise is forgotten.",
    "immune": "Dunning leaves this account alone.",
    "immune_no_more": "Dunning treats this account like every other again.",
    "allocated": "The money pays what you chose.",
    "taken_back": "The money is in hand and pays nothing until you allocate it or let the rule decide.",
    "refund_ordered": "The refund is ordered; it stands under Refunds until it is paid.",
    "dispute_won": "The money is there again and pays what is open.",
    "file_taken": "The file is taken in.",
    "file_again": "This file came before; nothing was changed.",
    "assigned": "The payment is recorded. Access follows by itself where it was held for money.",
    "reversed": "The payment is reversed; its invoices are open again.",
    "reversed_again": "This payment was reversed before; nothing was booked twice.",
    "let_go": "The next password is looked at again within a second.",
    "nas_secret": "The new RADIUS secret is in force within a second. Enter it into the NAS now.",
    "certificate_revoked": "The certificate is revoked: refused within a second, elsewhere with the new CRL.",
    "key_forgotten": "The host key is forgotten; the next contact pins the one it meets.",
    "bound": "The interface meters this service from the next poll on.",
    "unbound": "The interface meters nobody any more.",
    "disconnected": "The NAS took the order to end the session; whether it came true is shown below.",
    "moved": "The NAS took the current terms; whether the session went on is shown below.",
    "session_gone": "The NAS has no such session: it is closed as of its last report.",
    "look": "Saved. Whatever is issued from now on carries it; what was issued before stays as it is.",
    "mail_queued": "The message is queued; see Mail for what becomes of it.",
    "mail_nobody": "Nothing is sent: this account has no e-mail address that can be used.",
    "sms_gateway": "The gateway is set; what waits is sent now.",
    "mail_server": "The mail server is set; what waits is sent now.",
    "no_letters": "No letter waits to be printed.",
    "letters_printed": "The letters are marked as printed.",
    "rental_over": "It is back; its rental is over from that day on.",
    "redeemed": "The promotion is in use; it stands on the next invoice.",
    "redeemed_again": "The account uses this promotion already; nothing changed.",
    "charged": "Charged; the payment is recorded.",
    "declined": "The charge was not paid; the list below says why.",
    "charge_under_way": "The charge is under way; its end is recorded by itself.",
    "method_removed": "It is forgotten, at the gateway too.",
    "gateway_answers": "The gateway answers and takes the keys.",
    "token_revoked": "The token is revoked; the program is refused from now on.",
    "saved": "Saved.",
    "created": "Created.",
    "password": "Your new password is in force.",
    "bill_run": "The bill run is finished.",
    "bill_busy": "Something else goes on here; wait until it is finished, and try again.",
    "approved": "What you saw is issued.",
    "approving": "The approval goes on in the background; this page shows what is left.",
    "draft_approved": "The invoice is issued.",
    "draft_changed": "Nothing was issued: it would say something else now. Look at the new draft.",
    "draft_gone": "Nothing was issued: nothing is owed for this cycle any more.",
    "draft_rejected": "The draft is rejected; its account is billed when you have it drafted again.",
    "bill_running": "The bill run goes on in the background; this page shows it when it is finished.",
    "signed_out": "You are signed out.",
    "outage_on": "Outage noted: nobody behind this tower is suspended until you clear it.",
    "outage_off": "Outage cleared: suspensions that waited go on now.",
}

EFFECT_WORDS = {
    "none": "Active", "throttle": "Throttled", "walled_garden": "Walled garden", "block": "Blocked",
    "ended": "Ended",
}  # fmt: skip
STAGE_WORDS = {
    "clear": "Clear", "reminded": "Reminded", "restricted": "Restricted", "suspended": "Suspended",
    "ended": "Ended",
}  # fmt: skip
_TONES = {
    "draft": "plain", "approved": "warn", "sent": "good", "cancelled": "plain", "in_flight": "warn",
    "settled": "good", "returned": "bad", "removed": "plain", "due": "warn", "assigned": "good",
    "ignored": "plain", "reversed": "bad", "corrected": "good", "by_hand": "warn", "unknown": "warn",
    "paused": "warn", "withdrawn": "plain", "billed": "good",
    "late": "warn", "clean": "good", "active": "good",
    "none": "good", "clear": "good", "paid": "good", "verified": "good",
    "throttle": "warn", "reminded": "warn", "restricted": "warn", "waiting": "warn", "claimed": "warn",
    "queued": "warn", "bounced": "bad",
    "finalised": "plain", "superseded": "plain", "ended": "plain", "credited": "plain", "pending": "plain",
    "walled_garden": "bad", "block": "bad", "suspended": "bad", "overdue": "bad", "parked": "bad",
    "critical": "bad", "warning": "warn", "failed": "bad", "lied": "bad", "unreachable": "bad",
    "drift": "warn", "refused": "bad", "silent": "bad","open": "plain",
    "rejected": "bad", "replaced": "plain",
}  # fmt: skip


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_EXCEPTION = r"\b[A-Za-z_][\w.]*(?:Error|Exception|Timeout|Failure|Group|Interrupt)\b"
_ASIDE = re.compile(rf" \({_EXCEPTION}\)")
_RAW = re.compile(rf"(?:\bunexpected )?{_EXCEPTION}(?::.*)?", re.DOTALL)


class Assets:
    """The files under ``static``, read once, named with a digest so that browsers may keep them for good."""

    def __init__(self) -> None:
        folder = _HERE / "static"
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        self._digests = {name: hashlib.sha256(body).hexdigest()[:12] for name, body in self.files.items()}

    def address(self, name: str) -> str:
        """The path of an asset, which changes when its content does."""
        return f"/static/{name}?v={self._digests[name]}"

    def tag(self, name: str) -> str:
        """The entity tag of an asset."""
        return self._digests[name]


class Written:
    """Values in the words of one locale and zone."""

    def __init__(self, settings: UiSettings, clock: Clock) -> None:
        self._locale = settings.locale
        self._zone = zone(settings.time_zone)
        self._clock = clock

    def money(self, amount_minor: int, currency: str) -> str:
        """``$49.00``."""
        amount = Decimal(amount_minor).scaleb(-minor_digits(currency))
        return str(format_currency(amount, currency, locale=self._locale))

    def unit_price(self, amount_minor: str | float, currency: str) -> str:
        """``$0.125``: a price of a unit keeps its fractions of a cent."""
        amount = Decimal(str(amount_minor)).scaleb(-minor_digits(currency))
        if amount == round(amount, minor_digits(currency)):
            return str(format_currency(amount, currency, locale=self._locale))
        return str(format_currency(amount, currency, locale=self._locale, decimal_quantization=False))

    def figure(self, text: str) -> Markup | str:
        """A figure of an explanation: instants in the panel's zone, long counts in groups."""
        if _INSTANT.fullmatch(text):
            return self.when(datetime.fromisoformat(text))
        return self.count(int(text)) if text.isascii() and text.isdigit() and 5 <= len(text) <= 20 else text

    def count(self, number: float) -> str:
        """``12,345``."""
        return str(format_decimal(number, locale=self._locale))

    def day(self, value: date | None) -> str:
        """``Mar 10, 2026``."""
        return "–" if value is None else str(format_date(value, "medium", locale=self._locale))

    def last_day(self, end: date | None) -> str:
        """The last day of a period whose ``end`` is not in it."""
        return self.day(None if end is None else end - timedelta(days=1))

    def when(self, value: datetime | None) -> Markup:
        """A date and time in the panel's zone, with the exact instant behind it."""
        if value is None:
            return Markup("–")
        local = value.astimezone(self._zone)
        shown = self._instant(local)
        return Markup('<time datetime="{}">{}</time>').format(value.astimezone(UTC).isoformat(), shown)

    def _instant(self, local: datetime, clock_face: str = "HH:mm") -> str:
        """Date in the locale's order, time on 24 hours, as logs and devices write it."""
        return f"{self.day(local.date())} {format_time(local, clock_face, locale=self._locale)}"

    def many(self, number: int, one: str, several: str | None = None) -> str:
        """``1 tower``, ``3 towers``, ``12,345 entries``."""
        return f"{self.count(number)} {one if number == 1 else several or one + 's'}"

    def ago(self, value: datetime | None) -> Markup:
        """``5 min ago``, with the exact time as its title."""
        if value is None:
            return Markup("never")
        words = _distance(self._clock.now() - value)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            value.isoformat(), self.exactly(value), words
        )

    def exactly(self, value: datetime) -> str:
        """To the second, with the zone's name: ``Mar 10, 2026 14:05:09 CET``. Also for attributes."""
        local = value.astimezone(self._zone)
        return f"{self._instant(local, 'HH:mm:ss')} {local.tzname()}"


def _distance(span: timedelta) -> str:
    if span < timedelta(seconds=-60):
        return f"in {duration(-span)}"
    return "just now" if span < timedelta(seconds=10) else f"{duration(span)} ago"


def decimal(amount_minor: int, currency: str) -> str:
    """``49.00``, as it is typed into a field."""
    return str(Decimal(amount_minor).scaleb(-minor_digits(currency)))


def duration(span: timedelta | float) -> str:
    """``4.2 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if 0 <= seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 and days < 10 else f"{days} d"


def tone(word: str) -> str:
    """The colour family of a status: good, warn, bad or plain."""
    return _TONES.get(str(word), "plain")


def spoken(word: str) -> str:
    """A status as people say it."""
    word = str(word)
    return EFFECT_WORDS.get(word) or word.replace("_", " ").capitalize()


def sentence(text: str) -> str:
    """With a capital at its beginning; names within keep theirs."""
    text = str(text)
    return text[:1].upper() + text[1:]


def actor(name: str) -> str:
    """Who did it, in a word: an operator's name, or Hilltop itself."""
    kind, _, who = str(name).partition(":")
    return "Hilltop" if kind == "system" else who or str(name)


def mailto(address: str) -> str:
    """An e-mail address in a link: nothing in it starts a header."""
    return quote(address, safe="@+")


def in_words(text: str) -> str:
    """A stored reason without the name of an exception and what follows it: those are for the log."""
    return _RAW.sub("a fault of this software; the log says more", _ASIDE.sub("", str(text)))


def pretty(value: Any) -> str:
    """Plain data, readable."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


class Templates:
    """The Jinja environment: everything is escaped, an unknown name is an error."""

    def __init__(self, settings: UiSettings, clock: Clock) -> None:
        self.assets = Assets()
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False,
        )  # fmt: skip
        written = Written(settings, clock)
        self._environment.globals.update(
            asset=self.assets.address,
            settings=settings,
            notices=NOTICES,
            money=written.money,
            unit_price=written.unit_price,
            query=_query,
        )
        self._environment.filters.update(
            day=written.day, last_day=written.last_day, when=written.when, ago=written.ago,
            exactly=written.exactly, count=written.count, many=written.many, figure=written.figure,
            decimal=decimal, octets=format_octets, rate=format_rate,
            sentence=sentence, actor=actor, mailto=mailto, in_words=in_words,
            duration=duration, tone=tone, spoken=spoken, pretty=pretty,
        )  # fmt: skip

        macros = self._environment.get_template("macros.html").module
        self._environment.globals.update(
            {name: macro for name, macro in vars(macros).items() if not name.startswith("_")}
        )

    def render(self, template: str, **context: object) -> str:
        """The text of a page; one with faults is drawn twice: the list above the fields has their labels."""
        page = self._environment.get_template(template)
        text = page.render(**context)
        if any(isinstance(one, Form) and not one.ok for one in context.values()):
            text = page.render(**context)
        return text


def _query(**parameters: object) -> str:
    return urlencode({name: value for name, value in parameters.items() if value not in (None, "")})
