"""Tables of the AAA room: who may use the network and what they used."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from core.store.columns import BigId, Instant, new_metadata, partial_index

metadata = new_metadata()

nas = Table(
    "aaa_nas",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("network", String(64), nullable=False, unique=True),  # address or prefix, CIDR
    Column("identifier", String(253)),  # NAS-Identifier, when known
    Column("site_id", String(40)),
    Column("dialect", String(20), nullable=False),  # see aaa.domain.checks.DIALECTS
    Column("secret_sealed", Text, nullable=False),
    Column("message_authenticator", String(10), nullable=False),  # require, auto, off
    Column("signs_requests", Boolean, nullable=False, default=False),  # learned under "auto"
    # how MAC logins are spelled and what password goes along: see aaa.domain.mac_convention
    Column("mac_format", String(20), nullable=False),
    Column("mac_case", String(5), nullable=False, server_default="any"),
    Column("mac_password", String(8), nullable=False, server_default="either"),
    Column("mac_password_sealed", Text),  # the one all devices share, for "shared"
    # what says who signs in: user_name, circuit (option 82), port (NAS-Port-Id); see radius.nas.line_identity
    Column("identity", String(10), nullable=False, server_default="user_name"),
    Column("octets_reversed", Boolean, nullable=False, default=False),
    Column("dynauth_port", Integer, nullable=False, default=3799),
    # whom its certificate must be for when it comes by RadSec: a name, or sha256: and its fingerprint
    Column("radsec_identity", String(253)),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
    Column("old_secret_sealed", Text),  # while a secret is rotated: what devices may still use
    Column("old_secret_until", Instant),
    Column("admin_logins", Boolean, nullable=False, default=False, server_default=false()),
)

nas_secret_use = Table(  # while a secret is rotated: which of the two an address was seen to use, and when
    "aaa_nas_secret_use",
    metadata,
    Column("nas_id", String(40), ForeignKey("aaa_nas.id"), primary_key=True),
    Column("address", String(45), primary_key=True),
    Column("old_at", Instant),
    Column("new_at", Instant),
)
Index("uq_aaa_nas_radsec_identity", nas.c.radsec_identity, unique=True)

service_profile = Table(
    "aaa_service_profile",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("rate_down_bps", BigInteger, nullable=False),
    Column("rate_up_bps", BigInteger, nullable=False),
    Column("burst_down_bps", BigInteger),
    Column("burst_up_bps", BigInteger),
    Column("burst_seconds", Integer),
    Column("pool", String(80)),  # Framed-Pool
    Column("interim_interval_s", Integer, nullable=False, default=300),
    Column("session_timeout_s", Integer),
    Column("idle_timeout_s", Integer),
    Column("ipv6_pool", String(80)),  # Framed-IPv6-Pool: the prefix of the link
    Column("delegated_pool", String(80)),  # Delegated-IPv6-Prefix-Pool: the prefix behind the CPE
    Column("vlan", Integer),  # 1 to 4094: the customer's; with outer_vlan it is the inner tag
    Column("outer_vlan", Integer),  # QinQ: the service provider's tag
    Column("filter_id", String(128)),
    Column("router_group", String(80)),  # a profile on the router (Mikrotik-Group, service name, ...)
    Column("priority", Integer),  # 1 (first) to 8 (last)
    Column("min_down_bps", BigInteger),  # committed rates
    Column("min_up_bps", BigInteger),
    Column("throttle_down_bps", BigInteger),  # instead of the provider's
    Column("throttle_up_bps", BigInteger),
    Column("walled_down_bps", BigInteger),
    Column("walled_up_bps", BigInteger),
    Column("devices", Integer),  # online at once; None: one
    Column("when_crowded", String(10)),  # newest, oldest, unlimited; None: as the provider says
    Column("when_blocked", String(16)),  # reject, walled_garden; None: as the provider says
    Column("stale_after_h", Integer),  # hours without the database; then stale_action. None: go on
    Column("stale_action", String(16)),  # walled_garden, reject, silent
    Column("created_at", Instant, nullable=False),
)

profile_rule = (
    Table(  # what the plan itself does to its services: in weekly hours, or when a quota is used up
        "aaa_profile_rule",
        metadata,
        Column("id", String(40), primary_key=True),
        Column("profile_id", String(40), ForeignKey("aaa_service_profile.id"), nullable=False, index=True),
        Column("kind", String(10), nullable=False),  # hours, quota
        Column("name", String(80), nullable=False),
        Column("effect", String(16), nullable=False),  # throttle, walled_garden
        Column("days", String(27)),  # hours: mon,tue,…: the days on which a window begins
        Column("from_minute", Integer),  # hours: of the local day, 0 to 1439
        Column("until_minute", Integer),  # hours: 1 to 1440; at or before from_minute: on the next day
        Column("octets", BigInteger),  # quota
        Column("period", String(10)),  # quota: day, week, month, billing
        Column("direction", String(4)),  # quota: down, up, sum
        Column("created_at", Instant, nullable=False),
        UniqueConstraint("profile_id", "name"),
    )
)

reply_template = Table(  # the operator's own lines over what a dialect says; one for each scope
    "aaa_reply_template",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("scope", String(120), nullable=False, unique=True),  # PROFILE|NAS or PROFILE|DIALECT, * is any
    Column("profile_id", String(40), ForeignKey("aaa_service_profile.id")),
    Column("nas_id", String(40), ForeignKey("aaa_nas.id")),
    Column("dialect", String(20)),
    Column("lines", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)

service = Table(
    "aaa_service",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), nullable=False, index=True),  # opaque here
    Column("label", String(120), nullable=False),
    Column("profile_id", String(40), ForeignKey("aaa_service_profile.id"), nullable=False),
    Column("lifecycle", String(10), nullable=False),  # pending, active, ended
    Column("framed_ip", String(45), unique=True),  # static address, if any
    Column("netmask_bits", Integer),  # of the static address, for CPEs that are given a subnet
    Column("devices", Integer),  # online at once; None: as the profile says
    Column("when_crowded", String(10)),  # newest, oldest, unlimited; None: as the profile says
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
)

service_prefix = Table(  # what is the service's own beside its IPv4 address; no two services overlap
    "aaa_service_prefix",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), ForeignKey("aaa_service.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # ipv6_prefix, delegated_prefix, ipv6_address, route
    Column("prefix", String(49), nullable=False),
    Column("gateway", String(45)),  # route: None is the subscriber himself
    Column("metric", Integer),  # route
    Column("position", Integer, nullable=False),  # the order in which they were given
    Column("first", String(32), nullable=False, index=True),  # hexadecimal; IPv4 as ::ffff:a.b.c.d
    Column("last", String(32), nullable=False),
)

credential = Table(
    "aaa_credential",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), ForeignKey("aaa_service.id"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),  # pppoe, mac, circuit, port
    Column("username", String(253), nullable=False, unique=True),  # a MAC is 12 lower-case hex digits
    Column("password_sealed", Text),  # recoverable, for CHAP and MS-CHAP; None for MAC logins
    # what a sign-in has to fulfil beside its proof: see aaa.domain.conditions
    Column("binding", String(5)),  # off, learn, list; None: as the settings have it
    Column("replace_until", Instant),  # until then another CPE takes the place of the bound one, once
    Column("replace_mac", String(12)),  # of this one, when several are bound
    Column("port_nas_id", String(40)),
    Column("port_pattern", String(120)),
    # instead of the password, when only its hash is kept; sealed, for an NT hash is as good as a password
    Column("hash_sealed", Text),
    Column("hash_scheme", String(10)),  # argon2id, bcrypt, nt, ssha; None: no hash
    Column("created_at", Instant, nullable=False),
)

cpe = Table(  # devices that a login is or was bound to
    "aaa_cpe",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), ForeignKey("aaa_service.id"), nullable=False, index=True),
    Column("username", String(253), nullable=False, index=True),
    Column("mac", String(12), nullable=False),
    Column("source", String(10), nullable=False),  # learned, operator
    Column("nas_id", String(40)),  # where it was first seen, when it was learned
    Column("since", Instant, nullable=False),
    Column("retired_at", Instant),  # None: it is bound
    Column("retired_because", String(120)),
)
partial_index(
    "uq_aaa_cpe_bound",
    cpe.c.username,
    cpe.c.mac,
    unique=True,
    where=cpe.c.retired_at.is_(None),
)

hold = Table(
    "aaa_hold",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), ForeignKey("aaa_service.id"), nullable=False, index=True),
    Column("holder", String(20), nullable=False),  # see aaa.domain.entitlement.Holder
    Column("effect", String(16), nullable=False),  # throttle, walled_garden, block
    Column("reason", Text, nullable=False),
    Column("placed_at", Instant, nullable=False),
    Column("placed_by", String(80), nullable=False),
    Column("lifted_at", Instant),
    Column("lifted_by", String(80)),
)
partial_index(
    "uq_aaa_hold_standing",
    hold.c.service_id,
    hold.c.holder,
    unique=True,
    where=hold.c.lifted_at.is_(None),
)

entitlement = Table(
    "aaa_entitlement",
    metadata,
    Column("service_id", String(40), ForeignKey("aaa_service.id"), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("effect", String(16), nullable=False),  # none, throttle, walled_garden, block, ended
    Column("because", JSON, nullable=False),  # [{"holder":…, "effect":…, "reason":…}]
    Column("changed_at", Instant, nullable=False),
)

entitlement_change = Table(
    "aaa_entitlement_change",
    metadata,
    Column("service_id", String(40), ForeignKey("aaa_service.id"), primary_key=True),
    Column("generation", BigInteger, primary_key=True),
    Column("effect", String(16), nullable=False),
    Column("because", JSON, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)

directory_change = Table(
    "aaa_directory_change",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    # nas, service, profile, template, authority, certificate
    Column("entity", String(20), nullable=False),
    Column("entity_id", String(40), nullable=False),
    Column("at", Instant, nullable=False),
)

reject = Table(  # one row for each (NAS, identity, rule): repeated rejects are counted, never piled up
    "aaa_reject",
    metadata,
    Column("nas_id", String(40), primary_key=True),
    Column("identity", String(253), primary_key=True),
    Column("rule", String(40), primary_key=True),
    Column("explanation", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("calling_station", String(64)),
    Column("service_id", String(40), index=True),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False, index=True),
    Column("count", BigInteger, nullable=False),
)

gear_login = Table(  # operators' logins to network gear; the operator is opaque here
    "aaa_gear_login",
    metadata,
    Column("operator_id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("password_sealed", Text, nullable=False),  # recoverable, for CHAP and MS-CHAPv2
    Column("level", String(5), nullable=False),  # read, write, full
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
)

gear_sign_in = Table(  # who signed in to which device, or tried to
    "aaa_gear_sign_in",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("record_key", String(64), nullable=False, unique=True),  # the server's own: taken over once
    Column("at", Instant, nullable=False, index=True),
    Column("name", String(80), nullable=False),
    Column("operator_id", String(40)),  # None: no operator has that name
    Column("nas_id", String(40), nullable=False),
    Column("nas_address", String(45), nullable=False),
    Column("from_address", String(64), nullable=False),
    Column("service_type", Integer, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("level", String(5)),
    Column("reason", String(200), nullable=False),
)
Index("ix_aaa_gear_sign_in_name", gear_sign_in.c.name, gear_sign_in.c.nas_id)

lockout = Table(  # who is held back after wrong passwords; "" is every device that never signed in there
    "aaa_lockout",
    metadata,
    Column("nas_id", String(40), primary_key=True),
    Column("identity", String(253), primary_key=True),
    Column("calling_station", String(64), primary_key=True),
    Column("service_id", String(40), index=True),
    Column("failures", BigInteger, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False, index=True),
    Column("let_go_at", Instant),
    Column("let_go_by", String(80)),
)

session = Table(
    "aaa_session",
    metadata,
    Column("id", String(40), primary_key=True),
    # digest of NAS + Acct-Session-Id + user + sign-in of the Class; a session whose id the NAS used again
    # (after a crash, without a Class) is moved to KEY/0, KEY/1 … and the newest has the plain key
    Column("key", String(64), nullable=False, unique=True),
    Column("incarnation", Integer, nullable=False, default=0),  # how many earlier sessions had this key
    Column("nas_id", String(40), nullable=False),
    Column("acct_session_id", String(253), nullable=False),
    Column("username", String(253), nullable=False),
    Column("service_id", String(40)),  # None: no such credential; kept for the operator
    Column("meter_id", String(40)),
    Column("calling_station", String(64)),
    Column("mac", String(12)),  # the MAC in calling_station, as twelve hex digits
    Column("nas_address", String(45)),  # where its Start came from: the NAS may be a whole prefix
    # what its Start called itself (NAS-IP-Address): not where it is reached when a translator is between
    Column("nas_own_address", String(45)),
    Column("nas_port_id", String(253)),
    # the newest of each kind that was reported; what it replaced is in aaa_session_address
    Column("framed_ip", String(45)),
    Column("framed_ipv6_address", String(45)),
    Column("framed_ipv6_prefix", String(49)),  # RFC 3162: the prefix of the link
    Column("delegated_ipv6_prefix", String(49)),  # RFC 4818: what the CPE hands on
    Column("started_at", Instant, nullable=False),
    Column(
        "start_seen", Boolean, nullable=False, default=True
    ),  # False: no Start came, started_at is inferred
    Column("last_event_at", Instant, nullable=False),
    Column("last_received_at", Instant, nullable=False),
    Column("stopped_at", Instant),
    Column(
        "close_cause", String(40)
    ),  # Acct-Terminate-Cause name, or inferred: lost_stop, nas_reboot, superseded
    Column("close_inferred", Boolean, nullable=False, default=False),
    Column("octets_in", BigInteger, nullable=False, default=0),  # from the subscriber (upload)
    Column("octets_out", BigInteger, nullable=False, default=0),  # to the subscriber (download)
    Column("gigawords_seen", Boolean, nullable=False, default=False),
    Column("interim_interval_s", Integer, nullable=False, default=300),
    Column("generation", BigInteger),  # entitlement generation the session was last known to run under
)
partial_index(
    "ix_aaa_session_open",
    session.c.service_id,
    where=session.c.stopped_at.is_(None),
)
partial_index(
    "ix_aaa_session_nas_open",
    session.c.nas_id,
    where=session.c.stopped_at.is_(None),
)
partial_index(
    "ix_aaa_session_open_started",
    session.c.started_at,
    session.c.id,
    where=session.c.stopped_at.is_(None),
)
# The history is read newest first, whatever it is narrowed to: each of these gives a page without sorting.
Index("ix_aaa_session_started", session.c.started_at, session.c.id)
Index("ix_aaa_session_service", session.c.service_id, session.c.started_at, session.c.id)
Index("ix_aaa_session_nas", session.c.nas_id, session.c.started_at, session.c.id)
Index("ix_aaa_session_username", session.c.username, session.c.started_at, session.c.id)
Index("ix_aaa_session_framed_ip", session.c.framed_ip, session.c.started_at, session.c.id)
for _column in (
    session.c.mac, session.c.close_cause, session.c.framed_ipv6_address, session.c.framed_ipv6_prefix,
    session.c.delegated_ipv6_prefix,
):  # fmt: skip
    partial_index(
        f"ix_aaa_session_{_column.name}",
        _column,
        session.c.started_at,
        session.c.id,
        where=_column.is_not(None),
    )

session_address = Table(
    # The addresses of a session that had others before, or came to one only after its Start. A session with
    # no row of a kind had the one in aaa_session from beginning to end.
    "aaa_session_address",
    metadata,
    Column("session_id", String(40), ForeignKey("aaa_session.id"), primary_key=True),
    Column("kind", String(10), primary_key=True),  # ipv4, ipv6, prefix, delegated
    Column("first_seen_at", Instant, primary_key=True),  # the first report with it
    Column("network", String(49), nullable=False, index=True),
    Column("last_seen_at", Instant),  # the last report with it; None: it has it as long as it runs
)

dynauth_exchange = Table(  # what was asked of a NAS about a live session, and its answer (RFC 5176)
    "aaa_dynauth_exchange",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("session_id", String(40), ForeignKey("aaa_session.id"), nullable=False),
    Column("at", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("request", String(12), nullable=False),  # coa, disconnect
    Column("sent", Text, nullable=False),
    Column("answer", String(12), nullable=False),  # ack, nak, silent, not_sent
    Column("error_cause", Integer),  # RFC 5176 section 3.5
    Column("detail", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("ms", Integer, nullable=False),
)
Index("ix_aaa_dynauth_exchange_session", dynauth_exchange.c.session_id, dynauth_exchange.c.at)

dynauth_client = Table(  # proxies and scripts that may send us Disconnect- and CoA-Requests (RFC 5176)
    "aaa_dynauth_client",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("network", String(64), nullable=False, unique=True),  # address or prefix, CIDR
    Column("secret_sealed", Text, nullable=False),
    Column("may_disconnect", Boolean, nullable=False),
    Column("may_change", Boolean, nullable=False),
    Column("nas_ids", JSON),  # None: every NAS
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
)

journal_cursor = Table(  # how far each local accounting journal has come into the database, exactly once
    "aaa_journal_cursor",
    metadata,
    Column("journal_id", String(64), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
)

meter = Table(
    "aaa_meter",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), index=True),
    Column("source", String(10), nullable=False),  # radius, snmp
    Column("key", String(200), nullable=False, unique=True),  # "session|ID"; "snmp|TARGET|IFNAME"
    Column("bills", Boolean, nullable=False, default=True),  # an SNMP meter beside RADIUS only cross-checks
    Column("created_at", Instant, nullable=False),
    Column("state", JSON, nullable=False),  # what the resolver needs beyond the last reading; {} if nothing
)

meter_reading = Table(
    "aaa_meter_reading",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("meter_id", String(40), ForeignKey("aaa_meter.id"), nullable=False),
    Column("at", Instant, nullable=False),
    Column(
        "octets_in", BigInteger, nullable=False
    ),  # absolute since the meter's birth, wraps and resets resolved
    Column("octets_out", BigInteger, nullable=False),
    Column("raw_in", BigInteger, nullable=False),  # the counters as received; -1: the report had none
    Column("raw_out", BigInteger, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("decision", String(24), nullable=False),  # see aaa.domain.decision
    Column("evidence", JSON, nullable=False),  # what came with the counters, and what was decided from
    UniqueConstraint("meter_id", "at", "raw_in", "raw_out"),
)

usage_record = Table(
    "aaa_usage_record",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("service_id", String(40), nullable=False),
    Column("meter_id", String(40), ForeignKey("aaa_meter.id"), nullable=False),
    Column("start_at", Instant, nullable=False),
    Column("end_at", Instant, nullable=False),  # half-open; start == end for octets known at one instant only
    Column("octets_in", BigInteger, nullable=False),
    Column("octets_out", BigInteger, nullable=False),
    Column("interpolated", Boolean, nullable=False, default=False),
    UniqueConstraint("meter_id", "start_at", "end_at"),
)
Index("ix_aaa_usage_record_service_time", usage_record.c.service_id, usage_record.c.start_at)

usage_close = Table(  # freezes the records of its service that begin in its pieces: aaa.domain.closing
    "aaa_usage_close",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("service_id", String(40), nullable=False),
    Column("claim", String(80), nullable=False),  # opaque: what the usage was closed for
    Column("from_at", Instant, nullable=False),
    Column("until_at", Instant, nullable=False),
    Column("pieces", JSON(none_as_null=True)),  # [[from, until], …] in microseconds; NULL: all of the span
    Column("octets_in", BigInteger, nullable=False),
    Column("octets_out", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("closed_at", Instant, nullable=False),
    UniqueConstraint("claim", "service_id"),  # in this order: claims are looked up by the hundred
)
Index("ix_aaa_usage_close_service_end", usage_close.c.service_id, usage_close.c.until_at)

authority = Table(  # a certificate authority of ours, or another's that we trust (it has no key here)
    "aaa_authority",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("kind", String(10), nullable=False),  # root, issuing, outside
    Column("parent_id", String(40), ForeignKey("aaa_authority.id")),  # the root of an issuing one
    Column("certificate", Text, nullable=False),  # PEM
    Column("issuer_digest", String(64), nullable=False),  # of its name: what its certificates are known by
    Column("key_sealed", Text),
    Column("issues", Boolean, nullable=False, default=False),  # true of the one that signs what is new
    Column("uses", JSON, nullable=False),  # who may come with its certificates: client, nas
    Column("crl_base", String(253)),  # written into certificates: where our CRLs are fetched
    Column("crl", LargeBinary),  # DER, the newest
    Column("crl_number", BigInteger, nullable=False, default=0),
    Column("crl_due_at", Instant),  # the end of its validity
    Column("outside_revoked", JSON, nullable=False),  # serials (hexadecimal) in an outside authority's CRL
    Column("not_after", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("retired_at", Instant),  # trusted no more since then
)

certificate = Table(
    "aaa_certificate",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("authority_id", String(40), ForeignKey("aaa_authority.id"), nullable=False),
    Column("purpose", String(10), nullable=False),  # server, client, nas
    Column("serial", String(40), nullable=False, unique=True),  # hexadecimal
    Column("fingerprint", String(64), nullable=False, unique=True),  # SHA-256 of the DER, hexadecimal
    Column("subject", String(64), nullable=False),  # the common name
    Column("names", JSON, nullable=False),
    Column("service_id", String(40), ForeignKey("aaa_service.id"), index=True),  # whose a client's is
    Column("username", String(253)),  # which of the service's user names a client signs in as
    Column("nas_id", String(40), index=True),
    Column("key_type", String(10), nullable=False),
    Column("certificate", Text, nullable=False),  # PEM
    Column("key_sealed", Text),  # our own server's alone; others get theirs once and we keep none
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False, index=True),
    Column("issued_at", Instant, nullable=False),
    Column("issued_by", String(80), nullable=False),
    Column("renews_id", String(40)),  # the one it is to replace
    Column("superseded_at", Instant),  # when the overlap with its successor ends
    Column("revoked_at", Instant, index=True),
    Column("revoked_by", String(80)),
    Column("reason", String(24)),
)

home_server = Table(  # another RADIUS server, to which requests of a realm are forwarded
    "aaa_home_server",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("address", String(45), nullable=False),
    Column("auth_port", Integer),  # None: it takes no sign-ins
    Column("accounting_port", Integer),  # None: it takes no reports
    Column("secret_sealed", Text, nullable=False),
    Column("signs_replies", Boolean, nullable=False, default=True),  # false: an old one, CVE-2024-3596
    Column("status_check", Boolean, nullable=False, default=True),  # it answers Status-Server (RFC 5997)
    Column("timeout_ms", Integer, nullable=False),  # until a request is sent again
    Column("tries", Integer, nullable=False),  # then the next server is asked
    Column("dead_s", Integer, nullable=False),  # how long a silent one is left alone without status_check
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
)

realm = Table(
    "aaa_realm",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(253), nullable=False, unique=True),  # lower case; "*": every other one
    Column("strip", Boolean, nullable=False, default=False),  # forward the name without its realm
    Column("accounting", Boolean, nullable=False, default=True),  # reports are forwarded too
    Column("passes", JSON, nullable=False),  # names of attributes that an accept may bring; "*": all
    Column("profile_id", String(40)),  # whose attributes of ours are added to an accept
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
)

realm_server = Table(  # in which order a realm's servers are asked
    "aaa_realm_server",
    metadata,
    Column("realm_id", String(40), ForeignKey("aaa_realm.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("server_id", String(40), ForeignKey("aaa_home_server.id"), nullable=False, index=True),
)

proxied_report = Table(  # accounting reports on their way to a home server; gone when it has answered
    "aaa_proxied_report",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("realm_id", String(40), nullable=False),
    Column("lane", String(16), nullable=False),  # reports of one session are sent one after the other
    Column("datagram", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
)
Index("ix_aaa_proxied_report_due", proxied_report.c.realm_id, proxied_report.c.due_at)

ip_pool = Table(  # addresses and prefixes that Hilltop hands out itself; others' pools are names alone
    "aaa_ip_pool",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),  # ipv4, ipv6_prefix, delegated_prefix
    Column("ranges", JSON, nullable=False),  # networks, or FIRST-LAST of addresses
    Column("length", Integer, nullable=False),  # of what one device gets: 32 for an IPv4 address
    Column("excluded", JSON, nullable=False),  # gateways, and whatever else is not given away
    Column("netmask_bits", Integer),  # sent along with an IPv4 address
    Column("keep_s", Integer),  # an address nobody uses stays its service's so long; None: until it is needed
    Column("rest_s", Integer, nullable=False),  # nobody else gets it before it was out of use for so long
    Column("when_full", String(10), nullable=False),  # reject, nas_pool
    Column("draining", Boolean, nullable=False, default=False),  # gives nothing new
    Column("next_position", BigInteger, nullable=False, default=0),  # all before it were set aside once
    Column("wanted_at", Instant),  # when a RADIUS process last found nothing left
    Column("wanted_by", String(60)),
    Column("created_at", Instant, nullable=False),
)

ip_lease = Table(
    # Every address or prefix of a pool that was ever set aside. With a service: it is that service's. With an
    # owner and no service: one RADIUS process alone may give it away. With neither: it rests, or is free.
    "aaa_ip_lease",
    metadata,
    Column("network", String(49), primary_key=True),  # an IPv4 address, or a prefix
    Column("pool_id", String(40), ForeignKey("aaa_ip_pool.id"), nullable=False, index=True),
    Column("first", String(32), nullable=False, index=True),  # hexadecimal; IPv4 as ::ffff:a.b.c.d
    Column("service_id", String(40), index=True),  # "": somebody that is none of our services
    Column("station", String(64)),  # Calling-Station-Id of the device that has it
    Column("nas_id", String(40)),
    Column("owner", String(60), index=True),
    Column("granted_at", Instant),
    Column("started", Boolean, nullable=False, default=False),  # whether accounting has shown it in use
    Column("idle_since", Instant),  # None: a session has it
    Column("released_at", Instant),
    Column("version", BigInteger, nullable=False, index=True),  # of the change that made it what it is
)

ip_lease_history = Table(
    "aaa_ip_lease_history",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("network", String(49), nullable=False, index=True),
    Column("pool_id", String(40), nullable=False),
    Column("service_id", String(40), nullable=False, index=True),
    Column("station", String(64)),
    Column("nas_id", String(40)),
    Column("from_at", Instant, nullable=False),
    Column("until_at", Instant),  # None: it is still that service's
    Column("because", String(40)),
)

ip_worker = Table(  # RADIUS processes that give addresses away: what they know, and how long they may
    "aaa_ip_worker",
    metadata,
    Column("owner", String(60), primary_key=True),  # JOURNAL/PROCESS
    Column("journal_id", String(40), nullable=False),
    Column("seen_version", BigInteger, nullable=False),  # of leases; changes up to it are known there
    Column("until", Instant, nullable=False),  # then it stops giving anything away
)
