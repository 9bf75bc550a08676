"""Tables of the provisioning room: towers, devices, enforcement and its evidence."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from core.store.columns import BigId, Instant, new_metadata, partial_index

metadata = new_metadata()

site = Table(
    "provisioning_site",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("known_outage", Boolean, nullable=False, default=False),  # nobody is suspended meanwhile
    Column("created_at", Instant, nullable=False),
)

device = Table(
    "provisioning_device",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("site_id", String(40), ForeignKey("provisioning_site.id"), nullable=False, index=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("driver", String(20), nullable=False),  # routeros, linux_nftables
    Column("address", String(64), nullable=False),
    Column("port", Integer, nullable=False, default=22),
    Column("username", String(80), nullable=False),
    Column("password_sealed", Text),
    Column("private_key_sealed", Text),
    Column("host_key", Text),  # pinned at first contact or given by the operator
    Column("options", JSON, nullable=False),  # driver's words: list name, set and table names, session limits
    Column("enabled", Boolean, nullable=False, default=True),
    Column("breaker_open_until", Instant),
    Column("failures_in_row", Integer, nullable=False, default=0),
    Column("last_contact_at", Instant),
    Column("leased_by", String(80)),  # one session at a time: the worker that holds it, until when
    Column("leased_until", Instant),
    Column("next_check_at", Instant),  # drift timetable
    Column("facts", JSON, nullable=False),  # what the device last said of itself: version, identity
    Column("created_at", Instant, nullable=False),
)

enforcement_point = Table(  # where one service's entitlement is made true
    "provisioning_enforcement_point",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), nullable=False, index=True),
    # device, live_session; leaving: a device from which our entries are being taken; former: none stand there
    Column("mechanism", String(20), nullable=False),
    Column("device_id", String(40), ForeignKey("provisioning_device.id"), index=True),
)
partial_index(
    "uq_provisioning_enforcement_point_device",
    enforcement_point.c.service_id,
    enforcement_point.c.device_id,
    unique=True,
    where=enforcement_point.c.device_id.is_not(None),
)
partial_index(  # NULLs are never equal: without this a service could have two
    "uq_provisioning_enforcement_point_session",
    enforcement_point.c.service_id,
    unique=True,
    where=enforcement_point.c.device_id.is_(None),
)

task = Table(  # the intent to reach one generation at one point; the newest generation wins
    "provisioning_task",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("point_id", String(40), ForeignKey("provisioning_enforcement_point.id"), nullable=False),
    Column("service_id", String(40), nullable=False, index=True),
    Column("generation", BigInteger, nullable=False),
    Column("effect", String(16), nullable=False),
    Column("cause", Text, nullable=False),  # the fact behind it, in words
    Column("suspends", Boolean, nullable=False, default=False),  # a NEW suspension: counts against the caps
    Column("approved_by", String(80)),  # who let it pass the caps
    Column("status", String(12), nullable=False),  # waiting, claimed, verified, superseded, parked
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Instant),
    Column("claimed_by", String(80)),
    Column("claim_until", Instant),
    Column("created_at", Instant, nullable=False),
    Column("verified_at", Instant),
    Column("proof", JSON),  # what was read back
    Column("last_error", Text),
)
Index("ix_provisioning_task_due", task.c.status, task.c.next_attempt_at)
partial_index(
    "uq_provisioning_task_open",
    task.c.point_id,
    unique=True,
    where=task.c.status.in_(["waiting", "claimed", "parked"]),
)

transcript = Table(
    "provisioning_transcript",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("device_id", String(40), index=True),  # None: a live session, moved by RADIUS
    Column("task_id", String(40), index=True),
    Column("service_id", String(40), index=True),
    Column("purpose", String(20), nullable=False),  # enforce, drift_check, probe
    Column("outcome", String(20), nullable=False),  # verified, failed, lied, unreachable, drift, clean
    Column("started_at", Instant, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("exchanges", JSON, nullable=False),  # [{"sent":…, "received":…, "ms":…}], secrets redacted
)

observation = Table(
    "provisioning_observation",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("device_id", String(40), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("entries", JSON, nullable=False),  # [{"mark":service id, "address":…}] as the device said
    Column("drift", JSON, nullable=False),  # what differed from the wanted state
)
