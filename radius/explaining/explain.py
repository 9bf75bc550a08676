"""Why a subscriber is accepted, walled or rejected: the decision of the hot path, taken now, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.apply_rules import RulesInWords
from aaa.authorize import Accept, Reject, Silent, Unproven, Verdict, authorize, settle
from aaa.directory import Directory, KnownNas, Login
from aaa.directory_realms import Realm
from aaa.domain.authentication import Nothing, Pap
from aaa.domain.identity import normalise_mac
from aaa.domain.mac_convention import MacConvention
from aaa.domain.password_hash import METHODS
from aaa.domain.profile import AccessPolicy
from aaa.domain.realm import split_realm
from aaa.stale_directory import in_words
from aaa.store import directory_rows
from core.quantities import format_rate
from core.secrets import Sealer, Secret
from radius.explaining.conditions import Whence, conditions_in_words, judge_conditions
from radius.explaining.pool_words import pooled_attributes
from radius.reply.rendering import Rendering, Renderings


@dataclass(frozen=True, slots=True)
class PastReject:
    """Rejects of this identity that were recorded."""

    nas_id: str
    rule: str
    explanation: str
    remedy: str
    last_at: datetime
    count: int
    nas: str = ""
    """The NAS's name; its id when it is not in use."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an Access-Request for ``username`` would get now, and why.

    ``verdict``: accept, walled_garden, reject, silent, forwarded (to another realm's home server).
    ``attributes`` are those of the accept, in the NAS's dialect; ``remarks`` say what that
    NAS cannot be told or must know itself.
    """

    username: str
    verdict: str
    rule: str
    explanation: str
    remedy: str
    service_id: str | None
    effect: str | None
    generation: int | None
    because: list[str]
    profile: str | None
    attributes: list[str]
    remarks: list[str]
    rules: list[str]
    past_rejects: list[PastReject]
    kept: str = ""
    """What of the password is kept (cleartext, argon2id, bcrypt, nt, ssha); empty for a login without one."""
    methods: str = ""
    """The methods that can be checked with it."""
    when_stale: str = ""
    """What its profile says of sign-ins when RADIUS has not seen the database for long; empty: they go on."""
    service: str = ""
    """What the service is called."""
    conditions: list[str] = field(default_factory=list)
    """What the sign-in has to fulfil beside its proof, in words."""

    def __str__(self) -> str:
        return format_explanation(self)


async def explain(
    connection: AsyncConnection,
    sealer: Sealer,
    username: str,
    password: Secret | None = None,
    *,
    nas_name: str | None = None,
    policy: AccessPolicy | None = None,
    whence: Whence | None = None,
    dictionary_files: Sequence[str] = (),
    rules: RulesInWords | None = None,
) -> Explanation:
    """Take the decision for ``username`` as the hot path would; without a password, as if it were right.

    ``nas_name`` chooses the dialect and the way MAC logins are spelled; without it MikroTik's count. The
    conditions of the login count when ``whence`` says when and from where the sign-in comes. ``rules`` says
    what the profile's rules do to a service. Raises ``LookupError`` when no NAS has that name.
    """
    mac = normalise_mac(username)
    names = [username] if mac is None else [username, mac]
    parts = split_realm(username.encode())
    if parts is not None:
        names.append(parts[0].decode())
    directory = await Directory.of_usernames(connection, sealer, names, policy)
    asked, username = username, _own_name(directory, username)
    nas = _named(directory, nas_name)
    login = directory.logins.get(username.encode()) or directory.logins.get((mac or "").encode())
    verdict = await _decide(directory, login, username, password, nas.macs if nas else MacConvention("any"))
    if isinstance(verdict, Accept) and whence is not None:
        verdict = await judge_conditions(connection, verdict, nas, whence)
    seen_as = [asked, username] if mac is None else [username, mac]
    past = _past(directory, await directory_rows.rejects_of(connection, seen_as, 5))
    renderings = Renderings(directory.templates, dictionary_files)
    rendering = renderings.of(nas.id if nas else "", nas.dialect if nas else "mikrotik")
    explained = _explained(asked, verdict, login, rendering, past)
    if asked != username:
        told = f"{explained.explanation}; the realm is ours, so {username} is looked up"
        explained = replace(explained, explanation=told)
    if login is not None:
        label = await directory_rows.service_label(connection, login.service.id)
        explained = replace(explained, service=label)
    if (realm := _realm_of(directory, username)) is not None:
        return _forwarded(explained, realm)
    if isinstance(verdict, Accept) and rendering.dialect.gives_addresses:
        pooled = await pooled_attributes(connection, verdict.login.service)
        explained = replace(explained, attributes=explained.attributes + [str(one) for one in pooled])
    profile = None if login is None else directory.profiles.get(login.service.terms.profile_id)
    explained = replace(explained, when_stale=in_words(profile))
    now, nases = whence.now if whence else None, {one.id: one.name for one in directory.nases}
    explained = replace(explained, conditions=conditions_in_words(login, now, nases))
    if rules is None or login is None:
        return explained
    return replace(explained, rules=await rules(connection, login.service.id))


def _own_name(directory: Directory, username: str) -> str:
    if directory.realms is None:
        return username
    return directory.realms.own_name(username.encode(), directory.logins).decode()


def _realm_of(directory: Directory, username: str) -> Realm | None:
    return None if directory.realms is None else directory.realms.of(username.encode(), directory.logins)


def _forwarded(explained: Explanation, realm: Realm) -> Explanation:
    """The same for a subscriber of others: whatever we know of the name does not count."""
    servers = ", ".join(one.name for one in realm.servers if one.auth_port is not None)
    return replace(
        explained, verdict="forwarded", rule="realm",
        explanation=f"sign-ins of the realm {realm.name} are answered by {servers or 'nobody: all are off'}",
        remedy="ask whoever runs that server; what it says is in its own log", attributes=[], remarks=[],
        kept="", methods="", service_id=None, service="", profile=None,
    )  # fmt: skip


def _named(directory: Directory, nas_name: str | None) -> KnownNas | None:
    if nas_name is None:
        return None
    for nas in directory.nases:
        if nas.name == nas_name:
            return nas
    raise LookupError(f"no enabled NAS is called {nas_name}; see hilltop nas list")


async def _decide(
    directory: Directory, login: Login | None, username: str, password: Secret | None, macs: MacConvention
) -> Accept | Reject | Silent:
    verdict = _first_verdict(directory, login, username, password, macs)
    if isinstance(verdict, Unproven):
        right = await asyncio.to_thread(verdict.hashed.proves, verdict.password)
        return settle(verdict.login, right=right)
    return verdict


def _first_verdict(
    directory: Directory, login: Login | None, username: str, password: Secret | None, macs: MacConvention
) -> Verdict:
    name = username.encode()
    if password is not None:
        return authorize(directory, name, Pap(password.reveal().encode()), None, macs, signed=True)
    if login is None or login.credential.kind == "mac":
        return authorize(directory, name, Nothing(), None, macs, signed=True)
    if login.credential.hashed is not None or login.credential.kind in {"circuit", "port"}:
        return settle(login, right=True)
    return authorize(directory, name, Pap(login.credential.password), None, macs, signed=True)


def _explained(
    username: str,
    verdict: Accept | Reject | Silent,
    login: Login | None,
    rendering: Rendering,
    past: list[PastReject],
) -> Explanation:
    word, rule, why, remedy = _in_words(verdict)
    service = login.service if login else None
    return Explanation(
        username, word, rule, why, remedy,
        service_id=service.id if service else None,
        effect=service.effect.value if service else None,
        generation=service.generation if service else None,
        because=list(service.because) if service else [],
        profile=service.profile_name if service else None,
        attributes=_attributes(verdict, rendering),
        remarks=rendering.remarks(verdict.login.service) if isinstance(verdict, Accept) else [],
        rules=[],
        past_rejects=past,
        kept=_kept(login),
        methods=METHODS.get(_kept(login), ""),
    )  # fmt: skip


def _past(directory: Directory, rows: Sequence[Any]) -> list[PastReject]:
    names = {one.id: one.name for one in directory.nases}
    return [
        PastReject(
            row.nas_id, row.rule, row.explanation, row.remedy, row.last_at, row.count,
            names.get(row.nas_id, row.nas_id),
        )
        for row in rows
    ]  # fmt: skip


def _kept(login: Login | None) -> str:
    if login is None:
        return ""
    if login.credential.hashed is not None:
        return login.credential.hashed.scheme
    return "cleartext" if login.credential.password else ""


def _in_words(verdict: Accept | Reject | Silent) -> tuple[str, str, str, str]:
    match verdict:
        case Accept(login) if login.service.terms.walled:
            because = "; ".join(login.service.because) or "no reason recorded"
            why = f"the sign-in is right and the service is in the walled garden ({because})"
            remedy = "lift the hold, or let the subscriber pay at the portal"
            return "walled_garden", "walled_garden", why, remedy
        case Accept(login):
            terms = login.service.terms
            rates = f"{format_rate(terms.rate_down_bps)} down, {format_rate(terms.rate_up_bps)} up"
            return "accept", "entitled", f"the sign-in is right and the service may be used: {rates}", ""
        case Reject(rule, _, why, remedy, _):
            return "reject", rule, why, remedy
        case Silent(reason):
            return "silent", reason, "the password decrypts to noise", "compare the secret on both sides"


def _attributes(verdict: Accept | Reject | Silent, rendering: Rendering) -> list[str]:
    if not isinstance(verdict, Accept):
        return []
    return [str(one) for one in rendering.accept(verdict.login.service)]


def format_explanation(explanation: Explanation) -> str:
    """The explanation as lines for a terminal."""
    one = explanation
    lines = [f"{one.username}: {one.verdict.replace('_', ' ')} ({one.rule})", f"  why      {one.explanation}"]
    if one.remedy:
        lines.append(f"  remedy   {one.remedy}")
    if one.service_id:
        lines.append(f"  service  {one.service or one.service_id}, profile {one.profile}")
        lines.append(f"  effect   {one.effect}, generation {one.generation}")
    if one.when_stale:
        lines.append(f"  away     {one.when_stale}")
    lines += [f"  only     {condition}" for condition in one.conditions]
    if one.methods:
        lines.append(f"  password {one.kept} is kept: works with {one.methods}")
    lines += [f"  reply    {attribute}" for attribute in one.attributes]
    lines += [f"  but      {remark}" for remark in one.remarks]
    lines += [f"  rule     {rule}" for rule in one.rules]
    lines += [
        f"  before   {past.last_at:%Y-%m-%d %H:%M:%S}Z rejected {_times(past.count)} on {past.nas}: "
        f"{past.explanation}"
        for past in one.past_rejects
    ]
    return "\n".join(lines)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
