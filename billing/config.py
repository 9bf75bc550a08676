"""Billing's slice of the settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.currencies import check_currency
from core.iban import check_iban
from core.locales import check_locale


class IssuerSettings(BaseModel):
    """Who sends the invoices: the letterhead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "Hilltop Wireless"
    address: list[str] = Field(default_factory=list)
    email: str | None = None
    phone: str | None = None
    website: str | None = None
    tax_number: str | None = None
    bank: str | None = Field(None, description="name of the bank, beside the account number")
    iban: str | None = Field(None, description="account for transfers; in euro it makes the payment code")
    bic: str | None = Field(None, pattern="^[A-Z0-9]{8}([A-Z0-9]{3})?$")
    payment_instructions: str = "Please quote the invoice number with your payment."

    @field_validator("iban")
    @classmethod
    def _an_iban(cls, value: str | None) -> str | None:
        return None if value is None else check_iban(value)


class AutopaySettings(BaseModel):
    """When automatic payment tries; an account may have a day of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day_rule: Literal["after_issue", "before_due"] = "before_due"
    days: int = Field(0, ge=0, le=60, description="after the invoice's issue, or before it is due")
    retry_days: list[Annotated[int, Field(ge=1, le=60)]] = Field(
        default_factory=lambda: [1, 3, 5],
        description="days after the first try on which a declined payment is tried again",
    )

    @field_validator("retry_days")
    @classmethod
    def _in_order(cls, days: list[int]) -> list[int]:
        if sorted(set(days)) != days:
            raise ValueError("the days must grow, like [1, 3, 5]")
        return days


class BillingSettings(BaseModel):
    """How the bill run behaves and what an invoice looks like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: IssuerSettings = Field(default_factory=IssuerSettings)
    autopay: AutopaySettings = Field(default_factory=AutopaySettings)
    currency: str = Field(
        "USD", description="ISO 4217 code that forms, commands and imports begin with; accounts may differ"
    )
    locale: str = Field("en_US", description="babel locale of dates and amounts on invoices")
    invoice_prefix: str = Field("INV-", max_length=20)
    credit_note_prefix: str = Field("CN-", max_length=20)
    account_prefix: str = Field("A-", max_length=20)
    approval: bool = Field(
        False, description="a bill run writes drafts that wait for a person, instead of invoices"
    )
    entity_approval: dict[Annotated[str, Field(min_length=2, max_length=20)], bool] = Field(
        default_factory=dict, description="the same for one legal entity, by its name"
    )
    outlier_percent: int = Field(
        30, ge=0, le=10_000,
        description="a preview flags an invoice this far from the median of the account's last ones",
    )  # fmt: skip
    outlier_amount: int = Field(
        10, ge=0, le=10**9, description="and by at least so many whole units of its currency"
    )
    block_size: int = Field(500, ge=1, le=5000, description="accounts billed in one transaction")
    cycle_settle_minutes: int = Field(
        15, ge=0, le=24 * 60,
        description="wait after local midnight of the billing day, so that the last readings have come in",
    )  # fmt: skip
    clock_tolerance_s: int = Field(
        120,
        ge=0,
        le=86_400,
        description="how far the clock may stand behind the latest record and still be trusted",
    )
    clock_leap_days: int = Field(
        100,
        ge=1,
        le=3_650,
        description="a clock that leapt further than this since the latest record is not trusted",
    )
    correction_cycles: int = Field(
        13, ge=1, le=60, description="how many cycles back a bill run looks for corrections"
    )
    returned_payment_fees: dict[str, dict[str, int]] = Field(
        default_factory=dict,
        description="fee in minor units by kind of reversal (nsf, ach_return, chargeback) and currency",
    )
    fee_tax_class: str = Field("fee", max_length=40, description="tax class of fees for returned payments")

    def returned_payment_fee(self, kind: str, currency: str) -> int:
        """What a reversal of that kind costs the customer, in minor units."""
        return self.returned_payment_fees.get(kind, {}).get(currency, 0)

    @field_validator("returned_payment_fees")
    @classmethod
    def _fees_of_known_kinds(cls, value: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        for kind, fees in value.items():
            if kind not in {"nsf", "ach_return", "chargeback"}:
                raise ValueError(f"{kind!r} is not nsf, ach_return or chargeback")
            if any(fee < 0 for fee in fees.values()):
                raise ValueError(f"a fee for {kind} is below nothing")
        return value

    close_days_by_itself: bool = Field(True, description="whether the worker closes the days of the ledger")
    close_after_days: int = Field(
        3,
        ge=0,
        le=366,
        description="how many days a day of the ledger stays open after it is over everywhere",
    )

    release_deposits: bool = Field(
        True, description="whether the worker gives deposits back after the last invoice of a subscription"
    )
    deposit_refund_by: Literal["", "cash", "cheque", "transfer"] = Field(
        "", description="how the rest of a deposit is refunded when an account has nothing else; empty: not"
    )
    equipment_return_days: int = Field(
        30, ge=0, le=366,
        description="how long after the end of a subscription lent equipment may come back uncharged",
    )  # fmt: skip

    def waits_for_approval(self, entity_id: str | None) -> bool:
        """Whether invoices of that legal entity (None: the house) are drafts first."""
        return self.entity_approval.get(entity_id or "", self.approval)

    @property
    def settling(self) -> timedelta:
        """How long after local midnight usage is taken to be in."""
        return timedelta(minutes=self.cycle_settle_minutes)

    @field_validator("currency")
    @classmethod
    def _a_currency(cls, value: str) -> str:
        return check_currency(value)

    @field_validator("locale")
    @classmethod
    def _a_locale(cls, value: str) -> str:
        return check_locale(value)
