"""A tax engine over HTTP, by the contract in docs/tax-engine.md (hilltop-tax/1): JSON, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import aiohttp

from billing.domain.taxes.decide import TaxableLine, TaxDecision, TaxDue, TaxedLine
from billing.domain.taxes.place import LONGEST_CODE, Jurisdiction
from billing.domain.taxes.rule import Effect, Exemption, TaxRule
from billing.taxes.check_rule import LONGEST_SURCHARGE
from billing.taxes.engine import TaxAnswers, TaxDocument, TaxTrouble
from core.clock import Clock
from core.money import minor_digits
from core.secrets import Secret

CONTRACT = "hilltop-tax/1"
AWAY = "the tax engine is away"
_BATCH = 50
_LARGEST_ANSWER = 8 * 2**20
_REST_S = 30.0
"""How long an engine that was away is not asked again: a run parks the rest quickly instead of waiting."""


class HttpTaxEngine:
    """One engine at one address. Close it when done."""

    def __init__(self, base_url: str, token: Secret, clock: Clock, timeout_s: float = 10.0) -> None:
        self._url = base_url.rstrip("/") + "/v1/taxes"
        self._token = token
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._away_until_s = float("-inf")
        self._away_because = ""

    async def close(self) -> None:
        """Let go of the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def taxes_of(self, documents: Sequence[TaxDocument]) -> TaxAnswers:
        """The engine's answers, checked against the lines; each trouble by document."""
        answers: dict[str, TaxDecision | TaxTrouble] = {}
        for start in range(0, len(documents), _BATCH):
            answers |= await self._ask(documents[start : start + _BATCH])
        return answers

    async def _ask(self, documents: Sequence[TaxDocument]) -> dict[str, TaxDecision | TaxTrouble]:
        if self._clock.monotonic_s() < self._away_until_s:
            return dict.fromkeys((one.code for one in documents), TaxTrouble(self._away_because))
        try:
            told = await self._post(
                {"contract": CONTRACT, "documents": [_document(one) for one in documents]}
            )
            by_code = {str(one["code"]): one for one in told["documents"]}
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError, KeyError) as trouble:
            self._away_until_s = self._clock.monotonic_s() + _REST_S
            self._away_because = f"{AWAY}: {_in_words(trouble)}"
            return dict.fromkeys((one.code for one in documents), TaxTrouble(self._away_because))
        return {one.code: _answer(one, by_code.get(one.code)) for one in documents}

    async def _post(self, asked: Mapping[str, Any]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        async with self._session.post(
            self._url, json=asked, headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"it answered HTTP {response.status}")
            octets = await response.content.read(_LARGEST_ANSWER + 1)
            while len(octets) <= _LARGEST_ANSWER and not response.content.at_eof():
                octets += await response.content.read(_LARGEST_ANSWER + 1 - len(octets))
            if len(octets) > _LARGEST_ANSWER:
                raise ValueError("its answer is over 8 MB")
            return json.loads(octets)


def _in_words(trouble: Exception) -> str:
    if isinstance(trouble, TimeoutError):
        return "no answer in time"
    if isinstance(trouble, aiohttp.ClientError | OSError):
        return (
            "no connection" if isinstance(trouble, aiohttp.ClientConnectorError) else type(trouble).__name__
        )
    if isinstance(trouble, KeyError | TypeError):
        return "its answer is not what the contract says"
    return str(trouble)[:120]


def _document(one: TaxDocument) -> dict[str, Any]:
    return {
        "code": one.code,
        "record": one.record,
        "account": one.account_id,
        "currency": one.currency,
        "minor_digits": minor_digits(one.currency),
        "issued_on": one.issued_on.isoformat(),
        "lines": [_line(line) for line in one.lines],
        "exemptions": [_exemption(exemption) for exemption in one.exemptions],
    }


def _line(line: TaxableLine) -> dict[str, Any]:
    where = line.place
    return {
        "position": line.position,
        "amount_minor": line.quoted_minor,
        "inclusive": line.inclusive,
        "tax_class": line.tax_class,
        "kind": line.kind,
        "quantity": str(line.quantity),
        "tax_date": line.tax_date.isoformat(),
        "place": {
            "country": where.country, "region": where.region, "county": where.county, "city": where.city,
            "postal_code": where.postal_code,
        },
    }  # fmt: skip


def _exemption(one: Exemption) -> dict[str, Any]:
    return {
        "certificate": one.certificate,
        "taxes": sorted(one.taxes),
        "authorities": sorted(one.authorities),
        "tax_classes": sorted(one.tax_classes),
        "share_ppm": one.share_ppm,
        "valid_from": one.valid_from.isoformat(),
        "valid_until": None if one.valid_until is None else one.valid_until.isoformat(),
    }


def _answer(document: TaxDocument, told: Any) -> TaxDecision | TaxTrouble:
    if told is None:
        return TaxTrouble("the tax engine gave no answer for this invoice")
    if isinstance(told, dict) and told.get("error"):
        return TaxTrouble(f"the tax engine refused: {str(told['error'])[:200]}")
    try:
        return _decision(document, told)
    except (KeyError, TypeError, AttributeError):
        return TaxTrouble("the tax engine's answer is not what the contract says")
    except ValueError as trouble:
        return TaxTrouble(f"the tax engine's answer cannot be: {trouble}")


def _decision(document: TaxDocument, told: Mapping[str, Any]) -> TaxDecision:
    nets = {line["position"]: _whole(line["net_minor"]) for line in told["lines"]}
    positions = [line.position for line in document.lines]
    if sorted(nets) != sorted(positions) or len(told["lines"]) != len(positions):
        raise ValueError("it has other lines than were asked for")
    added = dict.fromkeys(positions, 0)
    due = [_due(document, number, tax, nets, added) for number, tax in enumerate(told["taxes"], start=1)]
    for line in document.lines:
        kept = nets[line.position] + (added[line.position] if line.inclusive else 0)
        if kept != line.quoted_minor:
            raise ValueError(f"line {line.position} of {line.quoted_minor} became {kept}")
    taxed = tuple(TaxedLine(position, nets[position], added[position]) for position in positions)
    return TaxDecision(taxed, tuple(tax for tax in due if tax.amount_minor or tax.base_minor))


def _due(
    document: TaxDocument,
    number: int,
    told: Mapping[str, Any],
    nets: Mapping[int, int],
    added: dict[int, int],
) -> TaxDue:
    parts = {part["position"]: _whole(part["amount_minor"]) for part in told["parts"]}
    if not parts.keys() <= nets.keys() or len(parts) != len(told["parts"]):
        raise ValueError(f"tax {number} is on a line that was not asked for")
    for position, part in parts.items():
        added[position] += part
    amount = _whole(told["amount_minor"])
    if sum(parts.values()) != amount:
        raise ValueError(f"the parts of tax {number} do not sum to it")
    name, jurisdiction = str(told["name"]).strip(), str(told["jurisdiction"]).strip()
    longest = LONGEST_SURCHARGE if told["effect"] == "surcharge" else 80
    if not 0 < len(name) <= longest or not 0 < len(jurisdiction) <= LONGEST_CODE:
        raise ValueError(f"tax {number} has no name or jurisdiction that fits")
    rule = TaxRule(
        f"outside:{document.code}:{number}", name,
        Jurisdiction(document.lines[0].place.country), _day(told.get("valid_from"), document.issued_on),
        effect=Effect(told["effect"]), rate_ppm=_whole(told.get("rate_ppm", 0)), authority=jurisdiction,
    )  # fmt: skip
    base = _whole(told.get("base_minor", sum(nets[position] for position in parts)))
    return TaxDue(rule, base, amount, tuple(parts), tuple(parts.values()))


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    raise ValueError(f"{str(value)[:20]} is no whole number of minor units")


def _day(text: Any, default: date) -> date:
    return default if text is None else date.fromisoformat(str(text))
