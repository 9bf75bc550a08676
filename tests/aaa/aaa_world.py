"""A small world for accounting tests: services that dial, and reports of their sessions, told in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.record_accounting import AccountingOutcome, record_accounting
from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store.tables import meter_reading, session, usage_record
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.work import Workplace

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
CLASS_KEY = b"k" * 32
GIB4 = 1 << 32
MAC = "AA:BB:CC:00:00:01"


def minute(minutes: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


@dataclass(frozen=True)
class Dialled:
    """One session as its NAS tells of it. Without ``sign_in`` the NAS echoes no Class."""

    service_id: str = ""
    sign_in: str = ""
    nas_id: str = "nas_1"
    acct_session_id: str = "80000001"
    username: str = "ann"
    began: float = 0
    mac: str | None = MAC
    port: str | None = None
    ip: str | None = "10.0.0.7"

    def report(
        self, kind: AccountingKind, at: float, octets: tuple[int, int] | None = None, **fields: Any
    ) -> AccountingEvent:
        """A report of ``at`` minutes after noon, received at once."""
        token = b""
        if self.sign_in:
            token = encode_class(ClassToken(self.service_id, 1, self.sign_in), CLASS_KEY)
        values: dict[str, Any] = {
            "nas_id": self.nas_id, "kind": kind, "acct_session_id": self.acct_session_id,
            "username": self.username, "class_token": token, "occurred_at": minute(at),
            "received_at": minute(at), "calling_station": self.mac, "nas_port_id": self.port,
            "framed_ip": self.ip, "gigawords_present": octets is not None and kind is not AccountingKind.START,
        }  # fmt: skip
        if octets is not None:
            values |= {"octets_in": octets[0], "octets_out": octets[1]}
        return AccountingEvent(**(values | fields))

    def start(self, at: float | None = None, **fields: Any) -> AccountingEvent:
        return self.report(AccountingKind.START, self.began if at is None else at, **fields)

    def interim(self, at: float, octets: tuple[int, int] | None, **fields: Any) -> AccountingEvent:
        age_s = int((at - self.began) * 60)
        return self.report(AccountingKind.INTERIM, at, octets, **({"session_time_s": age_s} | fields))

    def stop(self, at: float, octets: tuple[int, int] | None, **fields: Any) -> AccountingEvent:
        values = {"session_time_s": int((at - self.began) * 60), "terminate_cause": "User-Request"}
        return self.report(AccountingKind.STOP, at, octets, **(values | fields))

    def old_nas(
        self, at: float, octets: tuple[int, int], kind: AccountingKind = AccountingKind.INTERIM
    ) -> AccountingEvent:
        """What a NAS without Gigawords tells of these true totals."""
        low = (octets[0] % GIB4, octets[1] % GIB4)
        return (
            self.interim(at, low, gigawords_present=False)
            if kind is AccountingKind.INTERIM
            else self.stop(at, low, gigawords_present=False)
        )


def nas_on(at: float, nas_id: str = "nas_1", kind: AccountingKind = AccountingKind.NAS_ON) -> AccountingEvent:
    return Dialled(nas_id=nas_id, acct_session_id="0", username="", mac=None, ip=None).report(kind, at)


async def subscribe(
    workplace: Workplace,
    sealer: Sealer,
    username: str = "ann",
    down_bps: int = 100_000_000,
    framed_ip: str | None = None,
) -> str:
    """A service with a PPPoE user, on a profile of its own."""
    async with workplace.work("operator:ann") as work:
        profile_id = granted(
            await define_profile(
                work, name=f"p-{username}", rate_down_bps=down_bps, rate_up_bps=down_bps // 4
            )
        )
        return granted(
            await create_service(
                work, sealer, account_id="acc_1", label=username, profile_id=profile_id, framed_ip=framed_ip,
                credentials=[NewCredential("pppoe", username, Secret("pw"))],
            )
        )  # fmt: skip


async def report(workplace: Workplace, *events: AccountingEvent) -> AccountingOutcome:
    """One batch."""
    async with workplace.work("system:ingest") as work:
        return await record_accounting(work, events, CLASS_KEY)


async def one_by_one(workplace: Workplace, events: Sequence[AccountingEvent]) -> None:
    """A batch for each event."""
    for event in events:
        await report(workplace, event)


async def sessions(workplace: Workplace) -> list[Any]:
    async with workplace.reading() as connection:
        return list(
            (await connection.execute(select(session).order_by(session.c.started_at, session.c.id))).all()
        )


async def readings(workplace: Workplace) -> list[Any]:
    async with workplace.reading() as connection:
        return list((await connection.execute(select(meter_reading).order_by(meter_reading.c.at))).all())


async def records(workplace: Workplace) -> list[tuple[float, float, int, int]]:
    """Usage records as minutes after noon and octets."""
    async with workplace.reading() as connection:
        rows = await connection.execute(
            select(usage_record).order_by(usage_record.c.start_at, usage_record.c.end_at)
        )
        return [
            (
                (row.start_at - NOON).total_seconds() / 60, (row.end_at - NOON).total_seconds() / 60,
                row.octets_in, row.octets_out,
            )
            for row in rows
        ]  # fmt: skip


async def total(workplace: Workplace) -> tuple[int, int]:
    """All octets that were ever recorded as usage."""
    cut = await records(workplace)
    return sum(one[2] for one in cut), sum(one[3] for one in cut)
