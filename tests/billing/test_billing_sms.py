"""Text messages: queued once, sent to a real HTTP server, tried again when that makes sense."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from billing_story import Town
from sqlalchemy import select, update

from appliance.reactions import reactions_of
from billing.config import BillingSettings
from billing.delivery import act_on_texts
from billing.delivery.http_sms import HttpSms
from billing.delivery.send_sms import PAUSES, SmsSender, dialled, queue_sms
from billing.delivery.sms_gateway import set_sms_gateway
from billing.delivery.sms_texts import BUILT_IN, NAMES, compose_sms, fault_of
from billing.facts import NoticeDue
from billing.ports import SmsFate
from billing.store.tables import account, sms_gateway, sms_message
from core.facts import RecordedFact
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret

CONTEXT: dict[str, Any] = {
    "account_number": "A-7", "account_name": "Ann {text}", "currency": "USD", "overdue_minor": 2129,
    "invoice": "INV-000001", "due_on": "2026-03-24", "days_overdue": 5, "next_on": "2026-04-08",
    "promise_until": None,
}  # fmt: skip


class Gateway:
    """Answers what it is told to and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, Any], str | None]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json() if request.content_type == "application/json" else await request.post()
        self.got.append((dict(body), request.headers.get("Authorization")))
        return web.Response(status=self.status)


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    house, app = Gateway(), web.Application()
    app.router.add_post("/send", house.take)
    async with TestServer(app) as server:
        yield house, str(server.make_url("/send"))


async def _set_up(town: Town, sealer: Sealer, url: str, **terms: Any) -> Refusal | None:
    form: dict[str, Any] = {
        "body": {"to": "{to}", "msg": "{text}", "ref": "{id}"},
        "auth": Secret("Bearer s3"),
    }
    async with town.workplace.work("operator:test") as work:
        return await set_sms_gateway(work, sealer, url=url, **{**form, **terms})


async def _queue(town: Town, account_id: str, source: str = "s1") -> str | None:
    async with town.workplace.work("system:outbox") as work:
        return await queue_sms(
            work, source=source, account_id=account_id, template="reminder_1", context=CONTEXT
        )


async def _states(town: Town) -> list[tuple[str, int, str | None]]:
    async with town.workplace.reading() as connection:
        rows = await connection.execute(select(sms_message).order_by(sms_message.c.id))
        return [(row.state, row.attempts, row.reason) for row in rows]


@pytest.mark.parametrize("kind", ["json", "form"])
async def test_a_message_is_sent_once(
    any_town: Town, sealer: Sealer, gateway: tuple[Gateway, str], kind: str
) -> None:
    town, (house, url) = any_town, gateway
    ann = await town.account(phone="+1 (505) 555-0101")
    assert await _queue(town, ann) is None, "no gateway, no message"
    granted(await _set_up(town, sealer, url, body_kind=kind))
    message_id = await _queue(town, ann)
    assert await _queue(town, ann) is None, "the same fact twice"
    sender = SmsSender(town.workplace, sealer)
    assert await sender.send_due() == 1
    assert await sender.send_due() == 0
    words = "$21.29 has been due since Mar 24, 2026 (account A-7). Please pay soon."
    assert house.got == [({"to": "+15055550101", "msg": words, "ref": message_id}, "Bearer s3")]
    assert await _states(town) == [("sent", 1, None)]
    async with town.workplace.reading() as connection:
        kept = (await connection.execute(select(sms_gateway))).one()
    assert "s3" not in str(kept)


async def test_who_has_no_language_of_his_own_reads_the_house_s(town: Town, sealer: Sealer) -> None:
    ann = await town.account(phone="+4930555010")
    granted(await _set_up(town, sealer, "https://sms.example.net/send"))
    told = {"channel": "sms", "source": "n1", "account_id": ann, "template": "reminder_1", "context": CONTEXT}
    fact = RecordedFact(1, NoticeDue.kind, ann, told, town.clock.now(), 0)
    async with town.workplace.work("system:outbox") as work:
        await reactions_of(BillingSettings(locale="de_DE"))[NoticeDue.kind](work, fact)
    async with town.workplace.reading() as connection:
        [text] = (await connection.scalars(select(sms_message.c.text))).all()
    assert "sind seit 24.03.2026 fällig" in text


async def test_trouble_is_tried_again_and_a_refused_number_is_not(
    town: Town, sealer: Sealer, gateway: tuple[Gateway, str]
) -> None:
    house, url = gateway
    ann = await town.account(phone="5055550101")
    granted(await _set_up(town, sealer, url))
    await _queue(town, ann)
    sender = SmsSender(town.workplace, sealer)
    house.status = 503
    for pause in PAUSES:
        assert await sender.send_due() == 1
        assert await sender.send_due() == 0
        town.clock.advance(pause + timedelta(seconds=1))
    assert await sender.send_due() == 1
    assert await _states(town) == [("failed", 5, "the gateway answered 503")]
    house.status = 400
    await _queue(town, ann, "s2")
    await sender.send_due()
    assert (await _states(town))[1] == ("failed", 1, "the gateway answered 400")


async def test_one_message_is_cancelled_and_tried_again_at_the_number_of_today(
    town: Town, sealer: Sealer, gateway: tuple[Gateway, str]
) -> None:
    house, url = gateway
    ann = await town.account(phone="5055550101")
    granted(await _set_up(town, sealer, url))
    message_id = str(await _queue(town, ann))
    async with town.workplace.work("operator:test") as work:
        assert granted(await act_on_texts.cancel(work, message_id)) == message_id
        again = await act_on_texts.cancel(work, message_id)
        unknown = await act_on_texts.try_again(work, "sms_none")
    assert isinstance(again, Refusal)
    assert isinstance(unknown, Refusal)
    sender = SmsSender(town.workplace, sealer)
    assert await sender.send_due() == 0
    assert await _states(town) == [("cancelled", 0, "cancelled by operator:test")]
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(update(account).values(phone="5055550199"))
        granted(await act_on_texts.try_again(work, message_id))
    assert await sender.send_due() == 1
    assert house.got[0][0]["to"] == "5055550199"
    assert await _states(town) == [("sent", 1, None)]


async def test_what_is_cancelled_while_it_is_on_its_way_is_not_tried_again(
    town: Town, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await town.account(phone="5055550101")
    granted(await _set_up(town, sealer, "http://127.0.0.1:9/"))
    message_id = str(await _queue(town, ann))

    async def send(_: HttpSms, of: str, *__: str) -> SmsFate:
        async with town.workplace.work("operator:test") as work:
            granted(await act_on_texts.cancel(work, of))
        return SmsFate(taken=False, final=False, reason="the gateway answered 503")

    monkeypatch.setattr(HttpSms, "send", send)
    await SmsSender(town.workplace, sealer).send_due()
    assert await _states(town) == [("cancelled", 1, "cancelled by operator:test")], message_id


async def test_a_gateway_that_is_away_is_not_an_error(town: Town, sealer: Sealer) -> None:
    ann = await town.account(phone="5055550101")
    granted(await _set_up(town, sealer, "http://127.0.0.1:9/"))
    await _queue(town, ann)
    assert await SmsSender(town.workplace, sealer).send_due() == 1
    [(state, _, reason)] = await _states(town)
    assert state == "queued"
    assert "is not reached" in str(reason)


async def test_a_secret_goes_to_its_own_host_and_never_in_the_clear(town: Town, sealer: Sealer) -> None:
    granted(await _set_up(town, sealer, "https://sms.example.net/send"))
    granted(await _set_up(town, sealer, "https://sms.example.net/v2", auth=None))
    for url, terms in (
        ("https://sms.example.org/send", {"auth": None}),
        ("http://sms.example.net/send", {}),
        ("https://me:pw@sms.example.net/", {}),
        ("ftp://sms.example.net/", {}),
        ("https://sms.example.net/", {"body": {"to": "{to}"}}),
        ("https://sms.example.net/", {"texts": {"reminder_1": "{secret}"}}),
    ):
        assert isinstance(await _set_up(town, sealer, url, **terms), Refusal), url


def test_texts_are_checked_and_values_are_never_read_as_texts() -> None:
    assert fault_of("{overdue} by {next_on}") is None
    assert "there is no {colour}" in str(fault_of("{colour}"))
    assert fault_of("{") is not None
    own = compose_sms("mine", CONTEXT, "de_DE", {"mine": "{name}: {overdue}"})
    assert own is not None
    assert own.startswith("Ann {text}: 21,29")
    assert compose_sms("unheard_of", CONTEXT, "en_US", {}) is None
    for texts in BUILT_IN.values():
        assert texts.keys() == BUILT_IN["en"].keys()
        assert all(fault_of(text) is None for text in texts.values())
    assert set(NAMES) >= {"overdue", "number"}


@pytest.mark.parametrize(
    ("phone", "number"),
    [("+49 (0)30 123456", "+49030123456"), ("505-555-0101", "5055550101"), ("call me", None), (None, None)],
)
def test_what_people_write_between_digits_is_left_out(phone: str | None, number: str | None) -> None:
    assert dialled(phone) == number
