"""Holds, folds, generations: each holder owns its own, and paying lifts dunning's alone."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from aaa.domain.effect import Effect
from aaa.domain.entitlement import Holder, StandingHold, fold_entitlement
from aaa.entitlements import entitlement_of
from aaa.place_hold import lift_hold, place_hold
from aaa.set_up import NewCredential, create_service, define_profile, end_service
from aaa.store.tables import directory_change, entitlement_change
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import audit, fact
from core.work import Workplace

CUTS = st.sampled_from([Effect.THROTTLE, Effect.WALLED_GARDEN, Effect.BLOCK])


@pytest.fixture
async def service_id(workplace: Workplace, sealer: Sealer) -> str:
    async with workplace.work("operator:ann") as work:
        profile_id = granted(
            await define_profile(work, name="25", rate_down_bps=25_000_000, rate_up_bps=5_000_000)
        )
        return granted(
            await create_service(
                work, sealer, account_id="acc_1", label="Home", profile_id=profile_id,
                credentials=[NewCredential("pppoe", "ann", Secret("pw"))],
            )
        )  # fmt: skip


async def _place(
    workplace: Workplace, service_id: str, holder: str, effect: Effect, reason: str = "because"
) -> int:
    async with workplace.work("system:test") as work:
        return granted(
            await place_hold(work, service_id=service_id, holder=holder, effect=effect, reason=reason)
        )


async def _lift(workplace: Workplace, service_id: str, holder: str) -> int:
    async with workplace.work("system:test") as work:
        return granted(await lift_hold(work, service_id=service_id, holder=holder))


async def _effect(workplace: Workplace, service_id: str) -> tuple[int, Effect]:
    async with workplace.reading() as connection:
        entitlement = await entitlement_of(connection, service_id)
    assert entitlement is not None
    return entitlement.generation, entitlement.effect


async def _facts(workplace: Workplace) -> list[dict[str, object]]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(fact.c.payload).order_by(fact.c.seq))
        return [row.payload for row in rows]


async def test_a_new_service_is_entitled_at_generation_1(workplace: Workplace, service_id: str) -> None:
    assert await _effect(workplace, service_id) == (1, Effect.NONE)


async def test_paying_lifts_dunnings_hold_and_no_other(workplace: Workplace, service_id: str) -> None:
    await _place(workplace, service_id, "operator", Effect.THROTTLE)
    await _place(workplace, service_id, "dunning", Effect.WALLED_GARDEN)
    await _lift(workplace, service_id, "dunning")
    assert (await _effect(workplace, service_id))[1] == Effect.THROTTLE


async def test_lifting_a_hold_one_does_not_have_changes_nothing(
    workplace: Workplace, service_id: str
) -> None:
    placed = await _place(workplace, service_id, "operator", Effect.BLOCK)
    assert await _lift(workplace, service_id, "dunning") == placed
    assert await _effect(workplace, service_id) == (placed, Effect.BLOCK)


async def test_the_same_hold_again_is_no_new_generation_and_no_fact(
    workplace: Workplace, service_id: str
) -> None:
    first = await _place(workplace, service_id, "dunning", Effect.WALLED_GARDEN)
    again = await _place(workplace, service_id, "dunning", Effect.WALLED_GARDEN)
    assert (first, again) == (2, 2)
    assert len(await _facts(workplace)) == 1


async def test_a_weaker_second_hold_adds_its_reason_without_a_generation(
    workplace: Workplace, service_id: str
) -> None:
    generation = await _place(workplace, service_id, "dunning", Effect.BLOCK, "late")
    assert await _place(workplace, service_id, "abuse", Effect.THROTTLE, "spam") == generation
    async with workplace.reading() as connection:
        entitlement = await entitlement_of(connection, service_id)
    assert entitlement is not None
    assert [reason["holder"] for reason in entitlement.because] == ["dunning", "abuse"]


async def test_every_generation_is_in_the_history_the_facts_and_the_directory_feed(
    workplace: Workplace, service_id: str
) -> None:
    await _place(workplace, service_id, "dunning", Effect.WALLED_GARDEN, "14 days late")
    await _lift(workplace, service_id, "dunning")
    assert [(one["generation"], one["effect"]) for one in await _facts(workplace)] == [
        (2, "walled_garden"),
        (3, "none"),
    ]
    async with workplace.reading() as connection:
        history = (await connection.execute(select(entitlement_change.c.generation))).scalars().all()
        feed = (
            await connection.execute(select(directory_change).where(directory_change.c.entity == "service"))
        ).all()
        actions = (await connection.execute(select(audit.c.action).order_by(audit.c.seq))).scalars().all()
    assert list(history) == [1, 2, 3]
    assert len(feed) == 3
    assert actions[-2:] == ["hold.place", "hold.lift"]


async def test_ending_a_service_outranks_every_hold_and_happens_once(
    workplace: Workplace, service_id: str
) -> None:
    await _place(workplace, service_id, "dunning", Effect.BLOCK)
    async with workplace.work("operator:ann") as work:
        ended = granted(await end_service(work, service_id, "moved away"))
    async with workplace.work("operator:ann") as work:
        assert await end_service(work, service_id, "again") == ended
    assert await _effect(workplace, service_id) == (ended, Effect.ENDED)


@pytest.mark.parametrize(
    ("holder", "effect", "reason", "field"),
    [
        ("nobody", Effect.BLOCK, "x", "holder"),
        ("dunning", Effect.NONE, "x", "effect"),
        ("dunning", Effect.ENDED, "x", "effect"),
        ("dunning", Effect.BLOCK, "  ", "reason"),
    ],
)
async def test_a_wrong_hold_is_refused_by_field(
    workplace: Workplace, service_id: str, holder: str, effect: Effect, reason: str, field: str
) -> None:
    async with workplace.work("system:test") as work:
        refusal = await place_hold(work, service_id=service_id, holder=holder, effect=effect, reason=reason)
    assert isinstance(refusal, Refusal)
    assert refusal.field == field


async def test_an_unknown_service_is_refused(workplace: Workplace) -> None:
    async with workplace.work("system:test") as work:
        placed = await place_hold(work, service_id="svc_x", holder="dunning", effect=Effect.BLOCK, reason="x")
        lifted = await lift_hold(work, service_id="svc_x", holder="dunning")
    assert isinstance(placed, Refusal)
    assert isinstance(lifted, Refusal)


@given(st.dictionaries(st.sampled_from(list(Holder)), CUTS, max_size=4))
def test_law_the_fold_is_the_strongest_hold_in_any_order(holds: dict[Holder, Effect]) -> None:
    strongest = max(holds.values(), key=lambda effect: effect.rank, default=Effect.NONE)
    for order in permutations(holds.items()):
        fold = fold_entitlement("active", [StandingHold(holder, effect, "x") for holder, effect in order])
        assert fold.effect == strongest
        assert {reason["holder"] for reason in fold.because} == set(holds)


@given(st.dictionaries(st.sampled_from(list(Holder)), CUTS, min_size=1))
def test_law_lifting_one_hold_never_worsens(holds: dict[Holder, Effect]) -> None:
    before = fold_entitlement(
        "active", [StandingHold(holder, effect, "x") for holder, effect in holds.items()]
    )
    for gone in holds:
        left = [StandingHold(holder, effect, "x") for holder, effect in holds.items() if holder != gone]
        assert fold_entitlement("active", left).effect.rank <= before.effect.rank
