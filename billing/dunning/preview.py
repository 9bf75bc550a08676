"""The dry run: who would move, whom it would defer and why, which fees and words. Nothing is done."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_policy import Stage
from billing.dunning.debtors import load_cases
from billing.dunning.evaluate import Cuts, settle_within, tomorrow
from billing.dunning.settle import Outcome
from billing.store import dunning_rows

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class WouldChange:
    """An account that would move if the ladder were evaluated at that instant and nothing paid till then."""

    account_id: str
    from_stage: Stage
    to_stage: Stage
    service_ids: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class WouldDefer:
    """An account that the ladder would have at ``wanted`` and something keeps from there."""

    account_id: str
    stage: Stage
    wanted: Stage
    code: str
    because: str


@dataclass(frozen=True, slots=True)
class WouldCharge:
    """A late fee that would be asked for, net."""

    account_id: str
    invoice: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class WouldTell:
    """Words that would be sent."""

    account_id: str
    channel: str
    template: str


@dataclass(frozen=True, slots=True)
class NightPreview:
    """Everything that one evaluation would do."""

    changes: tuple[WouldChange, ...]
    deferred: tuple[WouldDefer, ...]
    fees: tuple[WouldCharge, ...]
    notices: tuple[WouldTell, ...]


async def preview_night(
    connection: AsyncConnection, on: datetime, account_ids: Collection[str] | None = None
) -> NightPreview:
    """What an evaluation of the whole day of ``on`` would do, the worst first; its hours play no part."""
    in_question = await dunning_rows.accounts_in_question(connection, tomorrow(on))
    asked = [one.account_id for one in in_question if account_ids is None or one.account_id in account_ids]
    cuts = Cuts()
    changes: list[WouldChange] = []
    deferred: list[WouldDefer] = []
    fees: list[WouldCharge] = []
    notices: list[WouldTell] = []
    for start in range(0, len(asked), _AT_ONCE):
        block = asked[start : start + _AT_ONCE]
        cases = {one.state.account_id: one for one in await load_cases(connection, block, on)}
        outcomes = [
            await settle_within(connection, cases[account_id], on, cuts, any_hour=True)
            for account_id in block
        ]
        moved = [one for one in outcomes if one.stage is not one.case.state.stage]
        days = {one.case.state.account_id: one.case.today for one in moved}
        services = await dunning_rows.services_of(connection, days) if days else {}
        changes += [
            WouldChange(
                one.case.state.account_id, one.case.state.stage, one.stage,
                tuple(services[one.case.state.account_id]), one.because,
            )
            for one in moved
        ]  # fmt: skip
        for one in outcomes:
            deferred += _deferred(one)
            fees += [
                WouldCharge(one.case.state.account_id, fee.invoice, fee.amount_minor, one.case.state.currency)
                for fee in one.fees
            ]
            told = [step for step in one.steps if step.notices]
            if told and told[-1] is one.steps[-1]:
                notices += [
                    WouldTell(one.case.state.account_id, notice.channel, notice.template)
                    for notice in told[-1].notices
                ]
    return NightPreview(tuple(changes), tuple(deferred), tuple(fees), tuple(notices))


async def preview_dunning(
    connection: AsyncConnection, on: datetime, account_ids: Collection[str] | None = None
) -> list[WouldChange]:
    """Who would move, and whereto, if the ladder were evaluated at ``on``: nothing is written."""
    return list((await preview_night(connection, on, account_ids)).changes)


def _deferred(outcome: Outcome) -> list[WouldDefer]:
    last = outcome.last
    if last.deferred is None:
        return []
    return [
        WouldDefer(
            outcome.case.state.account_id, outcome.stage, last.wanted, last.deferred.code, last.because
        )
    ]
