"""Tables of the SNMP room: what is polled and which row belongs to whom."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Table, Text, UniqueConstraint

from core.store.columns import Instant, new_metadata

metadata = new_metadata()

target = Table(
    "snmp_target",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("device_id", String(40)),  # opaque here
    Column("site_id", String(40)),
    Column("address", String(64), nullable=False),
    Column("port", Integer, nullable=False, default=161),
    Column("version", String(4), nullable=False),  # 2c, 3
    Column("username", String(80)),  # version 3
    Column("community_sealed", Text),
    Column("auth_sealed", Text),
    Column("privacy_sealed", Text),
    Column("poll_interval_s", Integer, nullable=False, default=300),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("last_polled_at", Instant),
    Column("last_answer_at", Instant),
    Column("last_error", Text),
    Column("sys_name", Text),
    Column("sys_uptime_ticks", BigInteger),
    Column("engine_boots", BigInteger),
    Column("created_at", Instant, nullable=False),
)

binding = Table(  # which counter row of a target is whose; by name, never by index
    "snmp_binding",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("target_id", String(40), ForeignKey("snmp_target.id"), nullable=False),
    Column("if_name", String(120), nullable=False),
    Column("service_id", String(40), nullable=False, index=True),
    Column("reversed", Boolean, nullable=False, default=False),  # True: the device's "in" is the download
    Column("bills", Boolean, nullable=False, default=True),
    Column("rate_cap_bps", BigInteger),  # above it a delta is quarantined
    UniqueConstraint("target_id", "if_name"),
)
