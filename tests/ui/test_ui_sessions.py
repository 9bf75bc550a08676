"""The sessions pages: online, history, filters, one session; what is shown is what is on record."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pyrad.packet import CoAPacket
from sqlalchemy import select, update
from ui_client import Panels
from ui_world import Provider

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.record_accounting import record_accounting
from aaa.store.tables import nas as nas_table
from aaa.store.tables import session


async def two_more(valley: Provider) -> None:
    """Linus dialled from another CPE last night and lost his link; a stranger is online."""
    began = valley.clock.now() - timedelta(hours=9)

    def told(kind: AccountingKind, minutes: int, name: str, number: str, **fields: object) -> AccountingEvent:
        at = began + timedelta(minutes=minutes)
        values = {
            "framed_ip": "100.64.2.99",
            "calling_station": "02-00-5e-00-10-0a",
            "nas_port_id": "ether3.120",
        }
        return AccountingEvent(
            nas_id=valley.nases[2], kind=kind, acct_session_id=number, username=name, class_token=b"",
            occurred_at=at, received_at=at, **(values | fields),  # type: ignore[arg-type]
        )  # fmt: skip

    linus, prefix = "linus@valley.example", "2001:db8:7:100::/56"
    events = [
        told(AccountingKind.START, 0, linus, "9000aa01"),
        told(AccountingKind.INTERIM, 5, linus, "9000aa01", octets_in=5, octets_out=70, delegated_ipv6_prefix=prefix),
        told(AccountingKind.STOP, 7, linus, "9000aa01", octets_in=6, octets_out=80, terminate_cause="Lost-Carrier"),
        told(AccountingKind.START, 9, "stranger", "77", calling_station="02-00-5E-00-99-01", framed_ip="100.64.2.77"),
    ]  # fmt: skip
    async with valley.workplace.work("test") as work:
        await record_accounting(work, events, b"k" * 32)


async def session_called(valley: Provider, number: str) -> str:
    async with valley.workplace.reading() as connection:
        found = await connection.execute(select(session.c.id).where(session.c.acct_session_id == number))
        return str(found.scalar_one())


async def test_online_and_history_by_every_filter(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    browser = await valley_panel.as_("viewer")
    online = (await browser.get("/sessions")).text
    assert "11 sessions online now" in online
    assert "stranger" in online
    assert "nobody's user name" in online
    assert "the link to the CPE was lost" not in online
    lost = await session_called(valley, "9000aa01")
    for query in (
        "why=Lost-Carrier", "address=2001:db8:7:1aa::5", "address=100.64.2.99", "mac=02:00:5E:00:10:0A",
        "who=linus@valley.example&mac=0200.5e00.100a", "who=Fairweather&address=100.64.2.99",
        f"nas={valley.nases[2]}&from=2026-03-10T01:00&until=2026-03-10T01:35&address=100.64.2.99",
        f"tower={valley.sites[2]}&why=Lost-Carrier", f"who={valley.services['Linus Fairweather']}&why=Lost-Carrier",
    ):  # fmt: skip
        page = await browser.get(f"/sessions?state=all&{query}")
        assert page.status == 200, query
        assert page.text.count('href="/sessions/ses_') == 1, query
        assert f"/sessions/{lost}" in page.text, query
        assert "12 min" not in page.text
    assert (
        "No session matches"
        in (await browser.get(f"/sessions?state=all&tower={valley.sites[0]}&why=Lost-Carrier")).text
    )
    rows = await browser.get("/sessions/rows?state=online")
    assert "<html" not in rows.text
    assert "stranger" in rows.text


async def test_what_cannot_be_read_is_said_beside_an_empty_list(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("viewer")
    for query, said in (
        ("mac=zz", "is no MAC"), ("address=10.0.0.0/8", "one address at a time"), ("from=soon", "is no time"),
        ("until=2026-03-08T02:30", "did not happen in America/Denver"), ("after=x", "no mark of a page"),
        ("from=2025-11-02T01:30", "happened twice"),
    ):  # fmt: skip
        page = await browser.get(f"/sessions?{query}")
        assert (page.status, said in page.text) == (422, True), (query, page.text)


async def test_one_session_with_its_reports_and_addresses(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    browser = await valley_panel.as_("viewer")
    page = (await browser.get(f"/sessions/{await session_called(valley, '9000aa01')}")).text
    for words in (
        "Linus Fairweather", "the link to the CPE was lost", "ether3.120", "2001:db8:7:100::/56", "02:00:5E:00:10:0A",
        "100.64.2.99", "Lost-Carrier", "Mar 10, 2026 01:35:00 MDT", "Advance",
    ):  # fmt: skip
        assert words in page, words
    assert (await browser.get("/sessions/ses_none")).status == 404
    subscriber = (await browser.get(f"/subscribers/{valley.accounts['Linus Fairweather']}")).text
    assert "7 min; the link to the CPE was lost" in subscriber
    assert subscriber.index("Online") < subscriber.index("7 min; the link"), "what is online comes first"


async def test_the_list_as_a_file(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    browser = await valley_panel.as_("viewer")
    page = await browser.get("/sessions?state=all&format=csv")
    rows = list(csv.DictReader(io.StringIO(page.text)))
    assert len(rows) == 12
    (lost,) = [row for row in rows if row["close_cause"] == "Lost-Carrier"]
    assert (lost["octets_down"], lost["delegated_ipv6_prefix"]) == ("80", "2001:db8:7:100::/56")
    assert lost["why"] == "the link to the CPE was lost"


async def test_who_had_an_address_is_answered_printed_and_on_record(
    valley: Provider, valley_panel: Panels
) -> None:
    await two_more(valley)
    browser = await valley_panel.as_("network")
    asked = {"address": "2001:db8:7:1aa::9", "at": "2026-03-10 01:36", "reason": "Letter 77"}
    page = await browser.submit("/sessions/at", "/sessions/at", **asked)
    assert page.status == 200
    for words in (
        "One subscriber held the address",
        "Linus Fairweather",
        "2001:db8:7:100::/56",
        "Proven",
        "Letter 77",
    ):
        assert words in page.text, words
    printed = await browser.post(
        "/sessions/at", page.form("/sessions/at") | {"csrf": page.form("/sessions/at")["csrf"]}
    )
    assert printed.headers["Content-Type"] == "application/pdf"
    assert printed.body.startswith(b"%PDF-")
    reference = page.form("/sessions/at")["reference"]
    assert reference in printed.headers["Content-Disposition"]
    owner = await valley_panel.as_("owner")
    trail = (await owner.get("/audit?subject=2001:db8:7:1aa::9")).text
    assert trail.count(reference) == 2, "asked once, printed once"
    assert "Letter 77" in trail
    gap = await browser.submit("/sessions/at", "/sessions/at", **asked | {"at": "2026-03-09T23:00:00-06:00"})
    assert "No session on record held the address" in gap.text
    assert "First after" in gap.text


async def test_a_lookup_without_reason_or_zone_is_refused_beside_its_field(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    good = {"address": "100.64.2.19", "at": "2026-03-10 01:36", "reason": "Letter 77"}
    for field, value, said in (
        ("reason", "", "is missing"), ("at", "2026-03-08 02:30", "did not happen"), ("address", "here", "is no address"),
        ("zone", "Mars", "not a time zone"), ("tolerance_s", "x", "whole number"), ("at", "2027-01-01 00:00", "has not come yet"),
    ):  # fmt: skip
        page = await browser.submit("/sessions/at", "/sessions/at", **good | {field: value})
        assert (page.status, said in page.text) == (422, True), field
    viewer = await valley_panel.as_("viewer")
    assert (await viewer.get("/sessions/at")).status == 403


class OneNas(asyncio.DatagramProtocol):
    """Answers CoA and Disconnect with what it is told to: an ACK, or a NAK with that Error-Cause."""

    def __init__(self) -> None:
        self.cause = 0
        self.codes: list[int] = []

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = CoAPacket(secret=b"a long radius secret", packet=data)
        assert request.VerifyCoARequest()
        self.codes.append(request.code)
        reply = request.CreateReply()
        reply.code = request.code + (2 if self.cause else 1)
        if self.cause:
            reply[101] = [self.cause.to_bytes(4, "big")]
        self.transport.sendto(reply.ReplyPacket(), addr)


@pytest.fixture
async def one_nas(valley: Provider) -> AsyncIterator[OneNas]:
    """The NAS of Linus's tower, moved to loopback."""
    nas = OneNas()
    port = await nas.start()
    async with valley.workplace.work("test") as work:
        moved = update(nas_table).where(nas_table.c.id == valley.nases[2])
        await work.connection.execute(moved.values(network="127.0.0.1/32", dynauth_port=port))
    yield nas
    nas.transport.close()


async def linus_online(valley: Provider) -> str:
    async with valley.workplace.reading() as connection:
        query = select(session.c.id).where(
            session.c.username == "linus@valley.example", session.c.stopped_at.is_(None)
        )
        return str((await connection.execute(query)).scalar_one())


async def test_an_order_its_answer_and_what_followed_are_shown(
    valley: Provider, valley_panel: Panels, one_nas: OneNas
) -> None:
    path = f"/sessions/{await linus_online(valley)}"
    browser = await valley_panel.as_("billing")
    page = await browser.submit(path, f"{path}/reapply")
    assert page.location.endswith("notice=moved"), page.text
    shown = (await browser.get(page.location)).text
    for words in ("The session has not reported since", "Mikrotik-Rate-Limit", "by billing", "hx-get"):
        assert words in shown, words
    page = await browser.submit(path, f"{path}/disconnect")
    assert "No Stop has arrived yet" in (await browser.get(page.location)).text
    assert one_nas.codes == [43, 40]
    valley.clock.advance(timedelta(seconds=4))
    now = valley.clock.now()
    stop = AccountingEvent(
        nas_id=valley.nases[2], kind=AccountingKind.STOP, acct_session_id="80000009", username="linus@valley.example",
        class_token=encode_class(
            ClassToken(valley.services["Linus Fairweather"], 1, "s9"), valley.sealer.derive_key("class-token")
        ),
        occurred_at=now, received_at=now, terminate_cause="Admin-Reset",
    )  # fmt: skip
    async with valley.workplace.work("test") as work:
        await record_accounting(work, [stop], valley.sealer.derive_key("class-token"))
    orders = (await browser.get(f"{path}/orders")).text
    assert "Its Stop arrived 4 s later" in orders
    assert "<html" not in orders
    owner = await valley_panel.as_("owner")
    assert "session.disconnect" in (await owner.get("/audit?format=csv")).text


async def test_a_refusal_is_shown_in_words_and_a_lost_session_is_closed(
    valley: Provider, valley_panel: Panels, one_nas: OneNas
) -> None:
    path = f"/sessions/{await linus_online(valley)}"
    browser = await valley_panel.as_("network")
    one_nas.cause = 501
    page = await browser.submit(path, f"{path}/disconnect")
    assert page.status == 502
    assert "administratively prohibited" in page.text
    one_nas.cause = 503
    page = await browser.submit(path, f"{path}/disconnect")
    assert page.location.endswith("notice=session_gone")
    shown = (await browser.get(path)).text
    assert "its NAS said, when asked to change or end it, that it has no such session" in shown
    assert f"{path}/disconnect" not in shown, "no button for what is gone"
    viewer = await valley_panel.as_("viewer")
    assert f"{path}/disconnect" not in (await viewer.get(path)).text


async def test_coa_clients_are_permitted_changed_and_forgotten(
    valley: Provider, valley_panel: Panels
) -> None:
    browser, where = await valley_panel.as_("network"), "/dynauth-clients"
    secret = "a long secret of the script"
    refused = await browser.submit(where, where, name="script", network="192.0.2.7", secret="short")
    assert (refused.status, "short" in refused.form(where).values()) == (422, False)
    made = await browser.submit(
        where,
        where,
        name="script",
        network="192.0.2.7",
        secret=secret,
        may_disconnect="yes",
        nas=valley.nases[1],
    )
    assert made.status == 303
    page = await browser.get(where)
    assert "192.0.2.7/32" in page.text
    assert "sugar-loaf-nas" in page.text
    path = page.text.partition(f'href="{where}/dac_')[2].partition('"')[0]
    path = f"{where}/dac_{path}"
    saved = await browser.submit(path, path, network="192.0.2.8", may_change="yes", enabled="yes", nas="")
    assert saved.status == 303
    page = await browser.get(where)
    assert "192.0.2.8/32" in page.text
    assert "every NAS" in page.text
    assert secret not in (await browser.get(path)).text
    assert (await browser.submit(path, f"{path}/forget")).status == 303
    assert "Nobody is permitted yet" in (await browser.get(where)).text
    viewer = await valley_panel.as_("viewer")
    assert (await viewer.get(where)).status == 403
